"""YAML with the line of every part, and without YAML's silence about keys that are given twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llorch_core.postmortem.errors import PostmortemError

Key = tuple[str | int, ...]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# YAML reads a hash of digits as a number: what these hold is text, as it was written
TEXTS = frozenset({"commit", "digest", "introduced", "fixed", "row", "text", "subject"})
PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
DATE, NULL = "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:null"
MOST_PARTS, DEEPEST = 200_000, 20  # aliases of aliases are few lines and endless data


@dataclass
class Marked:
    """The content of one file, and where each part of it stands."""

    path: Path
    data: Any = None
    lines: dict[Key, int] = field(default_factory=dict)

    def line(self, at: Key) -> int:
        """Return the line of a part, or of what holds it."""
        while at not in self.lines and at:
            at = at[:-1]
        return self.lines.get(at, 1)

    def parts(self) -> Iterator[tuple[Key, Any]]:
        """Give every named value, also those inside of others, with its place."""
        yield from named(self.data, ())

    def entry_id(self, at: Key) -> str:
        """Return the id of the entry in the file's list that a part belongs to, or ""."""
        try:
            found = self.data[at[0]][at[1]]["id"]
        except (LookupError, TypeError):
            return ""
        return found if isinstance(found, str) else ""

    def place(self, at: Key) -> tuple[str, int, str]:
        """Return the name of the file, the line of a part, and the id of its entry."""
        return self.path.name, self.line(at), self.entry_id(at)

    def error(self, says: str, at: Key = ()) -> PostmortemError:
        """Return an error that names the line of a part."""
        return PostmortemError(f"{self.path}:{self.line(at)}: {says}")


def named(value: Any, at: Key) -> Iterator[tuple[Key, Any]]:
    """Give every named value inside of another one, with its place."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield (*at, key), inside
            yield from named(inside, (*at, key))
    elif isinstance(value, list):
        for n, inside in enumerate(value):
            yield from named(inside, (*at, n))


def read_marked(path: Path) -> Marked:
    """Read one document. Raises PostmortemError where it is missing, is not YAML, or repeats a key."""
    file = Marked(path)
    try:
        text = path.read_text(encoding="utf-8")
        check_depth(text, file)
        root = yaml.compose(text, Loader=LOADER)
    except OSError as error:
        raise PostmortemError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise PostmortemError(f"{path} is not UTF-8 at byte {error.start}.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PostmortemError(f"{path}:{line}: it is not YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise PostmortemError(f"{path} is not YAML: {error}.") from error
    if root is not None:
        file.data = built(root, (), file, frozenset())
    return file


def check_depth(text: str, file: Marked) -> None:
    """Raise PostmortemError for what is nested too deep: libyaml would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise PostmortemError(f"{file.path} is nested more than {DEEPEST} deep.")


def built(node: yaml.Node, at: Key, file: Marked, above: frozenset[int]) -> Any:
    """Return what a node holds, and write down the line of each part of it."""
    file.lines.setdefault(at, node.start_mark.line + 1)
    if len(file.lines) > MOST_PARTS or id(node) in above:
        raise file.error("it repeats itself by aliases without an end.", at)
    if isinstance(node, yaml.CollectionNode) and node.tag not in PLAIN:
        raise file.error(f"{node.tag} is not allowed (wanted lists, names and values).", at)
    above |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        return mapping(node, at, file, above)
    if isinstance(node, yaml.SequenceNode):
        return [built(item, (*at, n), file, above) for n, item in enumerate(node.value)]
    if node.tag == DATE or (at and at[-1] in TEXTS and node.tag != NULL):
        return node.value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # as PyYAML's own slips
        raise file.error(f"{node.value!r} is not a value of {node.tag}.", at) from error
    finally:
        loader.dispose()


def mapping(node: yaml.MappingNode, at: Key, file: Marked, above: frozenset[int]) -> dict[str, Any]:
    """Return what a mapping holds. Raises PostmortemError for a key that is no name, or given twice."""
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise file.error("it has a list or a mapping for a key (wanted a name).", at)
        name = str(key.value)
        file.lines[(*at, name)] = key.start_mark.line + 1
        if name in found:
            raise file.error(f"{name} is given twice; YAML would silently keep the second.", (*at, name))
        found[name] = built(value, (*at, name), file, above)
    return found
