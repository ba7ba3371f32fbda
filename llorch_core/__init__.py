"""llorch finds the first wrong number in a GPT-2 inference engine."""
