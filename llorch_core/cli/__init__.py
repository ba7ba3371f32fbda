"""The commands: one file for each verb, which parses, calls, prints and exits. Nothing imports them."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from llorch_core.engine.errors import ModelError, UsageError
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.spec.errors import SpecError

VERBS = {
    "generate": "Continue a text with a GPT-2.",
    "verify": "Hold an engine to every rule of the specs.",
    "diagnose": "Find the first wrong number of an engine, and the mistake.",
    "record": "Write what an engine computes on its way into a dump.",
    "prove": "Prove that the tests can fail: every mistake on trial.",
    "trace": "Show every rule and what stands behind it.",
    "gate": "Say whether this may be merged, and why not.",
    "stubs": "List the tests of a repository that cannot fail.",
    "spec": "Show and check the specs.",
    "postmortem": "Say what happened in a repository, from evidence.",
    "bisect": "Find the commit since which a check of today fails.",
    "audit": "Verify the audit log of a server.",
    "serve": "Serve a GPT-2 over HTTP.",
    "quantize": "Write a model with smaller weights, and say what that loses.",
    "bench": "Time llorch, the peers that are installed, and what the machine allows.",
}


class _Verbs(click.Group):
    """Imports a verb when it is called: `llorch --help` loads none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"llorch_core.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Example: llorch generate "To be, or not to be"',
)
@click.version_option(package_name="llorch", prog_name="llorch")
def llorch() -> None:
    """llorch finds the first wrong number in a GPT-2 inference engine.

    Exit codes: 0 conforms, 1 does not, 2 could not tell (bad usage, unreadable input).
    """


def main() -> None:
    """Run a command; what is the user's, the model's or a spec's fault becomes a message and exit code 2."""
    try:
        sys.exit(llorch.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        sys.exit(141)
    except (ModelError, UsageError, SpecError, PostmortemError) as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        sys.exit(2)
