"""The commands that anyone can run to get a figure of the history, at the top of the repository."""

from __future__ import annotations

import re
from shlex import quote

from llorch_core.postmortem.repository import Repository

COUNT = "awk 'END {print NR}'"
SUM = "awk -F '\\t' '{n += $%d} END {print n + 0}'"

# Follows each file from the path back to its former name, as Repository.commits does. Prints one line for
# each change that counts: commit, status, lines added, lines deleted, old name, name.
WALK = r"""git -c core.quotePath=false log --topo-order -M -l0 --raw --numstat --format=@%H COMMIT |
 path=PATH awk -F '\t' 'BEGIN {p = ENVIRON["path"]; OFS = FS}
 function inside(f) {return f == p || index(f, p "/") == 1}
 function end_of_commit() {
  for (i = 1; i <= n; i++) {
   keep[i] = inside(old[i]) || inside(new[i]) || old[i] in former || new[i] in former
   if (keep[i]) print commit, status[i], added[i], deleted[i], old[i], new[i]}
  for (i = 1; i <= n; i++) if (keep[i] && status[i] == "R" && !inside(old[i])) former[old[i]] = 1
  for (i = 1; i <= n; i++) if (keep[i] && status[i] == "A") delete former[new[i]]
  n = m = 0}
 /^@/ {end_of_commit(); commit = substr($0, 2); next}
 /^:/ {n++; split($1, raw, " "); status[n] = substr(raw[5], 1, 1); old[n] = $2; new[n] = $NF; next}
 NF == 3 {m++; added[m] = $1; deleted[m] = $2}
 END {end_of_commit()}'"""


class Commands:
    """The commands for one repository: plain git, or git and awk where files were renamed across its path."""

    def __init__(self, repository: Repository) -> None:
        """Look once whether a rename crosses the border of the path: plain git does not follow that one."""
        self.commit, self.path, self.zone = repository.commit, repository.path, str(repository.zone)
        self.crossed = any(
            not repository.inside(name)
            for commit in repository.commits
            for change in commit.changes
            for name in (change.old, change.path)
        )

    @property
    def scope(self) -> str:
        """The end of a command of git that limits it to the path."""
        if not self.path:
            return ""
        literal = ":(literal)" if re.search(r"[*?\[\\]|^:", self.path) else ""
        return f" -- {quote(literal + self.path)}"

    @property
    def tree_scope(self) -> str:
        """The end of a command of git ls-tree that limits it to the path."""
        return f" -- {quote(self.path)}" if self.path else ""

    @property
    def scope_of(self) -> str:
        """What a definition says of the path."""
        return f" below {self.path}" if self.path else ""

    @property
    def walk(self) -> str:
        """The command that prints each change below the path, also under a former name."""
        return WALK.replace("COMMIT", self.commit).replace("PATH", quote(self.path))

    def commits(self, layout: str, date: str = "") -> str:
        """Print something of each commit, merges left out, in a layout of git's log."""
        git = f"TZ={self.zone} git log" if date else "git log"
        if "%aN" in layout:  # inside the folder of git: a .mailmap of the work tree must not count
            git = f'git -C "$(git rev-parse --git-dir)" -c mailmap.blob={self.commit}:.mailmap log'
        show = f"--format={quote(layout)}" + (f" --date=format-local:{quote(date)}" if date else "")
        if self.crossed:
            return f"{self.walk} | cut -f 1 | uniq | {git} --no-walk=unsorted --stdin {show}"
        return f"{git} --no-merges{self.full} {show} {self.commit}{self.scope}"

    @property
    def full(self) -> str:
        """The option that keeps git from leaving out side branches where it is limited to a path."""
        return " --full-history" if self.path else ""

    def changes(self, options: str) -> str:
        """Print something of each change, merges left out, by options of git's log."""
        log = f"git -c core.quotePath=false log --no-merges{self.full}"
        return f"{log} -M -l0 {options} --format= {self.commit}{self.scope}"

    def every_change(self, options: str) -> str:
        """Print each commit and the files that it changed; not under a former name outside the path."""
        log = f"git -c core.quotePath=false log --no-merges{self.full} --topo-order"
        return f"{log} -M -l0 {options} --format='%h %aI %s' {self.commit}{self.scope}"

    def lines(self, column: int) -> str:
        """Print how many lines were added (column 1) or deleted (column 2)."""
        if self.crossed:
            return f"{self.walk} | {SUM % (column + 2)}"
        return f"{self.changes('--numstat')} | {SUM % column}"

    def names(self, status: str) -> str:
        """Print the name of each file that was added (A) or renamed (R), once for each time."""
        if self.crossed:
            return f"{self.walk} | awk -F '\\t' '$2 == \"{status}\" {{print $NF}}'"
        return self.changes(f"--diff-filter={status} --name-only")
