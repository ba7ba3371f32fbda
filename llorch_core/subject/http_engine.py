"""An engine behind an HTTP address: asked once for greedy tokens, and nothing but the address is called."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import urlsplit

from llorch_core.engine.errors import UsageError

SHOWN = 300  # characters of an answer that a message shows
MOST_BYTES = 2**26  # of an answer
REFUSALS = (400, 404, 415, 422)  # what servers answer to a request that they do not understand
GREEDY = {"temperature": 0, "seed": 0, "stream": False}
# Fields of one server or the other: ids in, ids out, and nothing that changes the logits.
OPENAI_EXTRA = {"return_tokens_as_token_ids": True, "return_token_ids": True, "repetition_penalty": 1.0}
LLAMA_CPP = {"n_probs": 1, "return_tokens": True, "cache_prompt": False, "repeat_penalty": 1.0}


class AnswerError(UsageError):
    """The engine at the address cannot be reached, refuses, or answers what cannot be read."""


@dataclass(frozen=True)
class Answer:
    """What an engine answered.

    address      what was called
    ids          the tokens that it chose, or None where it shows text only
    text         the text that it wrote, or None where it shows ids only
    logprobs     its log-probability of each token, or None where it gives none
    read         the ids that it says it read as the prompt, or how many, or None where it does not say
    finished     why it stopped, in its own words: "length", "stop", …; or ""
    asked_by     whether it was given "ids" or "text"
    from_text    whether the ids were made from its text
    """

    address: str
    ids: tuple[int, ...] | None
    text: str | None
    logprobs: tuple[float | None, ...] | None
    read: tuple[int, ...] | int | None
    finished: str
    asked_by: str
    from_text: bool = False


def address(url: str) -> str:
    """Return what is called for an address that a person gave. Raises UsageError where it is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{url} is no address of an engine (wanted http://HOST:PORT, got the scheme "
            f"{parts.scheme or 'none'!r}). Give the server's address, such as http://127.0.0.1:8080."
        )
    path = parts.path.rstrip("/")
    if not path.endswith(("/completions", "/completion")):
        path += "/completions" if path.endswith("/v1") else "/v1/completions"
    return parts._replace(path=path, fragment="").geturl()


def ask(
    url: str,
    prompt_ids: Sequence[int],
    count: int,
    *,
    prompt_text: str | None = None,
    timeout: float = 60.0,
    model: str | None = None,
) -> Answer:
    """Ask an engine for `count` greedy tokens behind a prompt.

    url          of an OpenAI-style server (/v1/completions is added), or of one whole endpoint: what ends in
                 /completions is OpenAI's form, what ends in /completion that of llama.cpp's server
    prompt_text  the prompt as text, for a server that takes no ids; None: it must take ids
    timeout      seconds for the whole answer
    model        what the server calls the model, where it has several

    A server that refuses fields beyond OpenAI's own, or ids, is asked again without them.
    Raises AnswerError with what, where, wanted, got, and what to do next.
    """
    target = address(url)
    native = target.partition("?")[0].endswith("/completion")
    prompts: list[tuple[str, list[int] | str]] = [("ids", [int(i) for i in prompt_ids])]
    prompts += [("text", prompt_text)] if prompt_text is not None else []
    refused: AnswerError | None = None
    for asked_by, prompt in prompts:
        for body in _requests(prompt, count, model, native):
            try:
                data = _post(target, body, timeout)
            except _RefusedError as error:
                refused = refused or error
                continue
            return _read(target, data, asked_by, native)
    assert refused is not None
    raise refused


def take_ids(
    answer: Answer, prompt_ids: Sequence[int], prompt_text: str, encode: Callable[[str], Sequence[int]]
) -> Answer:
    """Return the answer with ids: its own where it has them, else those of its text, flagged `from_text`.

    encode  the model's tokenizer. Prompt and text are encoded together; where that changes the prompt's own
            ids, `read` says so
    """
    if answer.ids is not None or answer.text is None:
        return answer
    ids, n = [int(i) for i in encode(prompt_text + answer.text)], len(prompt_ids)
    cut = tuple(ids[:n])
    read = answer.read if cut == tuple(prompt_ids) else cut
    return replace(answer, ids=tuple(ids[n:]), read=read, from_text=True)


# The request


def _requests(
    prompt: list[int] | str, count: int, model: str | None, native: bool
) -> list[Mapping[str, Any]]:
    """Return what to ask with, the fullest request first."""
    if native:
        return [{"prompt": prompt, "n_predict": count, **GREEDY, **LLAMA_CPP}]
    plain = {"prompt": prompt, "max_tokens": count, **GREEDY, "logprobs": 1, "echo": False}
    plain |= {} if model is None else {"model": model}
    return [{**plain, **OPENAI_EXTRA}, plain]


