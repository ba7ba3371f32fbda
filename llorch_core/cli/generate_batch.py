"""llorch generate --batch: continue every prompt of a file, one line each, and go on after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from llorch_core.engine.errors import UsageError
from llorch_core.engine.generation import Piece, Request, check_request
from llorch_core.engine.model import Completion, Model
from llorch_core.engine.sampling import Sampler, Sampling
from llorch_core.engine.speculation import drafter

SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty", "seed")
KEYS = {"id", "prompt", "ids", "max_tokens", "stop", *SAMPLING}
MOST_AT_ONCE = 32
MODEL_FILES = ("config.json", "vocab.json", "merges.txt", "encoder.json", "vocab.bpe")  # and the weights
BLOCKS, BLOCK = 256, 4096  # of a large file of the model that are read, to know it again


@dataclass(frozen=True)
class Settings:
    """What holds for a line that does not say otherwise; the seed is the one of all lines together."""

    sampling: Sampling
    max_tokens: int | None
    stop: Sequence[str]
    special: bool
    speculate: int


@dataclass(frozen=True)
class Line:
    """One line of the file of prompts, read and checked.

    number   counted from 1, as an editor does
    id       what the user calls it, or None
    request  what is asked for; its sampler has not drawn yet
    limit    most tokens that are added
    digest   of all that its result depends on: prompt, settings, seed and model
    """

    number: int
    id: str | int | None
    request: Request
    limit: int
    digest: str

    @property
    def head(self) -> str:
        """Return how its result begins."""
        return f'{{"line": {self.number}, "digest": "{self.digest}", '

    def result(self, completion: Completion) -> bytes:
        """Return its result, one line of JSON."""
        about: dict[str, Any] = {"line": self.number, "digest": self.digest}
        if self.id is not None:
            about["id"] = self.id
        made = {name: getattr(completion, name) for name in RESULT}
        return json.dumps(about | made).encode() + b"\n"


RESULT = ("prompt_ids", "ids", "text", "finish_reason", "seed")


def run(
    gpt2: Model, prompts: Path, output: Path, settings: Settings, batch_size: int | None, as_json: bool
) -> int:
    """Continue the prompts that the output does not have yet, and add each to it as it ends."""
    lines = read_lines(gpt2, prompts, settings)
    try:
        with output.open("ab") as file, locked(file, output):
            done = check_results(output, prompts, lines)
            left = [line for line in lines if line.number not in done]
            size = batch_size or affordable(gpt2, left)
            started, tokens = time.monotonic(), 0
            with progress(len(lines), len(done)) as advance:
                requests = (line.request for line in left)
                for i, completion in gpt2.generate_each(requests, size, advance):
                    file.write(left[i].result(completion))
                    file.flush()
                    tokens += len(completion.ids)
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written: {error.strerror}.\n"
            "What is in it stays; run again when it can, and the lines that are missing are added."
        ) from None
    seconds = time.monotonic() - started
    about = {"lines": len(lines), "added": len(left), "tokens": tokens, "seconds": round(seconds, 3)}
    if as_json:
        click.echo(json.dumps({"output": str(output), **about}))
        return 0
    click.echo(
        f"{output} has all {len(lines)} lines: {len(done)} were there, {len(left)} were added, "
        f"{tokens:,} tokens, {tokens / max(seconds, 1e-9):,.0f} a second"
    )
    return 0


# What is asked for


def read_lines(gpt2: Model, path: Path, settings: Settings) -> list[Line]:
    """Read and check every line. Raises UsageError with file and line, before any work."""
    try:
        rows = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror} (wanted a file with one JSON object a line).\n"
            'For example: {"prompt": "To be, or not to be"}'
        ) from None
    model, lines = f"{fingerprint(gpt2.folder)} {precision(gpt2)}", []
    for number, row in enumerate(rows, 1):
        if row.strip():
            try:
                lines.append(read_line(gpt2, model, number, row, settings))
            except UsageError as error:
                raise UsageError(f"{path}:{number}: {error}") from None
    if not lines:
        raise UsageError(
            f'{path} has no prompts (wanted one JSON object a line).\nFor example: {{"prompt": "To be"}}'
        )
    return lines


def read_line(gpt2: Model, model: str, number: int, row: bytes, settings: Settings) -> Line:
    entry = parse(row)
    name = entry.get("id")
    if name is not None and (not isinstance(name, str | int) or isinstance(name, bool)):
        raise UsageError(f"id is {name!r} (wanted a text or a whole number).\nCorrect it, or leave it out.")
    stop = entry.get("stop", list(settings.stop))
    if not isinstance(stop, list):
        raise UsageError(f'stop is {stop!r} (wanted a list of strings).\nWrite ["\\n"] for one stop string.')
    sampling = replace(settings.sampling, **{key: entry[key] for key in SAMPLING if key in entry})
    if sampling.seed is not None and "seed" not in entry:
        sampling = replace(sampling, seed=seed_of(sampling.seed, number))
    request = Request(
        prompt=prompt_of(gpt2, entry, settings.special),
        sampler=Sampler(sampling),
        max_tokens=entry.get("max_tokens", settings.max_tokens),
        stop=stop,
        drafter=drafter(settings.speculate, sampling),
    )
    limit = check_request(request, gpt2.config, gpt2.tokenizer)
    known = [model, name, request.prompt.tolist(), limit, stop, *(getattr(sampling, key) for key in SAMPLING)]
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    return Line(number, name, request, limit, digest)


def parse(row: bytes) -> dict[str, Any]:
    """Return the entries of a line that are not null."""
    try:
        entry = json.loads(row.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"it is not UTF-8 at byte {error.start} (wanted text).\nConvert the file.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f'it is no JSON: {error} (wanted one object, such as {{"prompt": "To be"}}).\n'
            "Each prompt is one line; a line break in a text is written \\n."
        ) from None
    if not isinstance(entry, dict) or ("prompt" in entry) + ("ids" in entry) != 1:
        raise UsageError(
            'it has no prompt, or two (wanted an object with either "prompt", a text, or "ids").\n'
            'Write {"prompt": "To be"} or {"ids": [15496, 13]}.'
        )
    if unknown := sorted(entry.keys() - KEYS):
        raise UsageError(
            f"it has {', '.join(unknown)}, which means nothing here (wanted {', '.join(sorted(KEYS))}).\n"
            "Correct the name, or leave it out."
        )
    return {key: value for key, value in entry.items() if value is not None}


def prompt_of(gpt2: Model, entry: dict[str, Any], special: bool) -> Any:
    """Return the ids of the prompt, int64."""
    ids = entry.get("ids")
    if "prompt" in entry:
        if not isinstance(entry["prompt"], str):
            raise UsageError(f'prompt is {entry["prompt"]!r} (wanted a text).\nGive ids as "ids".')
        ids = gpt2.encode(entry["prompt"], allow_special=special)
    if not isinstance(ids, list) or not all(type(i) is int and abs(i) < 2**63 for i in ids):
        raise UsageError(f"ids is {ids!r} (wanted a list of token ids).\nWrite [15496, 13], for example.")
    return np.array(ids, np.int64)


def seed_of(seed: int, number: int) -> int:
    """Return the seed of a line: it depends on the common seed and its number, and on no other line."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])


