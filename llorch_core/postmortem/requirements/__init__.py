"""Which requirements its specs state, and where they are cited."""
