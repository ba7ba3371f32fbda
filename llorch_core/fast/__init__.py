"""The same GPT-2 by compiled kernels: float32, bfloat16, int8 and int4 weights. Imports engine."""
