"""Which engine is on trial: ours, the oracle with or without a mistake, a dump. Imports engine, spec."""
