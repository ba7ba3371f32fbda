"""behave's door: the hooks live in llorch_core.trace."""

from llorch_core.trace.hooks import after_scenario, after_step, before_all, before_scenario

__all__ = ["after_scenario", "after_step", "before_all", "before_scenario"]
