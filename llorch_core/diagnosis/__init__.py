"""Where an engine is first wrong, and which mistake it is. Imports no engine: a shared bug would hide."""
