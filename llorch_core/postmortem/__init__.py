"""What happened in this repository? Measured facts, judgement with evidence, guardrails.."""
