"""Call a command as a user does, in the process of the test: what loads it and the specs was paid once."""

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from llorch_core.cli import main

ROOT = Path(__file__).parents[1]


def llorch(*arguments, stdin="", cwd=ROOT, **environment):
    """Return how `llorch` ended: its exit code, and the text of its output and of its errors."""
    command = ["llorch", *map(str, arguments)]
    given = io.TextIOWrapper(io.BytesIO(stdin if isinstance(stdin, bytes) else stdin.encode()), "utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(cwd),
        patch.object(sys, "argv", command),
        patch.object(sys, "stdin", given),
        patch.dict(os.environ, environment),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    texts = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(command, code, *texts)
