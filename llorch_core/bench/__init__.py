"""How fast is it? This machine's limits, our engine in every precision, and the peers that are installed."""
