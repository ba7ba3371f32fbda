"""A scratch worktree: a second checkout of a repository, in a temporary folder that goes when it was used.

A worktree has a HEAD, an index and a bisection of its own, so that those of the user are not touched.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from llorch_core.postmortem.bisect.process import ended_cleanly, undisturbed
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.git import git

QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")  # hooks are for the user's tree


@contextmanager
def worktree(top: Path, commit: str) -> Iterator[Path]:
    """Give a worktree with a commit checked out, beside it room for more; afterwards nothing of it is left.

    Raises PostmortemError where git cannot make one.
    """
    with ended_cleanly():
        place = Path(mkdtemp(prefix="llorch_bisect_")).resolve()
        tree = place / "tree"
        try:
            git(top, *QUIET, "worktree", "add", "--quiet", "--detach", str(tree), commit)
            yield tree
        finally:
            with undisturbed():
                subprocess.run(["chmod", "-R", "u+rwX", place], check=False, stderr=subprocess.DEVNULL)
                shutil.rmtree(place, ignore_errors=True)  # by hand: git would not where its file .git is gone
                with suppress(PostmortemError):
                    git(top, "worktree", "remove", "--force", "--force", str(tree))


def check_out(tree: Path, commit: str, keep: bool = False) -> None:
    """Make a worktree what a commit says, whatever a check left there.

    keep  leave files that are ignored: what was built before

    Without it all of them go. A file that changes twice in a second, and not in its size, would be taken for
    the old one by Python's cache of compiled modules: a wrong verdict.
    """
    git(tree, *QUIET, "checkout", "--quiet", "--force", "--detach", commit)
    git(tree, "clean", "-ffdq" if keep else "-ffdxq")
