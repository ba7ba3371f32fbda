"""What was claimed, when, and what followed."""
