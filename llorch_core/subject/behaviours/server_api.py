"""Requests and answers on trial. Spec: server_api."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from llorch_core.server.contract import Contract
from llorch_core.server.worker import Worker
from llorch_core.subject.behaviours.server import Served, with_body, with_json

Body = dict[str, Any]


class Api(Served):
    """The server, or one that reads requests or writes answers wrongly."""

    spec = "server_api"

    def front(self) -> Callable[[Any], Any] | None:
        name, _ = self.wrong or ("", None)
        if change := BODIES.get(name):
            return with_body(change)
        if answer := ANSWERS.get(name):
            return with_json(answer)
        if name == "prompt_in_a_refusal":
            return _shows_the_prompt
        if name == "ids_that_are_read":
            end = self.model.config.eos_token_id
            return with_body(lambda path, body: (path, _with_end(body, end or 0)))
        return None

    def worker(self, model: Any, *parts: Any) -> Worker:
        made = super().worker(model, *parts)
        if self.wrong and self.wrong[0] in ("unknown_field", "out_of_range"):
            made.contract = Lenient(made.contract, self.wrong[0])  # type: ignore[assignment]
        return made


class Lenient:
    """A contract that mends a request in the place of refusing it."""

    def __init__(self, right: Contract, what: str) -> None:
        self._right, self._what, self.as_json = right, what, right.as_json

    def read(self, name: str, raw: bytes) -> Body:
        from llorch_core.server.contract import read_json

        body = read_json(raw)
        schemas = self._right.document["components"]["schemas"]
        known = schemas[name]["properties"]
        for field in list(body):
            if field not in known:
                if self._what == "unknown_field":
                    del body[field]
                continue
            if self._what == "out_of_range" and isinstance(body[field], int | float):
                forms = known[field].get("anyOf", [known[field]])
                form = forms[0]
                form = schemas[form["$ref"].rpartition("/")[2]] if "$ref" in form else form
                least, most = form.get("minimum", body[field]), form.get("maximum", body[field])
                body[field] = min(max(body[field], least), most)
        import json

        return self._right.read(name, json.dumps(body).encode())


def _with_end(body: Body, end: int) -> Body:
    return {**body, "prompt": [end, *body["prompt"]]} if isinstance(body.get("prompt"), list) else body


def _chat(path: str, body: Body) -> tuple[str, Body]:
    if not path.endswith("/chat/completions"):
        return path, body
    lines = "\n".join(f"{one['role']}: {one['content']}" for one in body["messages"])
    return "/v1/completions", {"prompt": lines, "max_tokens": 4}


BODIES: dict[str, Callable[[str, Body], tuple[str, Body]]] = {
    "chat": _chat,
    "seed": lambda path, body: (path, {**body, "seed": secrets.randbits(60)}),
    "echo": lambda path, body: (path, {**body, "echo": False}),
}


def _first_only(path: str, status: int, said: Any) -> tuple[int, Any]:
    return status, {**said, "errors": said["errors"][:1]}


def _one_seed(path: str, status: int, said: Any) -> tuple[int, Any]:
    first = said["choices"][0]
    said["choices"] = [{**first, "index": choice["index"]} for choice in said["choices"]]
    return status, said


def _row_after(path: str, status: int, said: Any) -> tuple[int, Any]:
    told = said["choices"][0]["logprobs"]
    told["token_logprobs"] = [*told["token_logprobs"][1:], told["token_logprobs"][-1]]
    return status, said


def _continuation_only(path: str, status: int, said: Any) -> tuple[int, Any]:
    made = said["usage"]["completion_tokens"]
    return status, {**said, "usage": {**said["usage"], "prompt_tokens": 0, "total_tokens": made}}


def _stop(path: str, status: int, said: Any) -> tuple[int, Any]:
    for choice in said["choices"]:
        choice["finish_reason"] = "stop"
    return status, said


ANSWERS: dict[str, Callable[[str, int, Any], tuple[int, Any]]] = {
    "told_of_a_bad_request": _first_only,
    "seed_of_the_next": _one_seed,
    "probabilities": _row_after,
    "usage": _continuation_only,
    "unfinished_reason": _stop,
}


def _shows_the_prompt(app: Any) -> Any:
    """Return an application that repeats the prompt where it refuses."""
    sent: list[str] = []

    def note(path: str, body: Body) -> tuple[str, Body]:
        sent.append(str(body.get("prompt")))
        return path, body

    def repeat(path: str, status: int, said: Any) -> tuple[int, Any]:
        if status == 400:
            said["error"]["message"] += f" (in the request for {sent[-1]!r})"
        return status, said

    return with_body(note)(with_json(repeat)(app))