def precision(gpt2: Model) -> str:
    """Return the precision of the weights that the forward pass multiplies with; NumPy's are float32."""
    return str(getattr(gpt2.forward, "kind", "float32"))


def fingerprint(folder: Path) -> str:
    """Return a digest by which a model is known again: of its files, where they are large of some blocks."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name not in MODEL_FILES and path.suffix != ".safetensors":
            continue
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(f"{path.name} {size} ".encode())
            places = {size * i // BLOCKS for i in range(BLOCKS)} if size > BLOCKS * BLOCK else {0}
            for place in sorted({*places, max(0, size - BLOCK)}):
                file.seek(place)
                digest.update(file.read(BLOCK if len(places) > 1 else -1))
    return digest.hexdigest()


# What is there already


def check_results(output: Path, prompts: Path, lines: Sequence[Line]) -> set[int]:
    """Return the numbers of the lines that have a result; cut off one that a kill left unfinished.

    Raises UsageError, and changes nothing, where the file holds anything but results of these lines.
    """
    of = {line.number: line for line in lines}
    data = output.read_bytes()
    *rows, torn = data.split(b"\n")
    done: set[int] = set()
    for place, row in enumerate(rows, 1):
        entry = result_in(row)
        number = entry.get("line")
        if number in done or number not in of:
            what = "the second result" if number in done else "a result"
            what = f"{what} of line {number!r}" if entry else "no result of `llorch generate --batch`"
            raise other_file(f"{output}:{place} is {what}", f"results of {prompts}, one a line")
        if entry.get("digest") != of[number].digest:
            raise other_file(
                f"{output}:{place} was made with another prompt, setting or model "
                f"than {prompts}:{number} has now",
                f"the digest {of[number].digest}, got {entry.get('digest')}",
            )
        done.add(number)
    if torn:
        heads = (line.head.encode() for line in lines if line.number not in done)
        if not any(torn.startswith(head) or head.startswith(torn) for head in heads):
            end = f"the end of {output}, which has no line break, is no beginning of a result"
            raise other_file(end, f"results of {prompts}, one a line")
        os.truncate(output, len(data) - len(torn))
    return done


def result_in(row: bytes) -> dict[str, Any]:
    """Return what a line of results holds, nothing where it is none."""
    try:
        entry = json.loads(row.decode())
    except (ValueError, RecursionError):
        return {}
    known = isinstance(entry, dict) and type(entry.get("line")) is int and {*RESULT} <= entry.keys()
    return entry if known else {}


def other_file(what: str, wanted: str) -> UsageError:
    return UsageError(
        f"{what} (wanted {wanted}).\n"
        "Nothing was changed. Run with what made the file, or name another one with -o."
    )


@contextmanager
def locked(file: BinaryIO, path: Path) -> Iterator[None]:
    """Keep a second run away from the file, where the system has locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"another run is writing {path} (wanted one at a time).\n"
            "Wait for it, or name another file with -o."
        ) from None
    yield


