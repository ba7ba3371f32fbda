"""Byte-level BPE: by hand on a small vocabulary, then on GPT-2's own files and on the shared models."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch_core.engine.errors import ModelError, UsageError
from llorch_core.engine.tokenizer import LONGEST_BLANK, Tokenizer, bytes_to_unicode, read_tokenizer

DATA = Path(__file__).parents[3] / "shared" / "data"
ALPHABET = bytes_to_unicode()
MERGES = ["# #", "a b", "Ġ ab", "ab ab", "ab c", "Ã ©"]  # `Ã ©` is é, C3 A9
BYTES = {name: 299 - byte for byte, name in ALPHABET.items()}  # byte b has id 299 - b: ids are not ranks
RESULTS = {"##": 10, "ab": 5, "Ġab": 7, "abab": 3, "abc": 4, "Ã©": 8}
SPECIAL = {"<|end|>": 0, "<|end|>s": 2, "<|é pad|>": 40}
N_VOCAB = 300


def write(folder: Path, vocab: object, merges: list[str]) -> Path:
    text = vocab if isinstance(vocab, str) else json.dumps(vocab)
    (folder / "vocab.json").write_text(text, "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    tokenizer = read_tokenizer(
        write(tmp_path_factory.mktemp("small"), BYTES | RESULTS | SPECIAL, MERGES), N_VOCAB
    )
    assert tokenizer is not None
    return tokenizer


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    folder = shared("tokenizer")
    tokenizer = read_tokenizer(folder, 50257)
    assert tokenizer is not None
    return tokenizer


def shared(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is absent")
    return DATA / name


def byte(character: str) -> int:
    """Return the id of an ASCII character in the small vocabulary."""
    return 299 - ord(character)


def test_each_byte_has_its_own_character_and_68_are_shifted():
    assert sorted(ALPHABET) == list(range(256)) and len(set(ALPHABET.values())) == 256
    shifted = {b: c for b, c in ALPHABET.items() if ord(c) != b}
    assert len(shifted) == 68 and [ord(shifted[b]) for b in sorted(shifted)] == list(range(0x100, 0x144))
    assert (ALPHABET[0], ALPHABET[10], ALPHABET[32], ALPHABET[127], ALPHABET[160]) == tuple("ĀĊĠġł")
    assert (ALPHABET[0xAD], ALPHABET[0xFF], ALPHABET[ord("!")]) == ("Ń", "ÿ", "!")


def test_merges_apply_in_the_order_of_the_list(small):
    assert small.encode("abc") == [4]
    assert small.encode("ababc") == [3, byte("c")]  # `ab ab` comes before `ab c`
    assert small.encode("abcab") == [4, 5]
    assert small.encode("xab") == [byte("x"), 5]


def test_a_space_belongs_to_the_word_after_it(small):
    assert small.encode("ab ab") == [5, 7]
    assert small.encode("ab  ab") == [5, byte(" "), 7]
    assert small.encode("ab ab ") == [5, 7, byte(" ")]


def test_a_merge_of_number_signs_is_no_comment(small):
    assert small.encode("a##") == [byte("a"), 10]


def test_a_character_beyond_ascii_is_spelled_in_bytes(small):
    assert small.encode("é") == [8]
    assert small.encode("è") == [299 - 0xC3, 299 - 0xA8]
    assert small.decode([8]) == "é"


def test_nothing_is_put_before_or_behind_the_text(small):
    assert small.encode("") == small.encode("", allow_special=True) == []
    assert small.decode([]) == ""


def test_the_name_of_a_special_token_is_ordinary_text_unless_it_is_allowed(small):
    assert small.encode("<|end|>") == [byte(c) for c in "<|end|>"]
    assert small.encode("<|end|>", allow_special=True) == [0]
    assert small.special_tokens == SPECIAL


def test_special_tokens_cut_the_text_and_the_longest_name_wins(small):
    assert small.encode("ab<|end|> ab<|end|>s<|é pad|>", allow_special=True) == [5, 0, 7, 2, 40]
    assert small.decode([5, 0, 7, 2, 40]) == "ab<|end|> ab<|end|>s<|é pad|>"


def test_decode_joins_the_bytes_of_all_tokens_before_it_reads_utf8(small):
    euro = [299 - b for b in b"\xe2\x82\xac"]
    assert small.decode(euro) == "€"
    assert small.decode([*euro[:2], 5]) == "\ufffdab"
    assert small.decode(np.array(euro)) == "€"


def test_token_bytes_are_what_the_token_stands_for(small):
    assert [small.token_bytes(i) for i in (7, 8, 299, 40)] == [
        b" ab",
        b"\xc3\xa9",
        b"\0",
        b"<|\xc3\xa9 pad|>",
    ]


@pytest.mark.parametrize("token_id", [-1, 18, 300, 50256, 5.0, "5", None])
def test_an_id_without_a_token_is_refused(small, token_id):
    with pytest.raises(UsageError, match=r"has no token \(wanted one of 265 ids, the largest 299\)"):
        small.token_bytes(token_id)
    with pytest.raises(UsageError):
        small.decode([5, token_id])


def test_half_of_a_surrogate_pair_is_refused_with_its_place(small):
    with pytest.raises(UsageError, match="U\\+D83D, half of a surrogate pair, at character 2"):
        small.encode("ab\ud83d")


def test_more_blanks_in_a_row_than_tiktoken_can_take_are_refused(small):
    assert len(small.encode("a" + " " * LONGEST_BLANK + "ab")) == 1 + (LONGEST_BLANK - 1) + 1
    with pytest.raises(UsageError, match=r"500,000 blanks in a row from character 1"):
        small.encode("a" + "\n " * (LONGEST_BLANK // 2) + "\n")


def test_a_folder_without_tokenizer_files_has_no_tokenizer(tmp_path):
    (tmp_path / "char_vocab.json").write_text("{}")
    assert read_tokenizer(tmp_path, N_VOCAB) is None


@pytest.mark.parametrize("pair", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
def test_both_pairs_of_names_are_read_and_half_a_pair_is_refused(tmp_path, pair):
    write(tmp_path, BYTES | RESULTS, MERGES)
    (tmp_path / "vocab.json").rename(tmp_path / pair[0])
    (tmp_path / "merges.txt").rename(tmp_path / pair[1])
    assert read_tokenizer(tmp_path, N_VOCAB).encode("ab") == [5]
    for name, other in (pair, pair[::-1]):
        kept = (tmp_path / name).read_text("utf-8")
        (tmp_path / name).unlink()
        with pytest.raises(ModelError, match=rf"{name} is missing from .*wanted beside {other}"):
            read_tokenizer(tmp_path, N_VOCAB)
        (tmp_path / name).write_text(kept, "utf-8")


def test_merges_may_lack_the_version_line_end_in_crlf_or_be_none(tmp_path):
    write(tmp_path, BYTES | RESULTS, [])
    (tmp_path / "merges.txt").write_bytes("\r\n".join(MERGES).encode())
    assert read_tokenizer(tmp_path, N_VOCAB).encode("ab##") == [5, 10]
    for nothing in ("", "#version: 0.2", "#version: 0.2\n"):
        (tmp_path / "vocab.json").write_text(json.dumps(BYTES))
        (tmp_path / "merges.txt").write_text(nothing)
        assert read_tokenizer(tmp_path, N_VOCAB).encode("ab") == [byte("a"), byte("b")]


GOOD = BYTES | RESULTS
BROKEN_VOCAB = [
    ("{", "is not JSON"),
    ("[" * 100_000, "is not JSON"),
    ([1, 2], "holds list, wanted an object"),
    (GOOD | {"ab": "5"}, r"the id of 'ab' is '5' \(wanted an integer from 0 to 299"),
    (GOOD | {"ab": True}, "the id of 'ab' is True"),
    (GOOD | {"ab": 5.0}, "the id of 'ab' is 5.0"),
    (GOOD | {"ab": {"a": 1}}, "the id of 'ab' is"),
    (GOOD | {"ab": -1}, "the id of 'ab' is -1"),
    (GOOD | {"<|end|>": 300}, r"the id of '<\|end\|>' is 300"),
    (GOOD | {"abc": 5}, "'abc' has id 5, but 'ab' has id 5"),
    (json.dumps(GOOD)[:-1] + ', "ab": 6}', "'ab' has id 6, but 'ab' has id 5"),
    ({k: v for k, v in GOOD.items() if k != "Ċ"}, "lacks 'Ċ', the token of byte 0x0A"),
    ({k: v for k, v in GOOD.items() if k != "ab"}, r"merges.txt line 3, 'a b': 'ab' is not in vocab.json"),
    (GOOD | {"Ġabc": 20}, "no line of merges.txt makes 'Ġabc'"),
    (GOOD | {"": 20}, "no line of merges.txt makes ''"),
    (GOOD | {"\ud83d": 20}, "no line of merges.txt makes"),
]


@pytest.mark.parametrize(("vocab", "message"), BROKEN_VOCAB, ids=[message for _, message in BROKEN_VOCAB])
def test_a_broken_vocabulary_is_refused_with_the_entry_at_fault(tmp_path, vocab, message):
    with pytest.raises(ModelError, match=message):
        read_tokenizer(write(tmp_path, vocab, MERGES), N_VOCAB)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ab", "not two tokens"),
        ("a b c", "not two tokens"),
        ("a  b", "not two tokens"),
        (" a", "not two tokens"),
        ("", "not two tokens"),
        ("a \N{SNOWMAN}", "not two tokens"),
        ("abc a", "not two tokens"),  # `abc` is made by a later line only
        ("a b", "'ab' is made by an earlier line"),
        ("b a", "'ba' is not in vocab.json"),
    ],
)
def test_a_broken_merge_is_refused_with_its_line(tmp_path, line, problem):
    with pytest.raises(ModelError, match=rf"merges.txt line 4, '{line}': .*{problem}.* \(wanted a merge"):
        read_tokenizer(write(tmp_path, GOOD, [*MERGES[:2], line, *MERGES[2:]]), N_VOCAB)


def test_files_that_are_not_utf8_are_refused(tmp_path):
    write(tmp_path, GOOD, MERGES)
    (tmp_path / "merges.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"merges\.txt is not UTF-8"):
        read_tokenizer(tmp_path, N_VOCAB)
    (tmp_path / "vocab.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"vocab\.json is not JSON"):
        read_tokenizer(tmp_path, N_VOCAB)


def test_two_merges_with_the_same_result_are_refused(tmp_path):
    merges = ["a b", "b c", "a bc", "ab c"]
    with pytest.raises(ModelError, match="line 4, 'a bc': earlier lines never leave 'a' before 'bc'"):
        read_tokenizer(write(tmp_path, BYTES | {"ab": 1, "bc": 2, "abc": 3}, merges), N_VOCAB)
    with pytest.raises(ModelError, match="line 5, 'a bc': 'abc' is made by an earlier line"):
        read_tokenizer(
            write(tmp_path, BYTES | {"ab": 1, "bc": 2, "abc": 3}, ["a b", "ab c", "b c", "a bc"]), N_VOCAB
        )


def bpe(text: str, merges: list[tuple[str, str]]) -> list[str]:
    """GPT-2's own algorithm, by the ranks of pairs: merge, everywhere, the pair that the list has first."""
    word = list(text)
    while pairs := [pair for pair in merges if pair in pairwise(word)]:
        merged, i = [], 0
        while i < len(word):
            step = 2 if tuple(word[i : i + 2]) == pairs[0] else 1
            merged.append("".join(word[i : i + step]))
            i += step
        word = merged
    return word


