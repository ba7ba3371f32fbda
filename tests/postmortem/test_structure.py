"""Files, lines, languages, functions and imports are those of what is tracked, as counted by hand."""

import pytest

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.dig import nothing_yet
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.structure import structure
from tests.postmortem.structured import ask, make

FIGURES = {
    "structure.files": 32,
    "structure.lines": 118,
    "structure.binary_files": 1,
    "structure.code": 68,
    "structure.comment": 6,
    "structure.blank": 10,
    "structure.languages": 11,
    "structure.functions": 5,
    "structure.most_complex": 5,
    "structure.longest_function": 10,
    "structure.modules": 17,
    "structure.dependencies": 13,
    "structure.cycles": 1,
    "documents.lines_per_line_of_code": 0.35,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The repository."""
    made = tmp_path_factory.mktemp("repository")
    make(made)
    return made


@pytest.fixture(scope="module")
def facts(folder):
    """What is measured in all of it."""
    return measured(Repository(folder))


def measured(repository):
    """Return the facts of the section."""
    found = nothing_yet(repository)
    structure.measure(repository, Settings("it", "."), found)
    return found


def test_every_figure_is_what_was_built(facts):
    """Each counted by hand in structured.py; ignored and untracked files are in none."""
    assert {name: figure.value for name, figure in facts.figures.items()} == FIGURES


@pytest.mark.parametrize(
    "name",
    [
        "structure.files",
        "structure.lines",
        "structure.binary_files",
        "structure.languages",
        "structure.longest_function",
        "structure.modules",
        "structure.dependencies",
        "documents.lines_per_line_of_code",  # runs that of structure.code
    ],
)
def test_a_command_gives_its_figure(folder, facts, name):
    """In a shell, without llorch's measuring; attributes that hide files from an archive change nothing."""
    assert ask(folder, facts.figures[name].command) == str(FIGURES[name])


def test_each_file_has_its_language(facts):
    """CUDA, YAML and Gherkin are known; what is generated or binary is named so, and is no code."""
    rows = {row["file"]: row for row in facts.tables["structure.files"].dicts()}
    names = {path: rows[path]["language"] for path in rows if rows[path]["code"] == 0 and rows[path]["lines"]}
    assert names == {
        ".gitignore": "unknown (.gitignore)",
        ".gitattributes": "unknown (.gitattributes)",
        "README.md": "Markdown",
        "pkg/FIXED.md": "Markdown",
        "notes/eins zwei ä.txt": "text",
        "notes/copy.md": "Markdown",
        "notes/near.md": "Markdown",
        "notes/other.md": "Markdown",
        "CMakeLists.txt": "text",
        "made.py": "generated",
        "Cargo.lock": "generated",
    }
    assert rows["image.png"]["language"] == "binary"
    for path, language in (
        ("gpu/kernel.cu", "CUDA"),
        ("gpu/kernel.cuh", "CUDA"),
        ("gpu/other.h", "C/C++ header"),
        ("ci.yaml", "YAML"),
        ("a.feature", "Gherkin"),
        ("web/app.ts", "TypeScript"),
        ("pkg/grüße.py", "Python"),
    ):
        assert rows[path]["language"] == language


def test_lines_of_a_language_are_told_apart(facts):
    """In the CUDA files, thirteen lines and one: ten and one of code, comments of one and two lines."""
    rows = {row[0]: row[1:] for row in facts.tables["structure.languages"].rows}
    assert rows["CUDA"] == (2, 14, 11, 3, 0)
    assert rows["Python"] == (3, 19, 11, 2, 6)
    assert rows["Markdown"] == (5, 23, 0, 0, 0)


def test_a_folder_holds_what_is_below_it(facts):
    """Its files and lines, and those of the folders in it."""
    rows = {row[0]: row[1:] for row in facts.tables["structure.tree"].rows}
    assert rows["pkg"] == (5, 35)
    assert rows["src"] == (4, 24)
    assert rows["src/parts"] == (2, 15)
    assert rows["."] == (32, 118)
    assert "build" not in rows


def test_functions_come_with_file_and_line(facts):
    """That of Rust is the longest; a declaration is none, and a quote in a literal ends nothing."""
    rows = facts.tables["structure.longest_functions"].rows
    assert rows[:2] == (("is_quote", "src/parts/one.rs", 3, 10, 5), ("add", "gpu/kernel.cu", 6, 8, 3))
    assert ("first", "pkg/core.py", 8, 4, 3) in rows
    assert [row[1] for row in rows if row[0] == "f"] == []


def test_imports_are_those_between_tracked_files(facts):
    """In six languages, each with its line; what a comment names, and what others publish, is none."""
    assert facts.tables["structure.dependencies"].rows == (
        ("go/main.go", "go/inner/inner.go", 6),
        ("gpu/kernel.cu", "gpu/kernel.cuh", 1),
        ("pkg/core.py", "pkg/grüße.py", 4),
        ("pkg/core.py", "pkg/helper.py", 3),
        ("pkg/helper.py", "pkg/core.py", 1),
        ("src/lib.rs", "src/other.rs", 2),
        ("src/lib.rs", "src/parts/mod.rs", 1),
        ("src/lib.rs", "src/parts/one.rs", 3),
        ("src/parts/mod.rs", "src/other.rs", 1),
        ("src/parts/mod.rs", "src/parts/one.rs", 2),
        ("src/parts/one.rs", "src/parts/mod.rs", 1),
        ("web/app.ts", "web/data.js", 2),
        ("web/app.ts", "web/lib.ts", 1),
    )
    assert facts.tables["structure.cycles"].rows == ((2, "pkg/core.py pkg/helper.py"),)
    rows = {row[0]: row[1:] for row in facts.tables["structure.modules"].rows}
    assert rows["pkg/core.py"] == ("Python", 2, 1)


def test_below_a_path_nothing_else_counts(folder):
    """Of pkg: five files, without the README above it; its commands, too."""
    found = measured(Repository(folder, path="pkg"))
    assert found.figures["structure.files"].value == 5
    assert found.figures["structure.code"].value == 11
    for name in ("files", "lines"):
        figure = found.figures[f"structure.{name}"]
        assert ask(folder, figure.command) == str(figure.value)


def test_a_path_without_files_has_none(folder):
    """What was deleted since has a history and no structure."""
    found = measured(Repository(folder, path="pkg/old.py"))
    assert found.figures["structure.files"].value == found.figures["structure.lines"].value == 0
    assert (
        found.figures["structure.code"].value == found.figures["documents.lines_per_line_of_code"].value == 0
    )
