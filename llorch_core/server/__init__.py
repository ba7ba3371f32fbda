"""The engine over HTTP, and what it leaves behind: who asked what, when."""
