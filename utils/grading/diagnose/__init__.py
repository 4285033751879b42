"""Name the mistake in a wrong answer."""
