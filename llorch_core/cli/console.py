"""What commands share: a console that is plain in a pipe, and a progress bar on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

WIDTH = 180  # of tables in a file or a pipe, which have no edge


def console() -> Console:
    """Return a console for standard output: wide and plain where it is not a terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=WIDTH, color_system=None)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error where that is a terminal; gives the function that advances it."""
    with talking() as bar:
        task = bar.add_task(title, total=total)
        yield lambda n: bar.advance(task, n)


@contextmanager
def progress_of(title: str, names: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """Show a bar with the names of what is still to be done; gives the function that takes one off."""
    left = list(names)

    def done(name: str) -> None:
        left.remove(name)
        bar.update(task, advance=1, description=f"{title} {', '.join(left)}")

    with talking() as bar:
        task = bar.add_task(f"{title} {', '.join(left)}", total=len(names))
        yield done


def talking() -> Progress:
    """Return a bar on standard error, which is not shown where that is no terminal."""
    talk = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal)
