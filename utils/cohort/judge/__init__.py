"""Decide whether an answer is right."""
