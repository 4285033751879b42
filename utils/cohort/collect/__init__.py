"""Collect the notebooks of a cohort."""
