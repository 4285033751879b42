"""Compare what an answer gives with what is right."""