# How it runs


def affordable(gpt2: Model, lines: Sequence[Line]) -> int:
    """Return how many sequences run at a time: their caches take a quarter of the memory at most."""
    positions = max((len(line.request.prompt) + line.limit for line in lines), default=1)
    cache = 2 * gpt2.config.n_layer * gpt2.config.n_embd * positions * np.float32().nbytes
    return max(1, min(MOST_AT_ONCE, memory() // 4 // cache))


def memory() -> int:
    """Return the bytes that this machine or container has; 4 GiB where nobody says."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        found = 4 * 2**30
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text() if limit.is_file() else ""
    return min(found, int(text)) if text.strip().isdigit() else found


@contextmanager
def progress(total: int, done: int) -> Iterator[Any]:
    """Show lines and tokens a second on a terminal; gives the function that hears of each piece."""
    talk = Console(stderr=True)
    speed = TextColumn("{task.fields[speed]:,.0f} tokens/s")
    columns = (TextColumn("lines"), BarColumn(), MofNCompleteColumn(), speed, TimeElapsedColumn())
    started, tokens = time.monotonic(), 0
    with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as bar:
        task = bar.add_task("", total=total, completed=done, speed=0.0)

        def hear(piece: Piece) -> None:
            nonlocal tokens
            tokens += piece.id is not None
            now = max(time.monotonic() - started, 1e-9)
            bar.update(task, advance=int(piece.finish_reason is not None), speed=tokens / now)

        yield hear