class _RefusedError(AnswerError):
    """The server does not understand the request: another form of it may do."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Only the address that was given is called."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def _post(target: str, body: Mapping[str, Any], timeout: float) -> Any:
    """Send JSON, and return the JSON that comes back in time."""
    request = urllib.request.Request(
        target, json.dumps(body).encode(), {"Content-Type": "application/json", "Accept": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    until = time.monotonic() + timeout
    try:
        with opener.open(request, timeout=timeout) as response:
            raw = _within(response, until)
    except urllib.error.HTTPError as error:
        with error:
            text = _shown(error.read(MOST_BYTES))
        kind = _RefusedError if error.code in REFUSALS else AnswerError
        raise kind(
            f"{target} answered with HTTP status {error.code} (wanted 200): {text}\n"
            "Look into the server's log. Is this the address of its completions, and is the model loaded?"
        ) from None
    except TimeoutError:
        raise _late(target, timeout) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, (TimeoutError, socket.timeout)):
            raise _late(target, timeout) from None
        raise AnswerError(
            f"{target} cannot be reached: {error.reason}.\nIs the server running, and is this its port?"
        ) from None
    except (OSError, HTTPException) as error:
        raise AnswerError(
            f"{target} broke the connection off: {error or type(error).__name__}.\n"
            "Wanted one answer in JSON. Look into the server's log."
        ) from None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise AnswerError(
            f"{target} answered what is no JSON ({error}): {_shown(raw)}\n"
            "Wanted one JSON object, not a stream. Is this the address of its completions?"
        ) from None


def _within(response: Any, until: float) -> bytes:
    """Read an answer to its end. Raises TimeoutError where it takes too long, also drop by drop."""
    parts, size = [], 0
    while part := response.read1(2**16):
        parts.append(part)
        size += len(part)
        if time.monotonic() > until:
            raise TimeoutError
        if size > MOST_BYTES:
            raise OSError(f"an answer of more than {MOST_BYTES} bytes")
    return b"".join(parts)


def _late(target: str, timeout: float) -> AnswerError:
    return AnswerError(
        f"{target} did not answer within {timeout:g} seconds.\nAsk for fewer tokens, or give it more time."
    )


def _shown(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace").strip()
    return (text[:SHOWN] + " …" if len(text) > SHOWN else text) or "nothing"


# The answer


def _read(target: str, data: Any, asked_by: str, native: bool) -> Answer:
    """Return what the answer says, in whichever of the known forms it says it."""
    try:
        found = _read_llama_cpp(data) if native else _read_openai(data)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(target, data, f"{type(error).__name__}: {error}") from None
    ids, text, logprobs, read, finished = found
    if ids is None and text is None:
        raise _unreadable(target, data, "neither ids nor text")
    return Answer(target, ids, text, logprobs, read, finished, asked_by)


Found = tuple[
    tuple[int, ...] | None,
    str | None,
    tuple[float | None, ...] | None,
    tuple[int, ...] | int | None,
    str,
]


def _read_openai(data: Any) -> Found:
    choice = data["choices"][0]
    listed = choice.get("logprobs") or {}
    details = listed.get("content") or []  # llama.cpp gives those of chat here too
    names = listed.get("tokens") or [entry.get("token") for entry in details]
    ids = _ids(choice.get("token_ids")) or _named(names)
    if ids is None and details and all("id" in entry for entry in details):
        ids = _ids([entry["id"] for entry in details])
    logprobs = listed.get("token_logprobs") or [entry.get("logprob") for entry in details]
    read = _ids(choice.get("prompt_token_ids") or data.get("prompt_token_ids"))
    text = choice.get("text")
    return (
        ids if ids is not None or text is None else _nothing(text),
        text,
        _logprobs(logprobs),
        read or (data.get("usage") or {}).get("prompt_tokens"),
        str(choice.get("finish_reason") or ""),
    )


def _read_llama_cpp(data: Any) -> Found:
    details = data.get("completion_probabilities") or []
    ids = _ids(data.get("tokens"))
    if ids is None and details and all("id" in entry for entry in details):
        ids = _ids([entry["id"] for entry in details])
    text = data.get("content")
    return (
        ids if ids is not None or text is None else _nothing(text),
        text,
        _logprobs([entry.get("logprob") for entry in details]),
        data.get("tokens_evaluated"),
        {"eos": "stop", "limit": "length", "word": "stop"}.get(str(data.get("stop_type")), ""),
    )


def _ids(value: Any) -> tuple[int, ...] | None:
    return tuple(int(i) for i in value) if value else None


def _named(names: Sequence[Any]) -> tuple[int, ...] | None:
    """Return the ids of tokens that are called token_id:123."""
    found = [re.fullmatch(r"token_id:(\d+)", str(name)) for name in names]
    return tuple(int(match[1]) for match in found if match) if found and all(found) else None


def _logprobs(values: Sequence[Any]) -> tuple[float | None, ...] | None:
    given = tuple(None if value is None else float(value) for value in values)
    return given if any(value is not None for value in given) else None


def _nothing(text: str) -> tuple[int, ...] | None:
    return None if text else ()  # no text is no token; but text without ids has some


def _unreadable(target: str, data: Any, why: str) -> AnswerError:
    return AnswerError(
        f"{target} answered JSON that holds no completion ({why}): {_shown(json.dumps(data).encode())}\n"
        'Wanted {"choices": [{"text": …, "logprobs": …}]}, or from llama.cpp {"content": …, "tokens": […]}.'
    )