@settings(derandomize=True, max_examples=300, deadline=None)
@given(data=st.data())
def test_a_merges_list_is_refused_or_merges_as_gpt2_does(tmp_path_factory, data):
    """Refused exactly if some token, spelled in bytes, is not merged back into itself."""
    tokens, merges = ["a", "b", "c"], []
    for _ in range(data.draw(st.integers(1, 6))):
        pair = data.draw(st.tuples(st.sampled_from(tokens), st.sampled_from(tokens)))
        if "".join(pair) not in tokens:
            tokens.append("".join(pair))
            merges.append(pair)
    folder = tmp_path_factory.mktemp("merges")
    write(
        folder, BYTES | {token: i for i, token in enumerate(tokens[3:])}, [" ".join(pair) for pair in merges]
    )
    if any(bpe(token, merges) != [token] for token in tokens):
        with pytest.raises(ModelError, match="so that it cannot happen"):
            read_tokenizer(folder, N_VOCAB)
        return
    tokenizer = read_tokenizer(folder, N_VOCAB)
    text = data.draw(st.text(alphabet="abc", max_size=12))
    assert [tokenizer.token_bytes(i).decode() for i in tokenizer.encode(text)] == bpe(text, merges)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(text=st.text(st.one_of(st.sampled_from("ab# é\n"), st.characters(exclude_categories=["Cs"]))))
