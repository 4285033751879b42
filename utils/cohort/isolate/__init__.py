"""Run a student's code where it can do no harm."""
