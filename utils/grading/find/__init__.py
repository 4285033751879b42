"""Find a student's answers in a notebook."""
