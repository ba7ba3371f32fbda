"""The engine over HTTP. Imports engine."""
