"""Text to token ids and back: GPT-2's byte-level BPE, read from the files of the model's own folder.

Spec: tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llorch_core.engine.errors import ModelError, UsageError

if TYPE_CHECKING:
    import tiktoken

# Source: openai/gpt-2, src/encoder.py. Words, numbers and signs take one space before them along.
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
LONGEST_BLANK = (
    500_000  # `\s+(?!\S)` keeps each character on a stack that ends at 1,000,000; tiktoken panics there
)


class Tokenizer:
    """Byte-level BPE with the ids of one model; `read_tokenizer` makes it.

    special_tokens  name to id: entries of the vocabulary that no merge makes, such as <|endoftext|>

    tiktoken merges a pair by the rank of its result, GPT-2 by the rank of the pair. The two agree on
    every text exactly if each token, spelled in bytes, is merged back into itself: `read_tokenizer`
    refuses a merges list where it is not so. No trained list is of that kind.
    """

    def __init__(
        self, ordinary: dict[bytes, int], special_tokens: dict[str, int], bpe: tiktoken.Encoding
    ) -> None:
        self.special_tokens = special_tokens
        self._bpe = bpe  # works in ranks: places in the order of merging
        self._ids = list(ordinary.values())  # id of each rank
        self._bytes = {i: name.encode() for name, i in special_tokens.items()}
        self._bytes |= {i: spelling for spelling, i in ordinary.items()}
        longest_first = sorted(special_tokens, key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Cut text into tokens; nothing is put before or behind.

        allow_special  whether the name of a special token stands for that token; otherwise it is
                       text like any other, so that a prompt cannot end the document by itself

        Raises UsageError for text that is not Unicode, or is half a million blanks in a row.
        """
        _check_text(text)
        pieces = self._special.split(text) if allow_special else [text]
        ids: list[int] = []
        for i, piece in enumerate(pieces):
            if i % 2:  # split leaves the names at the odd places
                ids.append(self.special_tokens[piece])
            else:
                ids += [self._ids[rank] for rank in self._bpe.encode_ordinary(piece)]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Join the bytes of the tokens, then read them as UTF-8; what is no UTF-8 becomes U+FFFD.

        Raises UsageError as `token_bytes` does.
        """
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Return what one token stands for: any bytes, often a part of a character only.

        Raises UsageError for an id that no token has.
        """
        try:
            return self._bytes[index(token_id)]
        except (KeyError, TypeError):
            raise UsageError(
                f"token id {token_id!r} has no token (wanted one of {len(self._bytes)} ids, "
                f"the largest {max(self._bytes)}).\n"
                "Ids come from the same folder's tokenizer, or from a model of that vocabulary."
            ) from None


