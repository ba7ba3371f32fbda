"""Where is an engine first wrong, and which mistake is it? Never imports the engine: a shared bug must not hide."""
