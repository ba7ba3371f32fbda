"""llama-cpp-python's server as a peer: the same weights in GGUF float32, and words that both sides know.

That server takes text alone. So the model is given a vocabulary in which text and ids say the same thing: a
small letter or a space is a token of its own, with the id of its byte, and the token i of all others is
written <i>. There is nothing to merge. A prompt of such letters is the same ids for both servers, and what is
written can be read back into ids, and counted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "tools" / "peers"
LETTERS = {*range(ord("a"), ord("z") + 1), ord(" ")}  # ids of a prompt
WRITTEN = re.compile(r"<(\d+)>|([a-z ])")
INSTALL = "pip install 'llama-cpp-python[server]' gguf safetensors"
NORMAL, CONTROL = 1, 3  # kinds of token, as gguf numbers them


class PeerMissingError(Exception):
    """The peer is not here, or cannot read the model."""


def prepare(python: str, model: Path, cache: Path) -> tuple[Path, str]:
    """Return the GGUF file and the version of the peer, of a Python that has it. Raises PeerMissingError."""
    command = [python, str(Path(__file__).resolve()), str(model), str(cache)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PeerMissingError(f"{said} ({INSTALL}; --peer-python names a Python that has it)")
    found = json.loads(ran.stdout.splitlines()[-1])
    return Path(found["gguf"]), found["version"]


def spelled(id: int) -> str:
    """Return the text of a token."""
    return chr(id) if id in LETTERS else f"<{id}>"


def text_of(ids: Sequence[int]) -> str:
    """Return ids as the peer writes and reads them."""
    return "".join(map(spelled, ids))


def ids_of(text: str) -> list[int]:
    """Return the ids of a text of the peer. Raises ValueError where there is something else in it."""
    if rest := WRITTEN.sub("", text):
        raise ValueError(f"no token of the vocabulary that was made: {rest[:40]!r}")
    return [int(number) if number else ord(letter) for number, letter in WRITTEN.findall(text)]


def vocabulary(writer: Any, n_vocab: int) -> None:
    """Write the vocabulary; the last id ends a text, as GPT-2's does."""
    tokens = [spelled(i).replace(" ", "Ġ") for i in range(n_vocab)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([NORMAL] * (n_vocab - 1) + [CONTROL])
    writer.add_token_merges(["< >"])  # a list must not be empty; its result is no token
    writer.add_bos_token_id(n_vocab - 1)
    writer.add_eos_token_id(n_vocab - 1)
    writer.add_add_bos_token(False)


def gguf_of(model: Path, cache: Path) -> Path:
    """Return the model as GGUF, made once. Takes what llorch's bench takes for the same peer."""
    from llorch_core.bench.converted import converted

    if str(PEERS) not in sys.path:
        sys.path.insert(0, str(PEERS))
    from llama_cpp_dump import write_gguf

    def write(path: Path) -> None:
        write_gguf(model, path, "f32", vocabulary)

    request = {"model": str(model), "cache": str(cache)}
    return converted(request, "server-F32.gguf", write, [PEERS / "llama_cpp_dump.py"])[0]


def command(python: str, gguf: Path, port: int, n_ctx: int, threads: int) -> list[str]:
    """Return the command that starts the server.

    Its defaults are changed where they would cost it time or accuracy that the other side does not spend: no
    logits but of the last id, a cache in float32, and no request that ends another.
    """
    settings = {
        **{"model": gguf, "host": "127.0.0.1", "port": port, "n_ctx": n_ctx, "n_gpu_layers": 0},
        **{"n_threads": threads, "n_threads_batch": threads, "type_k": 0, "type_v": 0},
        **{"logits_all": "false", "interrupt_requests": "false", "verbose": "false"},
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [python, "-m", "llama_cpp.server", *words]


if __name__ == "__main__":
    import_module("llama_cpp.server.app")  # whether it can be started is known before it is

    made = gguf_of(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"gguf": str(made), "version": version("llama-cpp-python")}))
