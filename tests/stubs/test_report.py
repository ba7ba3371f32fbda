"""What is read, what is not, and what the answer is."""

import pytest

from llorch_core.stubs.kinds import DOUBTFUL, KINDS, SURE, Finding
from llorch_core.stubs.report import find

HONEST = "from shop import total\n\n\ndef test_total():\n    assert total([1]) == 1\n"
STUB = "def test_total():\n    pass\n"
PRODUCT = {"pyproject.toml": "", "shop/__init__.py": "def total(prices):\n    return sum(prices)\n"}


def kinds(folder, **options):
    return [f.kind for f in find(folder, **options).findings]


def test_a_repository_without_stubs_is_clean(repository):
    report = find(repository({**PRODUCT, "tests/test_total.py": HONEST}))
    assert (report.exit_code, report.findings, report.tests["pytest"]) == (0, [], 1)
    assert report.products == ["shop"]


def test_one_stub_is_enough(repository):
    report = find(repository({"tests/test_a.py": HONEST, "tests/test_b.py": STUB}))
    assert report.exit_code == 1
    assert report.as_json()["verdict"] == "stubs"


def test_what_is_doubtful_does_not_fail(repository):
    report = find(repository({"test_a.py": "from shop import total\ndef test_total():\n    total([1])\n"}))
    assert ([f.level for f in report.findings], report.exit_code) == ([DOUBTFUL], 0)


def test_without_a_test_nothing_can_be_told(repository):
    report = find(repository(PRODUCT))
    assert (report.exit_code, report.reason) == (2, "no test was found")


def test_a_test_file_that_does_not_parse_is_named_with_its_line(repository):
    report = find(repository({"test_a.py": HONEST, "test_b.py": "def test():\n    assert (\n"}))
    (lost,) = report.not_read
    assert (lost.file, lost.line, lost.matters) == ("test_b.py", 2, True)
    assert report.exit_code == 2
    assert "test_b.py was not read" in report.reason


def test_a_file_that_does_not_parse_and_holds_neither_tests_nor_product_is_named_only(repository):
    report = find(repository({**PRODUCT, "tests/test_a.py": HONEST, "tests/data/old.py": "print 'a'\n"}))
    assert [lost.file for lost in report.not_read] == ["tests/data/old.py"]
    assert report.exit_code == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"def test():\n    assert '\xff'\n",
        b"# coding: klingon\n",
        b"a = 0\x00\n",
        b"x = " + b"(" * 5000 + b"1" + b")" * 5000,
        b"x = " + b"-" * 100_000 + b"1",
        b"#" * 4_000_001,
    ],
    ids=["not utf-8", "unknown coding", "a zero", "brackets", "signs", "long"],
)
def test_a_file_that_cannot_be_read_is_named(repository, raw):
    folder = repository({"test_a.py": HONEST})
    (folder / "test_b.py").write_bytes(raw)
    report = find(folder)
    assert [lost.file for lost in report.not_read] == ["test_b.py"]
    assert report.tests["pytest"] == 1


def test_a_file_that_is_nested_too_deeply_to_judge_is_named_and_the_others_are_judged(repository):
    deep = f"def test():\n    assert x{'.a' * 950} == x{'.a' * 950}\n"
    report = find(repository({"test_a.py": STUB, "test_b.py": deep}))
    assert [f.file for f in report.findings] == ["test_a.py"]
    assert [lost.file for lost in report.not_read] == ["test_b.py"]


def test_a_long_chain_of_elif_is_read(repository):
    chain = "if a:\n    pass\n" + "elif b:\n    pass\n" * 2000
    assert kinds(repository({"test_a.py": chain + STUB})) == ["empty"]


def test_nothing_that_is_judged_is_run(repository):
    folder = repository(
        {"conftest.py": "raise SystemExit(3)\n", "test_a.py": "raise SystemExit(3)\n" + HONEST}
    )
    assert find(folder).exit_code == 0


def test_environments_caches_and_hidden_folders_are_left_out(repository):
    folder = repository(
        {
            "tests/test_a.py": HONEST,
            "mine/pyvenv.cfg": "",
            **{
                f"{name}/test_b.py": STUB
                for name in ("mine", ".tox", "build", "x/site-packages", "node_modules")
            },
        }
    )
    assert find(folder).files == 1


