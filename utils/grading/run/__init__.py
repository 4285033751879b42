"""Run tests on an answer."""