def read_tokenizer(folder: Path, n_vocab: int) -> Tokenizer | None:
    """Read vocab.json and merges.txt, or encoder.json and vocab.bpe, of a model's folder.

    n_vocab  rows of wte; a vocabulary may have fewer tokens, never an id past it

    Returns None where the folder has neither pair. Raises ModelError for half a pair, and for files
    that contradict each other.
    """
    pair = _find_files(folder)
    if pair is None:
        return None
    vocab_file, merges_file = pair
    vocab = _read_vocab(vocab_file, n_vocab)
    spellings = _rank_tokens(vocab, vocab_file.name, merges_file)
    special_tokens = {name: i for name, i in vocab.items() if name not in spellings}
    for name in special_tokens:
        _check_special(name, vocab_file, merges_file)

    import tiktoken  # here, not above: `import llorch_core` stays light

    ranks = {spelling: rank for rank, spelling in enumerate(spellings.values())}
    bpe = tiktoken.Encoding(str(folder), pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    ordinary = {spelling: vocab[name] for name, spelling in spellings.items()}
    return Tokenizer(ordinary, special_tokens, bpe)


def bytes_to_unicode() -> dict[int, str]:
    """Return the character that stands for each byte in vocabulary files.

    188 bytes are printable in Latin-1 and stand for themselves. The other 68 (controls, space, 0x7F
    to 0xA0, 0xAD) are shifted, in ascending order, to U+0100 and on: newline is Ċ, space is Ġ.
    Source: openai/gpt-2, src/encoder.py.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(0x100) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + i) for i, byte in enumerate(shifted)}


def _find_files(folder: Path) -> tuple[Path, Path] | None:
    for names in FILES:
        found = [name for name in names if (folder / name).is_file()]
        if len(found) == 1:
            missing = next(name for name in names if name not in found)
            raise ModelError(
                f"{missing} is missing from {folder} (wanted beside {found[0]}).\n"
                "The vocabulary and the merges belong together: copy both from the model's source."
            )
        if found:
            return folder / names[0], folder / names[1]
    return None


def _read_vocab(file: Path, n_vocab: int) -> dict[str, int]:
    """Return name to id, with each name and each id once, and each id in 0 .. n_vocab - 1."""
    try:
        entries = json.loads(file.read_text("utf-8"), object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not JSON: {error}.\nCopy it again from the model's source.") from None
    if not isinstance(entries, tuple):
        raise ModelError(f'{file} holds {type(entries).__name__}, wanted an object such as {{"!": 0}}.')
    names: dict[Any, str] = {}
    vocab: dict[str, int] = {}
    for name, i in entries:
        if type(i) is not int or not 0 <= i < n_vocab:
            raise ModelError(
                f"{file.name}: the id of {name!r} is {i!r} (wanted an integer from 0 to {n_vocab - 1}, "
                "the rows of wte).\nAre vocabulary and weights of the same model?"
            )
        if name in vocab or i in names:
            raise ModelError(
                f"{file.name}: {name!r} has id {i}, but {names.get(i, name)!r} has id {vocab.get(name, i)} "
                "(wanted each name and each id once).\nCopy the file again from the model's source."
            )
        names[i], vocab[name] = name, i
    return vocab


def _rank_tokens(vocab: dict[str, int], vocab_name: str, merges_file: Path) -> dict[str, bytes]:
    """Return the tokens in the order of their ranks: name to bytes, the 256 bytes, then the merges."""
    alphabet = bytes_to_unicode()
    for byte, name in alphabet.items():
        if name not in vocab:
            raise ModelError(
                f"{vocab_name} lacks {name!r}, the token of byte 0x{byte:02X} (wanted all 256 bytes).\n"
                "Is this the vocabulary of a byte-level GPT-2 tokenizer?"
            )
    spellings = {name: bytes([byte]) for byte, name in sorted(alphabet.items())}
    ranks = {name: rank for rank, name in enumerate(spellings)}
    parts = [(rank, rank) for rank in ranks.values()]
    merged: dict[tuple[int, int], int] = {}

    for number, line in _merge_lines(merges_file):
        left, _, right = line.partition(" ")
        name = left + right
        if left not in ranks or right not in ranks:
            problem = "it is not two tokens, a space between, each a byte or made by an earlier line"
        elif name in ranks:
            problem = f"{name!r} is made by an earlier line"
        elif name not in vocab:
            problem = f"{name!r} is not in {vocab_name}"
        elif not _stay_apart(ranks[left], ranks[right], parts, merged):
            problem = f"earlier lines never leave {left!r} before {right!r}, so that it cannot happen"
        else:
            parts.append((ranks[left], ranks[right]))
            merged[parts[-1]] = ranks[name] = len(ranks)
            spellings[name] = spellings[left] + spellings[right]
            continue
        raise ModelError(
            f"{merges_file.name} line {number}, {line!r}: {problem} (wanted a merge that makes a new token "
            f"of {vocab_name}).\nCopy both files again from the model's source."
        )
    return spellings


def _merge_lines(file: Path) -> list[tuple[int, str]]:
    """Return the merges with their line numbers. Only line 1 may be a comment: `# #` is a merge."""
    try:
        lines = file.read_text("utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ModelError(f"{file} is not UTF-8: {error}.\nCopy it again from the model's source.") from None
    numbered = list(enumerate(lines, start=1))
    return numbered[1:] if lines[0].startswith("#version") or lines == [""] else numbered


def _stay_apart(
    left: int, right: int, parts: list[tuple[int, int]], merged: dict[tuple[int, int], int]
) -> bool:
    """Whether BPE, given the bytes of left and right, makes just these two tokens of them.

    Undoes the merges that touch the boundary, the last one first. If two neighbours across it could
    have merged before the merge that was undone, BPE would have merged them. Equal ranks go to the
    left one, hence the + 1 on the right.
    """
    before = len(parts)
    while merged.get((left, right), before) >= before:
        if left < 256 and right < 256:
            return True
        if left > right:
            before, left = left, parts[left][1]
        else:
            before, right = right + 1, parts[right][0]
    return False


def _check_special(name: str, vocab_file: Path, merges_file: Path) -> None:
    """Refuse what is no name: nothing, half a character, or the Ġ of a token whose merge is missing."""
    if not name or "Ġ" in name or name.encode(errors="ignore").decode() != name:
        raise ModelError(
            f"{vocab_file.name}: no line of {merges_file.name} makes {name!r} (wanted a merge, or the name "
            f"of a special token).\nIs {merges_file.name} cut off? Copy both files from the model's source."
        )


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the text holds U+{ord(text[error.start]):04X}, half of a surrogate pair, at character "
            f"{error.start} (wanted Unicode text).\nDecode it again from its source, with errors='replace'."
        ) from None
    if len(text) > LONGEST_BLANK and (blank := re.search(rf"\s{{{LONGEST_BLANK + 1}}}", text)):
        raise UsageError(
            f"the text has more than {LONGEST_BLANK:,} blanks in a row from character {blank.start()}.\n"
            "Shorten them: no GPT-2 has so many positions."
        )
