"""YAML, with the line of every value, and without YAML's silence about keys that are given twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llorch_core.spec.errors import SpecError

KeyPath = tuple[str | int, ...]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PLAIN_MAPPING, PLAIN_SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
MOST_PARTS = 50_000  # aliases of aliases of aliases are few lines and endless data
DEEPEST = 20  # a parser of nested lists is as deep as they are, and libyaml's would end the process


@dataclass
class YamlFile:
    """The content of one file, and where each part of it stands."""

    path: Path
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def error(self, message: str, *at: str | int) -> SpecError:
        """Return a SpecError that names the line of the part at `at`, or of what holds it."""
        while at not in self.lines:
            at = at[:-1]
        return SpecError(message, self.path, self.lines[at])


def read_yaml(path: Path) -> YamlFile:
    """Read one document. Raises SpecError where it is missing, is not YAML, or repeats a key."""
    try:
        text = path.read_text(encoding="utf-8")
        _check_depth(text, path)
        root = yaml.compose(text, Loader=LOADER)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}.", path) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 at byte {error.start}.", path) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise SpecError(f"is not YAML: {error.problem}.", path, line) from error
    except yaml.YAMLError as error:
        raise SpecError(f"is not YAML: {error}.", path) from error
    if root is None:
        raise SpecError("is empty. Each spec says what one component computes.", path, 1)
    file = YamlFile(path, None)
    file.data = _build(root, (), file, set())
    return file


def _check_depth(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise SpecError(f"is nested more than {DEEPEST} deep.", path)


def _build(node: yaml.Node, at: KeyPath, file: YamlFile, open_nodes: set[int]) -> Any:
    file.lines.setdefault(at, node.start_mark.line + 1)
    if len(file.lines) > MOST_PARTS:
        raise file.error(f"has more than {MOST_PARTS:,} parts, each alias counted as what it stands for.")
    if id(node) in open_nodes:
        raise file.error("contains itself by an alias.", *at)
    if isinstance(node, yaml.CollectionNode) and node.tag not in (PLAIN_MAPPING, PLAIN_SEQUENCE):
        raise file.error(f"{node.tag} is not allowed: a spec holds lists, names and values.", *at)
    open_nodes = open_nodes | {id(node)}
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise file.error("has a list or a mapping for a key. A key is a name.", *at)
            key = str(key_node.value)
            file.lines[(*at, key)] = key_node.start_mark.line + 1
            if key in mapping:
                raise file.error(f"{key} is given twice; YAML would silently keep the second.", *at, key)
            mapping[key] = _build(value_node, (*at, key), file, open_nodes)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*at, i), file, open_nodes) for i, item in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # as PyYAML's own slips
        raise file.error(f"{node.value!r} is not a value of {node.tag}", *at) from error
    finally:
        loader.dispose()
