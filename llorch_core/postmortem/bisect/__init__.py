"""Since when it is wrong: a check of today over the history."""
