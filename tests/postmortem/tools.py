"""Tools of Python for the shell of a test: loaded once, and then called as quickly as grep.

The command of a figure calls pygount, lizard or python3 as it would for a person; a new Python for each of
these calls would take longer than everything else.
"""

import os
import runpy
import subprocess
import sys
import traceback
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from pathlib import Path

TOOLS = ("pygount", "lizard")
PROGRAM = """\
#!/bin/bash
mkfifo "{folder}/$$"
printf '%s\\0' "$PWD" "{folder}/$$" "{name}" "$@" > "{folder}/asked"
cat "{folder}/$$"
"""


class Shell:
    """A shell in which the tools are programs. `missing` names those that are not installed."""

    def __init__(self, folder):
        """Put a program for each tool into a folder, and start what they ask."""
        installed = {name for name in TOOLS if entry_points(group="console_scripts", name=name)}
        self.missing = set(TOOLS) - installed
        for name in (*installed, "python3"):
            program = folder / name
            program.write_text(PROGRAM.format(folder=folder, name=name), encoding="utf-8")
            program.chmod(0o755)
        os.mkfifo(folder / "asked")
        self.asked = folder / "asked"
        self.environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        top = Path(__file__).parents[2]
        command = [sys.executable, "-m", __name__, self.asked, *installed]
        self.server = subprocess.Popen(command, cwd=top, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout.readline() == "ready\n"

    def run(self, command):
        """Run a command as a person would, and return what it prints; a word of complaint fails."""
        given = {"env": self.environment, "capture_output": True, "text": True, "check": True}
        done = subprocess.run(["bash", "-c", command], **given)
        assert not done.stderr
        return done.stdout.strip()

    def close(self):
        """Stop what was started."""
        self.asked.write_bytes(b"")
        self.server.communicate()


def serve(asked, *installed):
    """Run each tool that is asked for, one after the other, until nothing is asked."""
    run = {name: next(iter(entry_points(group="console_scripts", name=name))).load() for name in installed}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while request := Path(asked).read_bytes():
        where, answer, name, *arguments = request.decode().split("\0")[:-1]
        os.chdir(where)
        with Path(answer).open("w", encoding="utf-8") as out, redirect_stdout(out):
            try:
                if name == "python3":
                    sys.argv = arguments[1:]  # behind -m
                    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
                else:
                    sys.argv = [name, *arguments]
                    run[name]()
            except SystemExit:
                pass
            except Exception:  # the next call is answered all the same
                traceback.print_exc()


if __name__ == "__main__":
    serve(*sys.argv[1:])