def test_names_of_tests_are_those_that_the_project_tells_pytest(repository):
    told = '[tool.pytest.ini_options]\npython_files = "*_spec.py"\npython_classes = ["Describe*"]\n'
    told += 'python_functions = ["it_"]\nnorecursedirs = ["old"]\n'
    spec = (
        "class DescribeTotal:\n    def it_adds(self):\n        pass\n    def test_it(self):\n        pass\n"
    )
    folder = repository({"pyproject.toml": told, "total_spec.py": spec, "old/total_spec.py": spec})
    assert [f.test for f in find(folder).findings] == ["DescribeTotal.it_adds"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[tool.pytest.ini_options]\nxfail_strict = true\n"),
        ("pytest.ini", "[pytest]\nxfail_strict = true\n"),
        ("tox.ini", "[pytest]\nxfail_strict=True\n"),
        ("setup.cfg", "[tool:pytest]\nxfail_strict = 1\n"),
    ],
)
def test_a_project_can_make_every_xfail_strict(repository, name, text):
    stub = "import pytest\n@pytest.mark.xfail\ndef test_total():\n    assert total([1]) == 2\n"
    assert kinds(repository({"test_a.py": stub})) == ["expected to fail"]
    assert kinds(repository({"test_a.py": stub, name: text})) == ["known failure"]


def test_a_broken_setting_is_no_setting(repository):
    assert kinds(repository({"pyproject.toml": "[tool", "pytest.ini": "nonsense", "test_a.py": STUB})) == [
        "empty"
    ]


def test_the_product_can_be_named(repository):
    switch = "import os\nif os.getenv('SHOP_TESTING'):\n    pass\n"
    folder = repository(
        {"pyproject.toml": "", "code/__init__.py": "", "tools/shop.py": switch, "test_a.py": HONEST}
    )
    assert kinds(folder) == []
    assert kinds(folder, products=["tools"]) == ["test switch in product code"]


def test_one_file_can_be_judged(repository):
    folder = repository({"tests/test_a.py": STUB, "tests/test_b.py": STUB})
    assert [f.file for f in find(folder / "tests/test_b.py").findings] == ["test_b.py"]


def test_a_module_of_predicates_called_tests_holds_no_tests(repository):
    predicates = "def test_odd(value):\n    return value % 2 == 1\n"
    assert find(repository({**PRODUCT, "shop/tests.py": predicates})).tests["pytest"] == 0


def test_excuses_are_listed_with_their_reason(repository):
    stub = "# llorch: allow empty because a plugin needs\n# the name\ndef test_total():\n    pass\n" + HONEST
    report = find(repository({"test_a.py": stub}))
    assert report.exit_code == 0
    (excused,) = report.excused
    assert (excused.finding.kind, excused.reason) == ("empty", "a plugin needs the name")
    assert report.as_json()["excused"][0]["because"] == "a plugin needs the name"


def test_an_excuse_in_a_string_is_none(repository):
    stub = 'def test_total():\n    "# llorch: allow empty because it is a text"\n'
    assert kinds(repository({"test_a.py": stub})) == ["empty"]


def test_a_finding_is_passed_on_as_every_problem_is():
    finding = Finding("tests/test_a.py", 3, "empty", "test_a", "it has no statement")
    assert list(finding.problem()) == ["kind", "what", "file", "line", "says", "next"]
    assert finding.problem()["next"] == KINDS["empty"].next


def test_every_kind_says_what_it_is_why_it_cannot_fail_and_what_to_do():
    for name, kind in KINDS.items():
        assert name == name.lower().strip()
        for text in (kind.what, kind.why):
            assert text.endswith(".")
        assert kind.next
        assert kind.level in (SURE, DOUBTFUL)


def test_many_classes_of_one_name_are_read_in_no_time(repository):
    classes = "class Base(Base, Other):\n    pass\n\n\nclass Other(Base, Other):\n    pass\n\n\n"
    stub = "class TestTotal(Base, Other, TestCase):\n    def test_it(self):\n        self.look()\n"
    folder = repository({f"tests/test_{i}.py": classes * 10 + stub for i in range(5)})
    assert kinds(folder) == ["only runs"] * 5
