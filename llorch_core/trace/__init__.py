"""Which scenario proved which rule: evidence, and the verdict on each rule. Imports spec, check, subject."""
