"""GPT-2 in NumPy: ids in, logits out. Imports nothing of ours."""
