"""What people concluded, as data: read, checked, drafted."""
