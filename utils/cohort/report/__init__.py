"""Report grades to students and to their instructor."""
