"""Is this tensor right? Every element is compared, in units of its tolerance. Imports spec."""
