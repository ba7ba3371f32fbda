"""Whose fault it is: the file's or the caller's. Each message says what, where, wanted, got, next step."""


class ModelError(ValueError):
    """The model folder is not what GPT-2 needs: missing, broken, or contradicting itself."""


class UsageError(ValueError):
    """The caller asked for something that cannot be done."""
