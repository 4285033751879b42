"""What a latent means: the tokens it fires on, its examples, its label, its files."""
