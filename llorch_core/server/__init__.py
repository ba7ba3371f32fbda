"""The engine over HTTP: requests join a running batch, stream their tokens, and leave a record."""
