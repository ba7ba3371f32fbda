"""What its documents say, how old they are, and what they repeat."""
