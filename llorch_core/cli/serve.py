"""llorch serve: a GPT-2 over HTTP."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from llorch_core.engine.model import Model
    from llorch_core.server.self_check import Known

SHARES = {"float32": 1e-4, "bfloat16": 5e-2, "int8": 1e-1, "int4": 6e-1}  # of the largest logit
GIVE_WAY = 5e-4  # seconds that a thread of Python keeps another waiting: the batch should not be that one
KNOWN_IDS = 8  # of the prompt whose answer is computed by the oracle


@click.command(epilog="Example: llorch serve --model gpt2/ --port 8080 --audit audit/")
@click.option("--model", type=click.Path(path_type=Path), help="Model folder; default: the embedded model.")
@click.option(
    "--backend",
    default="auto",
    show_default=True,
    help="numpy, fast (compiled kernels), or auto: fast if it is installed.",
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="Of the weights: auto, float32, bfloat16, int8 or int4; other than float32 takes --backend fast.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen to; any but loopback needs a bearer token: LLORCH_API_TOKEN or --token-file.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: a free one.")
@click.option("--max-batch", type=int, default=16, show_default=True, help="Sequences computed at a time.")
@click.option("--queue", type=int, default=64, show_default=True, help="Sequences that wait; more get 429.")
@click.option(
    "--prefix-mib", type=int, default=256, show_default=True, help="MiB kept of prompts that begin alike."
)
@click.option(
    "--max-body-mib", type=int, default=4, show_default=True, help="MiB of a request; more get 413."
)
@click.option(
    "--streams-per-token", type=int, default=1000, show_default=True, help="Requests of one token at a time."
)
@click.option(
    "--default-deadline-ms", type=int, default=600_000, show_default=True, help="Of requests without one."
)
@click.option(
    "--max-deadline-ms", type=int, default=3_600_000, show_default=True, help="Most that a request may have."
)
@click.option(
    "--drain-seconds", type=int, default=30, show_default=True, help="For running work, once told to stop."
)
@click.option(
    "--idle-seconds",
    type=int,
    default=30,
    show_default=True,
    help="For a client that is silent.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="Bearer tokens, one NAME: TOKEN a line; read anew on SIGHUP.",
)
@click.option(
    "--audit", type=click.Path(path_type=Path), help="Folder of the audit log; default: none is kept."
)
@click.option(
    "--audit-fsync",
    type=click.Choice(["always", "interval", "never"]),
    default="interval",
    show_default=True,
    help="When records are forced to the disk.",
)
@click.option(
    "--audit-on-full",
    type=click.Choice(["refuse", "continue"]),
    default="refuse",
    show_default=True,
    help="What to do with requests that cannot be recorded.",
)
@click.option("--no-metrics", is_flag=True, help="Leave out /metrics.")
@click.option("--weights-sha256", help="Serve no weights but those of this digest, which /health tells.")
@click.option("--callback-url", help="Told by POST when the server is ready; it ends if that fails.")
@click.option("--worker-id", default="llorch", show_default=True, help="The server's name in the callback.")
@click.option(
    "--log",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
    help="Form of what is logged on standard error; auto: text on a terminal.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least important event that is logged.",
)
def command(
    model: Path | None,
    backend: str,
    precision: str,
    host: str,
    port: int,
    max_batch: int,
    queue: int,
    prefix_mib: int,
    max_body_mib: int,
    streams_per_token: int,
    default_deadline_ms: int,
    max_deadline_ms: int,
    drain_seconds: int,
    idle_seconds: int,
    token_file: Path | None,
    audit: Path | None,
    audit_fsync: str,
    audit_on_full: str,
    no_metrics: bool,
    weights_sha256: str | None,
    callback_url: str | None,
    worker_id: str,
    log: str,
    log_level: str,
) -> int:
    """Serve a GPT-2 over HTTP: OpenAI's completions, a page at /, and the worker's own protocol.

    When it takes requests, a line with its address is printed on standard output. SIGTERM lets
    running work finish. Exit codes: 0 all work was finished; 1 some was cut off, or the self-check
    failed; 2 bad usage.
    """
    from llorch_core.engine.errors import UsageError

    try:
        from llorch_core.server.serve import SelfCheckError, Server
    except ImportError as error:
        raise UsageError(
            f"the server needs {error.name} ({error}).\nInstall it: pip install 'llorch[serve]'."
        ) from error
    import os

    from llorch_core.fast.choose import load
    from llorch_core.server.audit import AuditLog
    from llorch_core.server.auth import Tokens, check_bind
    from llorch_core.server.logs import Forward, configure
    from llorch_core.server.settings import Settings
    from llorch_core.server.worker import Worker

    settings = Settings(
        max_batch=max_batch,
        queue=queue,
        prefix_mib=prefix_mib,
        max_body_mib=max_body_mib,
        streams_per_token=streams_per_token,
        default_deadline_ms=default_deadline_ms,
        max_deadline_ms=max_deadline_ms,
        drain_seconds=drain_seconds,
        idle_seconds=idle_seconds,
        metrics=not no_metrics,
    )
    tokens = Tokens.read(os.environ, token_file)
    check_bind(host, tokens)
    as_json = log == "json" or (log == "auto" and not sys.stderr.isatty())
    logger = configure(sys.stderr, log_level, as_json)
    logging.getLogger("uvicorn").addHandler(Forward(logger))
    chosen = load(model, _backend(backend), precision)
    known = known_answer(chosen, precision)
    kept = AuditLog(audit, fsync=audit_fsync, on_full=audit_on_full) if audit else None
    worker = Worker(chosen, settings, tokens, kept, logger)

    def ready() -> None:
        click.echo(f"llorch serves {chosen.folder.name} at {server.address}")
        sys.stdout.flush()

    sys.setswitchinterval(GIVE_WAY)
    server = Server(worker, host, port, known, callback_url, worker_id, ready, weights_sha256)
    try:
        return asyncio.run(server.serve())
    except SelfCheckError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        return 1


def _backend(asked: str) -> str:
    """Return the backend that is asked for; for auto the kernels, where they can be had."""
    from importlib.util import find_spec

    return "fast" if asked == "auto" and find_spec("numba") else asked


def known_answer(model: Model, precision: str) -> Known | None:
    """Return what the oracle computes for a few ids; kept in the cache folder under the weights' digest.

    None where the weights are quantised in the file: there is no reading of them but the engine's own.
    """
    import numpy as np

    from llorch_core.fast.files import metadata_of
    from llorch_core.server.self_check import Known, digest_of_weights
    from llorch_core.spec.held import cache_folder
    from llorch_core.spec.oracle import read_oracle
    from llorch_core.spec.suite import load_specs

    if metadata_of(model.folder):
        return None
    config = model.config
    rng = np.random.default_rng(124)
    ids = rng.integers(0, config.n_vocab, min(KNOWN_IDS, config.n_ctx)).tolist()
    place = cache_folder() / "known" / f"{digest_of_weights(model.folder)}.npz"
    try:
        with np.load(place) as kept:
            logits = kept["logits"]
            fits = kept["ids"].tolist() == ids and logits.shape == (len(ids), config.n_vocab)
    except (OSError, ValueError, KeyError, EOFError):
        fits = False
    if not fits:
        (step,) = read_oracle(load_specs(), model.folder).run([ids])
        logits = step["logits"]
        _keep(place, ids, logits)
    share = SHARES["float32" if precision == "auto" else precision]
    return Known(ids, logits, share, "the specs, computed in float64")


def _keep(place: Path, ids: list[int], logits: object) -> None:
    """Write what was computed beside its place, then move it there: nobody reads half of it."""
    import os

    import numpy as np

    unfinished = place.with_name(f"{place.stem}.{os.getpid()}.npz")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(unfinished, ids=np.array(ids), logits=np.asarray(logits))
        unfinished.replace(place)
    except OSError:  # it is computed again next time
        unfinished.unlink(missing_ok=True)
