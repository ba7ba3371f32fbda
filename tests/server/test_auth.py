"""Who may ask: a token that is right in every character, and no other."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import llorch_core.server.auth
from llorch_core.engine.errors import UsageError
from llorch_core.server.auth import Streams, Tokens, TooManyError, bearer, check_bind, fingerprint

ONE, OTHER, THIRD = "correct-horse-battery", "staple-staple-staple", "0123456789abcdef"
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)


def tokens() -> Tokens:
    return Tokens.read({"LLORCH_API_TOKENS": f"first:{ONE},second:{OTHER},third:{THIRD}"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# of the build\nci: {ONE}\n\nlaptop : {OTHER}\n")
    path.chmod(0o600)
    return path


def refusal(environment: dict[str, str], path: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        Tokens.read(environment, path)
    return str(caught.value)


def test_each_token_is_known_by_its_name():
    found = [tokens().check(f"Bearer {token}") for token in (ONE, OTHER, THIRD)]
    assert found == ["first", "second", "third"]


def test_one_token_is_called_default():
    assert Tokens.read({"LLORCH_API_TOKEN": ONE}).check(f"Bearer {ONE}") == "default"


def test_tokens_of_environment_and_file_are_one_list(file):
    both = Tokens.read({"LLORCH_API_TOKEN": THIRD}, file)
    assert both.names == ("default", "ci", "laptop")
    assert both.check(f"Bearer {OTHER}") == "laptop"


def test_without_a_token_nobody_is_asked_and_nobody_is_let_in():
    nothing = Tokens.read({"PATH": "/bin"})
    assert not nothing.enabled
    assert [nothing.check(header) for header in (None, "", "Bearer ", f"Bearer {ONE}")] == [None] * 4
    assert tokens().enabled


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {ONE}",
        f"bearer {ONE}",
        f"BEARER {ONE}",
        f"Bearer   {ONE}",  # RFC 9110, section 11.4: one space or more
        f"\t Bearer {ONE} ",  # white space around a field is no part of it
    ],
)
def test_a_right_header_in_each_of_its_forms(header):
    assert tokens().check(header) == "first"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        ONE,
        f"Basic {ONE}",
        f"Bearer{ONE}",
        f"Bearer\t{ONE}",
        f"Bearer: {ONE}",
        f"Bearer {ONE[:-1]}",
        f"Bearer {ONE}x",
        f"Bearer {ONE[:8]}",
        f"Bearer {ONE.upper()}",
        f"Bearer {ONE} {OTHER}",
        f"Bearer {ONE}, Bearer {OTHER}",
        f"Bearer {ONE}\x00",
        f"Bearer {ONE}\r\nX: y",
        f"Bearer {ONE}\n",
        f"Bearer \x1b{ONE}",
        f"Bearer \u00a0{ONE}",
        f"Bearer \u212aelvin-{ONE}",  # the Kelvin sign is a k in another case
        "Bearer " + ONE.replace("c", "\u0441"),  # Cyrillic
        "Bearer \udc80",
        "Bearer first",
        "Bearer " + hashlib.sha256(ONE.encode()).hexdigest(),
        "Bearer " + fingerprint(ONE),
    ],
)
def test_a_header_that_is_not_right(header):
    assert tokens().check(header) is None


def test_a_header_of_8_kib_is_read_and_a_longer_one_is_not():
    assert bearer("Bearer ".ljust(8192, "x")) == "x" * 8185
    assert bearer("Bearer ".ljust(8193, "x")) is None
    assert bearer(" " * 8192 + f"Bearer {ONE}") is None


@given(st.text(max_size=60))
@example(f"Bearer {ONE[:-1]}")
def test_no_other_header_is_let_in(header):
    assert tokens().check(header) is None
    assert tokens().check(f"Bearer {header}") is None


@given(PRINTABLE, st.sampled_from(["Bearer", "bearer", "bEARER"]), st.integers(1, 4))
def test_whatever_is_printable_and_has_no_space_is_read_as_it_is(token, scheme, spaces):
    assert bearer(scheme + " " * spaces + token) == token


def calls(check: Tokens, header: str) -> list[str]:
    """Return every function that a check enters, of Python and of C, in order: its path through the code."""
    entered: list[str] = []

    def note(frame, event, arg):
        if event == "c_call":
            entered.append(arg.__qualname__)
        elif event == "call":
            entered.append(frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        check.check(header)
    finally:
        sys.setprofile(before)
    return entered[:-1]  # the last one is setprofile


@pytest.mark.parametrize("token", [ONE, OTHER, THIRD, ONE[:-1] + "x", "x" * len(ONE), ONE[::-1]])
def test_right_or_wrong_first_or_last_every_token_is_compared_on_one_path(token):
    path = calls(tokens(), f"Bearer {token}")
    assert path.count("_compare_digest") + path.count("compare_digest") == 3
    assert path == calls(tokens(), "Bearer " + "z" * len(token))


def test_tokens_are_compared_by_nothing_else():
    """The loop has no way out, and of all operators only those that compare with None."""
    tree = ast.parse(Path(llorch_core.server.auth.__file__).read_text())
    (loop,) = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "_name_of"]
    assert not [n for n in ast.walk(loop) if isinstance(n, (ast.Compare, ast.Break))]
    assert len([n for n in ast.walk(loop) if isinstance(n, ast.Return)]) == 1


def test_what_is_kept_of_a_token_is_its_digest(file):
    held = Tokens.read({"LLORCH_API_TOKEN": THIRD}, file)
    kept = repr(vars(held))
    assert repr(hashlib.sha256(ONE.encode()).digest()) in kept
    assert not any(token in kept for token in (ONE, OTHER, THIRD))


def test_a_fingerprint_is_six_digits_of_the_digest():
    # printf abc | sha256sum: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad (FIPS 180-2)
    assert fingerprint("abc") == "token:ba7816"
    assert tokens().fingerprint("second") == fingerprint(OTHER)


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"LLORCH_API_TOKEN": ""}, "0 characters (wanted 16"),
        ({"LLORCH_API_TOKEN": "x" * 15}, "15 characters (wanted 16"),
        ({"LLORCH_API_TOKEN": "x" * 4097}, "4097 characters"),
        ({"LLORCH_API_TOKEN": "x" * 15 + " "}, "printable ASCII"),
        ({"LLORCH_API_TOKEN": "x" * 16 + "\n"}, "printable ASCII"),
        ({"LLORCH_API_TOKEN": "é" * 16}, "printable ASCII"),
        ({"LLORCH_API_TOKENS": ""}, "pair 1, has no colon"),
        ({"LLORCH_API_TOKENS": f"a:{ONE},{OTHER}"}, "pair 2, has no colon"),
        ({"LLORCH_API_TOKENS": f"a:{ONE},a:{OTHER}"}, "the name is there twice"),
        ({"LLORCH_API_TOKENS": f"a:{ONE},b:{ONE}"}, "the token is there twice"),
        ({"LLORCH_API_TOKENS": f":{ONE}"}, "the name is malformed"),
        ({"LLORCH_API_TOKENS": f"two words:{ONE}"}, "the name is malformed"),
        ({"LLORCH_API_TOKENS": f"{ONE}:ci"}, "2 characters"),
        ({"LLORCH_API_TOKEN": ONE, "LLORCH_API_TOKENS": f"default:{OTHER}"}, "the name is there twice"),
    ],
)
def test_a_malformed_environment_is_refused_and_no_token_is_told(environment, why):
    told = refusal(environment)
    assert why in told and "LLORCH_API_TOKEN" in told
    assert ONE not in told and OTHER not in told


def test_a_token_of_16_characters_is_enough():
    assert Tokens.read({"LLORCH_API_TOKEN": THIRD}).check(f"Bearer {THIRD}") == "default"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o660, 0o777])
def test_a_file_that_others_can_use_is_refused(file, mode):
    file.chmod(mode)
    told = refusal({}, file)
    assert f"permissions {mode:03o}" in told and f"chmod 600 {file}" in told


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_that_only_we_can_read_is_read(file, mode):
    file.chmod(mode)
    assert Tokens.read({}, file).names == ("ci", "laptop")


def test_a_file_of_another_user_is_refused(file):
    if os.geteuid() == 0:
        os.chown(file, 65534, -1)
    else:
        file = Path("/etc/passwd")  # belongs to root
    told = refusal({}, file)
    assert "belongs to user" in told and "chmod 600" in told


def test_a_file_in_a_folder_that_others_can_write_is_refused(file):
    file.parent.chmod(0o777)
    told = refusal({}, file)
    assert "others can write" in told and "chmod 600" in told
    file.parent.chmod(0o1777)  # as /tmp: there only the owner can exchange it
    assert Tokens.read({}, file).names == ("ci", "laptop")


def test_a_link_is_followed_and_its_folder_counts_too(file, tmp_path):
    folder = tmp_path / "links"
    folder.mkdir()
    link = folder / "tokens"
    link.symlink_to(file)
    assert Tokens.read({}, link).names == ("ci", "laptop")
    folder.chmod(0o775)
    assert f"others can write {folder}" in refusal({}, link)
    folder.chmod(0o755)
    file.parent.chmod(0o777)
    assert f"others can write {file.parent}" in refusal({}, link)


def test_what_is_no_file_of_text_is_refused(tmp_path):
    pipe, loop, raw = tmp_path / "pipe", tmp_path / "loop", tmp_path / "raw"
    os.mkfifo(pipe, 0o600)
    loop.symlink_to(loop)
    raw.write_bytes(b"ci: \xff")
    raw.chmod(0o600)
    assert "no regular file" in refusal({}, pipe)
    assert "cannot be read" in refusal({}, loop)
    assert "cannot be read" in refusal({}, tmp_path / "missing")
    assert "not UTF-8 at byte 4" in refusal({}, raw)
    raw.write_bytes(b"#" * (2**20 + 1))
    assert "more than 1048576 bytes" in refusal({}, raw)


@pytest.mark.parametrize("text", ["", "# nobody\n"])
def test_a_file_without_a_token_is_refused(file, text):
    file.write_text(text)
    assert "holds no token" in refusal({}, file)


def test_a_reload_takes_new_tokens_and_drops_old_ones(file):
    held = Tokens.read({"LLORCH_API_TOKEN": THIRD}, file)
    file.write_text("ci: another-token-of-20\n")
    assert held.check(f"Bearer {ONE}") == "ci"
    held.reload()
    assert held.check(f"Bearer {ONE}") is None
    assert held.check("Bearer another-token-of-20") == "ci"
    assert held.check(f"Bearer {THIRD}") == "default"


@pytest.mark.parametrize("text", ["", "ci: short\n", f"ci: {THIRD}\nci: {OTHER}\n", f"default: {OTHER}\n"])
def test_a_broken_file_leaves_the_tokens_of_before(file, text):
    held = Tokens.read({"LLORCH_API_TOKEN": THIRD}, file)
    file.write_text(text)
    with pytest.raises(UsageError):
        held.reload()
    assert held.names == ("default", "ci", "laptop")
    assert held.check(f"Bearer {ONE}") == "ci"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_this_machine_needs_no_token(host):
    check_bind(host, Tokens.read({}))


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "::", "[::]", "", "127.0.0.2", "192.168.0.1", "127.0.0.1.example.org"),
        *("localhost.example.org", "::ffff:127.0.0.1", "0", "127.1", "2130706433", " localhost"),
    ],
)
def test_every_other_address_needs_one(host):
    with pytest.raises(UsageError, match="LLORCH_API_TOKEN, of 16 characters") as caught:
        check_bind(host, Tokens.read({}))
    assert host in str(caught.value)
    check_bind(host, tokens())


def test_a_name_has_as_many_requests_as_it_may_and_others_have_theirs():
    streams = Streams(2)
    with streams.hold("a"), streams.hold("a"):
        with pytest.raises(TooManyError, match="a has 2 requests running"), streams.hold("a"):
            pytest.fail("a third one ran")
        with streams.hold("b"):
            assert (streams.running("a"), streams.running("b")) == (2, 1)
    assert (streams.running("a"), streams.running("b")) == (0, 0)


def test_a_place_is_free_again_after_a_failure():
    streams = Streams(1)
    with pytest.raises(KeyError), streams.hold(""):
        raise KeyError
    assert streams.take("")
    assert not streams.take("")


def test_what_is_not_held_cannot_be_let_go():
    streams = Streams(1)
    with pytest.raises(ValueError, match="a holds no request"):
        streams.let_go("a")
    assert streams.take("a") and not streams.take("a")
