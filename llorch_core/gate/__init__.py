"""May this be merged? Policy, verdict, and what tools of code review read. Imports trace and stubs."""
