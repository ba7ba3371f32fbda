"""The tokenizer on trial: the engine's own, or one with another datum in front of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tiktoken

from llorch_core.engine.model import Model
from llorch_core.engine.tokenizer import Tokenizer as Right
from llorch_core.engine.tokenizer import bytes_to_unicode, read_tokenizer
from llorch_core.spec.suite import load_specs

CLEANED = (
    " .",
    " ?",
    " !",
    " ,",
    " n't",
    " 'm",
    " 's",
    " 've",
    " 're",
)  # transformers, clean_up_tokenization


class Tokenizer:
    """What turns text into ids: of the model on trial, or of a folder that a scenario wrote."""

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        self._model = model
        self._data = data

    @property
    def own(self) -> Right | None:
        """The tokenizer of the model; None where its folder has none."""
        return self._as_the_data_say(self._model.tokenizer)

    def read(self, folder: Path, n_vocab: int) -> Right | None:
        """Read the tokenizer of a folder."""
        return self._as_the_data_say(read_tokenizer(folder, n_vocab))

    def _as_the_data_say(self, right: Right | None) -> Right | None:
        if right is None or self._data == load_specs().before["tokenizer"].data:
            return right
        return Mistaken(right, self._data)


class Mistaken(Right):
    """A tokenizer with the vocabulary of another one, and one datum that is wrong."""

    def __init__(self, right: Right, data: Mapping[str, Any]) -> None:
        self._data = data
        spelt = _respelling(data["printable_bytes"])
        ordinary = {
            right.token_bytes(i).translate(spelt): i for i in right._ids
        }  # in the order of the merges
        if data["id_of_a_byte"] == "the number of the byte":
            ordinary = {s: s[0] if len(s) == 1 else i for s, i in ordinary.items()}
        ranks = {spelling: rank for rank, spelling in enumerate(ordinary)}
        bpe = tiktoken.Encoding("mistaken", pat_str=data["pattern"], mergeable_ranks=ranks, special_tokens={})
        super().__init__(ordinary, right.special_tokens, bpe)
        self._ordinary = ordinary

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        data = self._data
        if data["preparation"] == "NFKC":
            text = unicodedata.normalize("NFKC", text)
        elif data["preparation"] != "none":
            text = text.strip()
        becomes = data["special_allowed" if allow_special else "special_not_allowed"]
        if data["merged_first"] == "the leftmost pair that can be merged":
            ids = self._leftmost(text)
        elif data["merged_first"] == "the longest token that fits":
            ids = self._longest(text.encode())
        else:
            ids = super().encode(text, allow_special=becomes == "one token")
        return [*(self.special_tokens[name] for name in data["put_before"]), *ids]

    def decode(self, ids: Iterable[int]) -> str:
        data = self._data
        if data["unknown_id"] == "left out":
            ids = [i for i in ids if i in self._bytes]
        tokens = [self.token_bytes(i) for i in ids]
        if data["decoded_together"] == "all tokens":
            tokens = [b"".join(tokens)]
        errors = "replace" if data["invalid_bytes"] == "U+FFFD" else "ignore"
        text = "".join(token.decode(errors=errors) for token in tokens)
        for blank in CLEANED if data["spaces_cleaned_up"] else ():
            text = text.replace(blank, blank[1:])
        return text

    def _leftmost(self, text: str) -> list[int]:
        parts = [bytes([byte]) for byte in text.encode()]
        while True:
            pairs = (i for i in range(len(parts) - 1) if parts[i] + parts[i + 1] in self._ordinary)
            i = next(pairs, None)
            if i is None:
                return [self._ordinary[part] for part in parts]
            parts[i : i + 2] = [parts[i] + parts[i + 1]]

    def _longest(self, text: bytes) -> list[int]:
        ids = []
        while text:
            end = next(end for end in range(len(text), 0, -1) if text[:end] in self._ordinary)
            ids.append(self._ordinary[text[:end]])
            text = text[end:]
        return ids


def _respelling(printable: Iterable[tuple[int, int]]) -> bytes:
    """Return which byte each byte is taken for, where these ranges stand for themselves.

    Characters that the ranges leave without a byte go to the bytes that are left, in order.
    """
    themselves = [byte for first, last in printable for byte in range(first, last + 1)]
    shifted = [byte for byte in range(0x100) if byte not in themselves]
    meant = {chr(byte): byte for byte in themselves}
    meant |= {chr(0x100 + i): byte for i, byte in enumerate(shifted)}
    characters = bytes_to_unicode()
    taken = {meant[character] for character in characters.values() if character in meant}
    left = iter(sorted(set(range(0x100)) - taken))
    return bytes(meant[c] if (c := characters[byte]) in meant else next(left) for byte in range(0x100))
