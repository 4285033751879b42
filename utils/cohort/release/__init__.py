"""Release notebooks to students, and an autograder to a learning platform."""
