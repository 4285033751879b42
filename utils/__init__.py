"""What supports the course: models, notebooks, grading, plots."""
