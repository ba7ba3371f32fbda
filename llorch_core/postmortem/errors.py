"""Whose fault it is: that of the repository, the case or the caller. Says what, where, wanted, got, next."""


class PostmortemError(ValueError):
    """What a post-mortem cannot read or may not do: the fault of the repository, the case or the caller."""