def test_decode_gives_back_what_encode_was_given(small, text):
    for allow_special in (False, True):
        assert small.decode(small.encode(text, allow_special=allow_special)) == text


def test_each_of_the_256_bytes_is_a_token(small):
    assert [small.token_bytes(299 - value) for value in range(256)] == [bytes([v]) for v in range(256)]


def test_importing_the_tokenizer_does_not_import_tiktoken():
    code = "import sys, llorch_core.engine.tokenizer; sys.exit('tiktoken' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_gpt2s_files_are_the_published_ones_and_its_ids_agree_with_all_vectors(gpt2):
    digest = hashlib.sha256((DATA / "tokenizer" / "vocab.bpe").read_bytes()).hexdigest()
    assert digest.startswith("1ce1") and digest.endswith("adc5")
    cases = json.loads(shared("tokenizer-vectors.json").read_text("utf-8"))["cases"]
    for case in cases:
        ids = gpt2.encode(case["text"], allow_special=case["special"] == "token")
        assert ids == case["ids"], case["text"]
        assert gpt2.decode(ids) == case["text"]
    assert len(cases) == 76 and {case["special"] for case in cases} == {"text", "token"}


def test_gpt2s_tokens_decode_as_all_vectors_say_also_where_they_are_no_utf8(gpt2):
    cases = json.loads(shared("tokenizer-vectors.json").read_text("utf-8"))["decode_cases"]
    for case in cases:
        assert b"".join(map(gpt2.token_bytes, case["ids"])).hex() == case["bytes_hex"]
        assert gpt2.decode(case["ids"]) == case["text_errors_replace"]
    assert len(cases) == 12


def test_gpt2_has_one_special_token(gpt2):
    assert gpt2.special_tokens == {"<|endoftext|>": 50256}
    assert gpt2.encode("<|endoftext|>") == [27, 91, 437, 1659, 5239, 91, 29]


@pytest.mark.untraced
def test_the_shared_models_tokenize_their_prompt_as_recorded():
    compared = 0
    for folder in sorted(shared("models").iterdir()):
        tokenizer = read_tokenizer(
            folder, json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"]
        )
        reference = json.loads((folder / "reference.json").read_text("utf-8"))
        assert (tokenizer is None) == (folder.name == "slm4096_char")
        if tokenizer is not None:
            ids, recorded = tokenizer.encode(reference["prompt_C_text"]), reference["prompts"]["C"]
            assert ids[:10] == recorded, folder.name  # the prompt was cut to ten ids where it had more
            assert tokenizer.decode(ids) == reference["prompt_C_text"]
            compared += 1
    assert compared == 6
