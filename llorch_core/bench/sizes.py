"""What a model costs by its shape alone: bytes of its weights and cache, and arithmetic for a token."""

from __future__ import annotations

import math

from llorch_core.engine.config import Config
from llorch_core.engine.weights import expected_shapes

# Bytes of one weight of a matrix. int8 and int4 with a 16-bit scale for 32 weights, as many engines do.
WIDTHS = {"float32": 4.0, "bfloat16": 2.0, "int8": 1 + 2 / 32, "int4": 0.5 + 2 / 32}
POSITIONS = "wpe.weight"  # one row of it is read for a token


def matrix_weights(config: Config) -> int:
    """Return how many weights a token is multiplied with: every matrix, and the head once."""
    shapes = expected_shapes(config)
    return sum(math.prod(s) for name, s in shapes.items() if len(s) == 2 and name != POSITIONS) - (
        0 if config.tie_word_embeddings else config.n_vocab * config.n_embd  # wte is then only looked up
    )


def token_bytes(config: Config, precision: str) -> float:
    """Return the bytes of weights that one token reads: matrices in the precision, vectors in float32."""
    vectors = sum(s[0] for s in expected_shapes(config).values() if len(s) == 1)
    return matrix_weights(config) * WIDTHS[precision] + 4 * vectors


def weight_bytes(config: Config, precision: str) -> float:
    """Return the bytes of all weights: those of a token, the position embedding, and an untied wte."""
    untied = 0 if config.tie_word_embeddings else config.n_vocab * config.n_embd
    return token_bytes(config, precision) + 4.0 * config.n_ctx * config.n_embd + 4.0 * untied


def cache_bytes(config: Config, positions: int) -> float:
    """Return the bytes of float32 keys and values of so many positions, in all sequences together."""
    return 8.0 * config.n_layer * config.n_embd * positions


def token_flops(config: Config) -> float:
    """Return the arithmetic of one token in its matrices: a product and a sum for each weight."""
    return 2.0 * matrix_weights(config)


def prompt_flops(config: Config, positions: int) -> float:
    """Return the arithmetic of reading a prompt, with one row of logits, and without attention's own."""
    head = config.n_vocab * config.n_embd
    return 2.0 * ((matrix_weights(config) - head) * positions + head)
