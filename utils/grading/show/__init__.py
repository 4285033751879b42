"""Show results to a student."""
