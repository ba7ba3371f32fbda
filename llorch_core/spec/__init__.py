"""Specs: load, check and run them. The equation language, and the oracle. Imports nothing of ours."""
