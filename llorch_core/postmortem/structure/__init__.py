"""What the repository is made of."""
