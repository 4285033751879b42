"""Reference answers, one package a chapter."""
