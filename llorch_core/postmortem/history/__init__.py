"""What changed when, and by whom."""
