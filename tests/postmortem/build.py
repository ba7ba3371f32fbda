"""Make a repository with a known history: commits as data, written by git fast-import in one go."""

import subprocess
from datetime import datetime

ALICE = "Alice Doe <alice@example.org>"


class Link(str):
    """What a symbolic link points to."""


class Submodule(str):
    """The hash of the commit of another repository that a submodule is at."""


class History:
    """The commits of a repository to be made.

    `files` of a commit maps paths to texts, bytes, a Link or a Submodule; None deletes. Times are ISO 8601
    with an offset; each commit is an hour after the one before where none is given.
    """

    def __init__(self, start="2024-03-04T09:00:00+00:00"):
        self.stream, self.mark, self.when = [], 0, datetime.fromisoformat(start).timestamp()
        self.zone = "+0000"

    def commit(
        self,
        message,
        files,
        author=ALICE,
        when=None,
        renames=(),
        branch="main",
        merge=None,
        parent=None,
        committed=None,
    ):
        """Add a commit, and return its mark. `merge` and `parent` are marks of other commits.

        It is committed when it is written, if `committed` says nothing else.
        """
        self.mark += 1
        self.when += 3600
        if when:
            at = datetime.fromisoformat(when)
            self.when, self.zone = at.timestamp(), at.strftime("%z")
        date = f"{int(self.when)} {self.zone}"
        later = f"{int(datetime.fromisoformat(committed).timestamp())} +0000" if committed else date
        put = self.stream.append
        put(f"commit refs/heads/{branch}\nmark :{self.mark}\n".encode())
        put(f"author {author} {date}\ncommitter {author} {later}\n".encode())
        put(b"data %d\n%s\n" % (len(message.encode()), message.encode()))
        if parent:
            put(f"from :{parent}\n".encode())
        if merge:
            put(f"merge :{merge}\n".encode())
        for old, new in renames:
            put(f"R {old} {new}\n".encode())
        for path, content in files.items():
            if content is None:
                put(f"D {path}\n".encode())
                continue
            if isinstance(content, Submodule):
                put(f"M 160000 {content} {path}\n".encode())
                continue
            data = content if isinstance(content, bytes) else content.encode()
            mode = b"120000" if isinstance(content, Link) else b"100644"
            put(b"M %s inline %s\ndata %d\n%s\n" % (mode, path.encode(), len(data), data))
        return self.mark

    def make(self, folder):
        """Write the repository, check main out, and return the full hashes of the commits by mark."""
        folder.mkdir(parents=True, exist_ok=True)
        run(folder, "init", "-q", "-b", "main")
        marks = folder / ".git" / "marks"
        stream = b"".join(self.stream)
        subprocess.run(
            ["git", "-C", folder, "fast-import", "--quiet", f"--export-marks={marks}"],
            input=stream,
            check=True,
        )
        run(folder, "checkout", "-q", "-f", "main")
        pairs = (line[1:].split() for line in marks.read_text().splitlines())
        return {int(mark): sha for mark, sha in pairs}


def run(folder, *arguments):
    """Run plain git in a repository, and return the text that it prints."""
    done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def shell(folder, command):
    """Run a command of a figure as a person would, and return the text that it prints."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
