"""Which tests it has, and which of them cannot fail."""
