"""Two repositories whose history a test made have a known answer for every figure, and their commands too."""

import shlex
from importlib import import_module

import pytest
from click.testing import CliRunner

from llorch_core.cli.postmortem import command as postmortem
from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.dig import JOINS, SECTIONS, nothing_yet, section
from llorch_core.postmortem.repository import Repository
from tests.postmortem.build import run
from tests.postmortem.known import make_shop, make_worker
from tests.postmortem.tools import Shell

# Each figure of the worker, below its path, in the zone of Amsterdam. What known.py says is counted by hand.
WORKER = {
    # 6 before the first merge, 2 before the second, 4 of March 6, 10 of one evening, 2 of March 21
    "history.commits": 24,
    "history.merges": 2,  # the third one differs from its first parent only outside of the path
    "history.commits_with_merges": 26,
    "history.authors": 2,  # ALICE DOE is Alice Doe; rob is Robert Roe
    "history.first": "2024-03-04T10:00:00+01:00",
    "history.last": "2024-03-21T23:00:00+01:00",
    "history.days": 17.5,  # 17 days and 13 hours
    "history.longest_pause_days": 14.3,  # March 6, 11:30, to March 20, 19:48: the commit between is outside
    "history.active_days": 5,  # March 4, 5, 6, 20, 21
    "history.busiest_day": "2024-03-20",
    "history.busiest_day_commits": 10,
    "history.bursts": 1,  # that evening; 4 commits in a row on March 5 and on March 6 are none
    "history.reverts": 1,
    "history.fixes": 3,  # "fix: …", "… is FIXED", and the revert that quotes it; a prefix is none
    # 99 at first, 8 of them in engine/; 42, n > 0, the include that moved, 43 and 44; copies 3, FIXED.md 3;
    # 1 of the README, 1 of the revert; 16 in the evening; 2 of the rewrite; 1 of each link and submodule
    "history.added": 99 + 5 + 3 + 3 + 1 + 1 + 16 + 2 + 3,
    # those 5; cards.rs, lamp.h, a line of lib.rs and of the README; 1 of the revert; 16; 3 of the rewrite
    "history.deleted": 5 + 4 + 1 + 16 + 3,
    "history.renames": 6,  # sum.cpp into the path, the 4 files of worker/test, old.rs out of it
    "history.files_ever": 22,  # 14 at first; weights, 3 copies, FIXED.md; 2 links and the submodule
    "history.files_now": 16,  # these without cards.rs, lamp.h, old.rs, the links and the submodule
    "history.lines_now": 99,  # as in structure.lines
    "history.lines_now_percent": 74.4,  # 99 of 133
    # Cargo.toml 2, README 7, FIXED.md 3, copies 1 each (one without an end), spec 7, lib.rs 7, load.rs 9,
    # sum.cpp 8, sum.h 2, stubs.rs 27, gone.rs 4, stubs.cpp 17, lost.cpp 3, weights.bin 0
    "structure.lines": 2 + 7 + 3 + 3 + 7 + 7 + 9 + 8 + 2 + 27 + 4 + 17 + 3,
    "structure.files": 16,
    "structure.binary_files": 1,  # weights.bin
    # Cargo.toml 2; lib.rs 4, of which `//!` is a string to pygments, and so code to pygount; load.rs 5;
    # sum.cpp 5; sum.h 2; stubs.rs 24; gone.rs 3; stubs.cpp 15; lost.cpp 2. Lines of brackets are blank
    "structure.code": 99 - 20 - 3 - 7,  # the rest; the 20 lines of documents are none of these
    "structure.comment": 3,  # one each in lib.rs, load.rs and stubs.rs; those behind code are code
    "structure.blank": 7,  # one each in lib.rs, load.rs, sum.cpp, gone.rs, lost.cpp, stubs.cpp and stubs.rs
    "structure.languages": 4,  # TOML, Rust, C++, C/C++ header
    "structure.functions": 29,  # 1 of lib.rs, load.rs, sum.cpp each; 11 and 1 of Rust tests; 13 and 1 of C++
    "structure.most_complex": 3,  # load: if and &&
    "structure.longest_function": 6,  # load, and sum
    "structure.modules": 8,  # 4 of Rust, 4 of C++
    "structure.dependencies": 6,  # lib.rs and load.rs both ways; two Rust tests; sum.cpp, stubs.cpp
    "structure.cycles": 0,  # lib.rs only says that load is a part of it
    "documents.files": 6,  # README, FIXED.md, three copies, the spec
    "documents.lines": 20,  # 7, 3, 1, 1, 1, 7
    "documents.words": 23 + 7 + 12 + 12 + 13 + 29,
    "documents.lines_per_line_of_code": 0.29,  # 20 by 69
    "documents.stale": 2,  # README and FIXED.md name src/load.rs, which changed after them
    "documents.duplicates": 2,  # copy.md and same.md
    "documents.near_duplicates": 2,  # that content, and near.md: 8 of 9 runs of five words
    "documents.victories": 2,  # the name FIXED.md, and its heading
    "documents.broken_links": 2,  # cards.rs is gone; there is no heading Status
    "requirements.ids": 7,  # REQ-W-001 to 005, and OUT-001, 002, whose spec outside the path is cited
    "requirements.in_code": 2,  # REQ-W-001, OUT-001
    "requirements.in_tests": 1,  # REQ-W-003
    "requirements.in_documents": 1,  # REQ-W-004
    "requirements.uncited": 4,  # REQ-W-002, 004, 005, OUT-002
    "requirements.nowhere": 3,  # those without 004
    "requirements.unknown": 1,  # REQ-W-900
    "requirements.lost": 3,  # REQ-W-002 and 888 in the rewrite; 777 has moved out of the path
    "requirements.lost_still_required": 1,  # REQ-W-002
    "tests.tests": 26,  # 11 and 1 of Rust, 13 and 1 of C++; the one in target/ is not tracked
    "tests.files": 4,
    "tests.ignored": 3,  # #[ignore], DISABLED_, GTEST_SKIP
    "tests.empty": 2,
    "tests.stubs": 7,  # stub, unwritten and marked of Rust; DISABLED_, Skipped, Unwritten and Marked of C++
    "tests.no_check": 2,
    "tests.constant": 3,  # assert!(true), SUCCEED(), EXPECT_TRUE(true)
    "tests.own_values": 0,  # told in Python alone
    "tests.swallowed": 1,  # of C++
    "tests.cannot_fail": 11,  # empty 2, stub 1 and 2, no check 2, constant 3, swallowed 1
    "tests.share_cannot_fail": 42.3,  # 11 of 26
    "tests.gone": 2,  # worker::cards, lamp.h
    "tests.share_gone": 7.7,
    "tests.no_evidence": 13,  # 11 and 2; those that are ignored are stubs
    "tests.share_no_evidence": 50.0,
    "tests.only_runs": 3,  # only runs and a dropped error of Rust, only runs of C++
    "tests.silent": 2,
    "tests.calls_nothing": 2,
    "tests.rust_attributes": 12,
    "tests.rust_ignores": 1,
    "tests.gtest_macros": 14,
    "tests.gtest_skips": 1,
    "tests.constant_lines": 3,
    "tests.scenarios": 0,
    "claims.made": 10,
    "claims.in_documents": 4,  # 3 of the README, the heading of FIXED.md; the link to it has none
    "claims.in_comments": 3,  # VERIFIED in lib.rs, ELIMINATED in load.rs, COMPLETE in cards.rs
    "claims.in_messages": 3,  # FIXED and all tests pass in one, VERIFIED in another; COMPLETE is outside
    # Status, root cause, ELIMINATED, and two of the message that was reverted; COMPLETE went with its file
    "claims.withdrawn": 5,
    "claims.root_causes": 1,
    "claims.root_causes_withdrawn": 1,  # a false lead
    "claims.all_tests_pass": 2,
    # 3 of the README, since lib.rs of their commit was fixed; lib.rs, load.rs; 2 of the reverted message
    "claims.followed_by_fixes": 7,
}

# Each figure of the shop, looked at whole, in the zone of Tokyo.
SHOP = {
    "history.commits": 10,
    "history.merges": 1,
    "history.commits_with_merges": 11,
    "history.authors": 2,  # dan moe is Dan Moe; carol is Carol Low
    "history.first": "2024-06-01T18:00:00+09:00",
    "history.last": "2024-07-10T11:00:00+09:00",
    "history.days": 38.7,  # 38 days and 17 hours
    "history.longest_pause_days": 30.0,  # an hour less, from June 10
    "history.active_days": 4,  # June 1, 3, 10, July 10
    "history.busiest_day": "2024-06-03",  # with the fix, which is of June 2 in UTC
    "history.busiest_day_commits": 5,
    "history.bursts": 0,
    "history.reverts": 1,
    "history.fixes": 1,  # "fix the sum"; "a bug" is none
    "history.added": 147 + 7,  # at first; the sum, TOTAL five times, notes.txt
    "history.deleted": 1 + 2 + 5 + 1,  # the sum, card.js, TOTAL five times, a line of the README
    "history.renames": 2,  # of the folder notes
    "history.files_ever": 22,  # 21 and notes.txt
    "history.files_now": 21,  # without card.js
    "history.lines_now": 145,
    "history.lines_now_percent": 94.2,  # 145 of 154
    # .gitignore, .mailmap, go.mod, three texts 1 each; README 4, guide 3, cart 12, pay.py 5, test_cart 31,
    # sum.go 6, sum_test.go 26, pay.js 4, pay.test.js 19, lost.test.js 3, feature 12, steps 10, spec 4
    "structure.lines": 6 + 4 + 3 + 12 + 5 + 31 + 6 + 26 + 4 + 19 + 3 + 12 + 10 + 4,
    "structure.files": 21,
    "structure.binary_files": 1,  # data.bin; __init__.py is empty
    # cart 6, pay.py 3, test_cart 26, go.mod 1, sum.go 3, sum_test.go 21, pay.js 2, pay.test.js 17,
    # lost.test.js 2, feature 9, steps 8, spec 4; `pass`, a lone bracket and `});` are blank
    "structure.code": 6 + 3 + 28 + 1 + 4 + 24 + 3 + 18 + 2 + 9 + 8 + 4,
    "structure.comment": 6,  # cart 2 and test_cart 2 with a docstring each, sum.go 1, pay.js 1
    # paying.feature, its steps, sum.go, sum_test, lost.test, pay.test, cart, pay, test_cart
    "structure.blank": 3 + 2 + 1 + 2 + 1 + 1 + 4 + 2 + 1,  # pygount knows no .gitignore and no .mailmap
    "structure.languages": 6,  # Python, Go, Go modules, JavaScript, Gherkin, YAML
    # cart, pay.py, sum.go, pay.js 1 each; test_cart 10; Go tests 15 and the 2 functions of subtests;
    # JavaScript tests 13 arrows, 1 within a catch, 1 of lost.test.js; steps 2
    "structure.functions": 4 + 10 + 17 + 15 + 2,
    "structure.most_complex": 3,  # TestSilent of Go: two ifs
    "structure.longest_function": 5,  # test_swallowed
    "structure.modules": 10,  # 5 of Python, 2 of Go, 3 of JavaScript
    "structure.dependencies": 5,  # cart and pay both ways, test_cart, steps, pay.test.js
    "structure.cycles": 1,
    "documents.files": 5,  # README, guide, notes and one.txt twice
    "documents.lines": 10,  # 4, 3, 1, 1, 1
    "documents.words": 8 + 6 + 6 + 6 + 6,
    "documents.lines_per_line_of_code": 0.09,  # 10 by 110
    "documents.stale": 1,  # the guide names cart.py; so does the README, which changed with it
    "documents.duplicates": 2,  # one.txt
    "documents.near_duplicates": 0,
    "documents.victories": 1,
    "documents.broken_links": 2,  # terms.md, and the heading end
    "requirements.ids": 3,
    "requirements.in_code": 2,
    "requirements.in_tests": 0,
    "requirements.in_documents": 0,
    "requirements.uncited": 1,  # REQ-S-003
    "requirements.nowhere": 1,
    "requirements.unknown": 1,  # REQ-S-009
    "requirements.lost": 1,  # REQ-S-003, with card.js
    "requirements.lost_still_required": 1,
    "tests.tests": 46,  # Python 10, Go 17 with two subtests, JavaScript 15 and 1, scenarios 3
    "tests.files": 5,
    "tests.ignored": 6,  # Python 1; Go 1 and an example without output; JavaScript todo and skip; @wip
    "tests.empty": 5,  # one each; of Go a subtest, too
    "tests.stubs": 10,  # Python 1, Go 4 (Stub, Skipped, Unwritten, Marked), JavaScript 5 (pending, todo …)
    "tests.no_check": 3,
    "tests.constant": 3,
    "tests.own_values": 1,
    "tests.swallowed": 2,  # Python, JavaScript
    "tests.cannot_fail": 20,  # empty 5, stub 1 and 2 and 3, no check 3, constant 3, own values 1, swallowed 2
    "tests.share_cannot_fail": 43.5,
    "tests.gone": 2,  # ./card, the step that nothing defines
    "tests.share_gone": 4.3,
    "tests.no_evidence": 25,  # 20 and 2, and the ignored ones that are right: Python, example, JavaScript
    "tests.share_no_evidence": 54.3,
    "tests.only_runs": 5,  # one each, and a dropped error of Go and of JavaScript
    "tests.silent": 3,
    "tests.calls_nothing": 2,  # Go, JavaScript
    "tests.rust_attributes": 0,
    "tests.rust_ignores": 0,
    "tests.gtest_macros": 0,
    "tests.gtest_skips": 0,
    "tests.constant_lines": 2,  # assert True, expect(true).toBe(true)
    "tests.scenarios": 3,
    "claims.made": 5,
    "claims.in_documents": 3,  # production-ready, COMPLETE, root cause
    "claims.in_comments": 1,  # FIXED
    "claims.in_messages": 1,  # all 3 tests pass
    "claims.withdrawn": 1,  # production-ready
    "claims.root_causes": 1,
    "claims.root_causes_withdrawn": 0,
    "claims.all_tests_pass": 1,
    "claims.followed_by_fixes": 2,  # those of documents of the first commit, whose files were fixed
}


# Rows of tables, by table and the columns that are told; a number with a # before it is that of a commit.
WORKER_TABLES = {
    ("history.authors", "author", "commits", "added", "deleted", "first", "last"): [
        ("Alice Doe", 20, 127, 27, "2024-03-04T10:00:00+01:00", "2024-03-21T23:00:00+01:00"),
        ("Robert Roe", 4, 6, 2, "2024-03-05T11:00:00+01:00", "2024-03-06T11:00:00+01:00"),
    ],
    ("history.days", "day", "commits", "added", "deleted"): [
        ("2024-03-04", 1, 99, 0),
        ("2024-03-05", 7, 11, 5),  # with the one of 18:30 in New York, half an hour past midnight here
        ("2024-03-06", 4, 2, 5),
        ("2024-03-20", 10, 16, 16),
        ("2024-03-21", 2, 5, 3),
    ],
    ("history.bursts", "first", "last", "commits", "hours"): [
        ("2024-03-20T19:48:00+01:00", "2024-03-20T20:42:00+01:00", 10, 0.9),
    ],
    ("history.reverts", "commit", "subject", "reverts", "what"): [
        ("#14", 'Revert "Loader is FIXED"', "#3", "Loader is FIXED"),
    ],
    ("history.fixes", "commit", "subject"): [
        ("#2", "fix: the answer"),
        ("#3", "Loader is FIXED"),
        ("#14", 'Revert "Loader is FIXED"'),
    ],
    # under their last names: sum.cpp was engine/sum.cpp, tests/ was test/; old.rs is no longer here
    ("history.churn", "file", "commits", "added", "deleted"): [
        ("worker/src/lib.rs", 15, 21, 14),  # 8 at first; 4 and 10 lines changed; 1 taken out; not the merge
        ("worker/src/load.rs", 10, 20, 11),  # 10; there and back, 6, and 3 lines to 2
        ("worker/tests/stubs.rs", 2, 27, 0),
        ("worker/tests/stubs.cpp", 2, 17, 0),
        ("worker/src/sum.cpp", 2, 9, 1),
        ("worker/README.md", 3, 8, 1),
        ("worker/specs/worker.md", 1, 7, 0),
        ("worker/tests/gone.rs", 2, 4, 0),
        ("worker/FIXED.md", 1, 3, 0),
        ("worker/tests/lost.cpp", 2, 3, 0),
        ("worker/Cargo.toml", 1, 2, 0),
        ("worker/src/sum.h", 1, 2, 0),
        ("worker/docs/copy.md", 1, 1, 0),
        ("worker/docs/near ä.md", 1, 1, 0),
        ("worker/docs/same.md", 1, 1, 0),
        ("worker/weights.bin", 1, 0, 0),
    ],
    ("history.hot_spots", "file", "churn", "complexity"): [
        ("worker/tests/stubs.rs", 27, 12),  # 11 functions, one with an if
        ("worker/tests/stubs.cpp", 17, 15),  # 13 functions, a catch and an if
        ("worker/src/load.rs", 31, 3),
        ("worker/src/lib.rs", 35, 1),
        ("worker/src/sum.cpp", 10, 2),
        ("worker/tests/gone.rs", 4, 1),
        ("worker/tests/lost.cpp", 3, 1),
    ],
    # in the first commit, and in six of the evening; load.rs changed in ten
    ("history.together", "file", "other", "together", "of"): [
        ("worker/src/load.rs", "worker/src/lib.rs", 7, 10),
    ],
    ("history.left_behind", "file"): [],
    ("history.survival", "period", "added", "alive"): [
        ("2024-03-04", 99, 87),  # without 2 of lib.rs, 4 of load.rs, 1 of sum.cpp and README; 4 of files gone
        ("2024-03-05", 11, 7),  # FIXED.md, the copies, the include that moved
        ("2024-03-06", 2, 1),  # the false lead
        ("2024-03-20", 16, 2),  # the last answer, and the last n < 15
        ("2024-03-21", 5, 2),  # the rewrite; a link and a submodule have no lines now
    ],
    ("structure.languages", "language", "files", "lines", "code", "comment", "blank"): [
        ("Rust", 4, 47, 40, 3, 4),
        ("C++", 3, 28, 25, 0, 3),
        ("C/C++ header", 1, 2, 2, 0, 0),
        ("TOML", 1, 2, 2, 0, 0),
        ("Markdown", 6, 20, 0, 0, 0),
        ("binary", 1, 0, 0, 0, 0),
    ],
    ("structure.dependencies", "module", "imports"): [
        ("worker/src/lib.rs", "worker/src/load.rs"),
        ("worker/src/load.rs", "worker/src/lib.rs"),
        ("worker/src/sum.cpp", "worker/src/sum.h"),
        ("worker/tests/gone.rs", "worker/src/lib.rs"),
        ("worker/tests/stubs.cpp", "worker/src/sum.h"),
        ("worker/tests/stubs.rs", "worker/src/lib.rs"),
    ],
    ("documents.stale", "document", "code", "document_changed", "code_changed", "commits_since"): [
        # the revert, six of the evening, the rewrite
        (
            *("worker/FIXED.md", "worker/src/load.rs"),
            *("2024-03-05T14:30:00+01:00", "2024-03-21T22:00:00+01:00", 8),
        ),
        (
            *("worker/README.md", "worker/src/load.rs"),
            *("2024-03-06T11:00:00+01:00", "2024-03-21T22:00:00+01:00", 8),
        ),
    ],
    ("documents.duplicates", "file", "other", "share"): [
        ("worker/docs/same.md", "worker/docs/copy.md", 1.0),
        ("worker/docs/copy.md", "worker/docs/near ä.md", 0.89),  # 8 of 9
    ],
    ("documents.victories", "file", "line", "title", "written"): [
        ("worker/FIXED.md", 0, "FIXED.md", "2024-03-05T14:30:00+01:00"),
        ("worker/FIXED.md", 1, "Loader FIXED", "2024-03-05T14:30:00+01:00"),
    ],
    ("documents.broken_links", "file", "line", "link"): [
        ("worker/README.md", 6, "src/cards.rs"),
        ("worker/README.md", 6, "#status"),
    ],
    ("requirements.ids", "id", "defined", "code", "tests", "documents", "level"): [
        ("OUT-001", "specs/shared.md:1", 1, 0, 0, "must"),
        ("OUT-002", "specs/shared.md:2", 0, 0, 0, "must"),
        ("REQ-W-001", "worker/specs/worker.md:3", 1, 0, 0, "must"),
        ("REQ-W-002", "worker/specs/worker.md:4", 0, 0, 0, "should"),
        ("REQ-W-003", "worker/specs/worker.md:5", 0, 1, 0, "may"),
        ("REQ-W-004", "worker/specs/worker.md:6", 0, 0, 1, "must"),
        ("REQ-W-005", "worker/specs/worker.md:7", 0, 0, 0, "must"),
    ],
    ("requirements.unknown", "id", "file", "line"): [("REQ-W-900", "worker/src/load.rs", 3)],
    ("requirements.lost", "id", "commit", "file", "still_required", "elsewhere"): [
        ("REQ-W-002", "#27", "worker/src/load.rs", True, False),
        ("REQ-W-777", "#13", "worker/src/old.rs", False, True),
        ("REQ-W-888", "#27", "worker/src/load.rs", False, False),
    ],
    ("requirements.lost_words", "word", "ids", "commit"): [("load_model", "REQ-W-002", "#27")],
    ("tests.cannot_fail", "file", "test", "why", "commit"): [
        ("worker/tests/stubs.cpp", "Sum.Empty", "empty", "#1"),
        ("worker/tests/stubs.cpp", "Sum.DISABLED_Stub", "stub", "#1"),
        ("worker/tests/stubs.cpp", "Sum.Skipped", "stub", "#1"),
        ("worker/tests/stubs.cpp", "Sum.NoCheck", "no check", "#1"),
        ("worker/tests/stubs.cpp", "Sum.Constant", "constant", "#1"),
        ("worker/tests/stubs.cpp", "Sum.True", "constant", "#1"),
        ("worker/tests/stubs.cpp", "Sum.Swallowed", "swallowed", "#1"),
        ("worker/tests/stubs.rs", "empty", "empty", "#1"),
        ("worker/tests/stubs.rs", "stub", "stub", "#1"),
        ("worker/tests/stubs.rs", "no_check", "no check", "#1"),
        ("worker/tests/stubs.rs", "constant", "constant", "#1"),
    ],
    ("tests.doubtful", "file", "test", "why"): [
        ("worker/tests/stubs.cpp", "Sum.Unwritten", "unwritten"),
        ("worker/tests/stubs.cpp", "Sum.OnlyRuns", "only runs"),
        ("worker/tests/stubs.cpp", "Sum.Silent", "silent"),
        ("worker/tests/stubs.cpp", "Sum.CallsNothing", "calls nothing"),
        ("worker/tests/stubs.cpp", "Sum.Marked", "marked"),
        ("worker/tests/stubs.rs", "unwritten", "unwritten"),
        ("worker/tests/stubs.rs", "marked", "marked"),
        ("worker/tests/stubs.rs", "only_runs", "only runs"),
        ("worker/tests/stubs.rs", "dropped_error", "dropped error"),
        ("worker/tests/stubs.rs", "silent", "silent"),
        ("worker/tests/stubs.rs", "calls_nothing", "calls nothing"),
    ],
    ("tests.gone_modules", "file", "imports", "tests"): [
        ("worker/tests/gone.rs", "use worker::cards", 1),
        ("worker/tests/lost.cpp", '#include "lamp.h"', 1),
    ],
    ("claims.made", "commit", "author", "where", "place", "line", "text", "followed", "withdrawn"): [
        *[
            ("#1", "Alice Doe", "document", "worker/README.md", line, text, 3, withdrawn)
            for line, text, withdrawn in (
                (4, "**ROOT CAUSE FOUND**: the lamp", "said wrong"),
                (5, "All tests pass.", ""),
                (3, "Status: FIXED", "removed"),
            )
        ],
        ("#1", "Alice Doe", "comment", "worker/src/cards.rs", 1, "pub struct Card; // COMPLETE", 0, ""),
        ("#1", "Alice Doe", "comment", "worker/src/lib.rs", 5, "// REQ-W-001, VERIFIED: by hand", 1, ""),
        ("#1", "Alice Doe", "comment", "worker/src/load.rs", 4, "// ELIMINATED: the lag", 2, "removed"),
        ("#3", "Robert Roe", "message", "#3", 0, "# Loader is FIXED", 1, "reverted"),
        ("#3", "Robert Roe", "message", "#3", 0, "All 12 tests pass", 1, "reverted"),
        ("#9", "Alice Doe", "message", "#9", 0, "# The loader is VERIFIED", 0, ""),
        ("#9", "Alice Doe", "document", "worker/FIXED.md", 1, "# Loader FIXED", 0, ""),
    ],
}
SHOP_TABLES = {
    ("history.authors", "author", "commits", "added", "deleted"): [
        ("Carol Low", 5, 149, 5),  # at first; 0 and 2 of the card; a TOTAL; a TOTAL and the README
        ("Dan Moe", 5, 5, 4),  # the sum, three of TOTAL, the notes
    ],
    ("history.days", "day", "commits", "added", "deleted"): [
        ("2024-06-01", 1, 147, 0),
        ("2024-06-03", 5, 3, 5),
        ("2024-06-10", 3, 3, 2),
        ("2024-07-10", 1, 1, 2),
    ],
    ("history.bursts", "first"): [],
    ("history.reverts", "commit", "subject", "reverts", "what"): [
        ("#9", 'Revert "one more"', None, "one more"),  # its message names no hash
    ],
    ("history.fixes", "commit"): [("#2",)],
    ("history.hot_spots", "file", "churn", "complexity"): [
        ("go/sum_test.go", 26, 23),  # 17 functions and 6 ifs
        ("tests/test_cart.py", 31, 12),  # 10 functions, an except and an if
        ("js/pay.test.js", 19, 17),  # 14 functions, a catch and an if; lizard takes .catch() for one, too
        ("shop/cart.py", 22, 2),  # 12 at first, and TOTAL five times
        ("features/steps/paying.py", 10, 2),
        ("go/sum.go", 8, 1),
        ("shop/pay.py", 5, 1),
        ("js/pay.js", 4, 1),
        ("js/lost.test.js", 3, 1),
    ],
    ("history.together", "file"): [],
    ("history.left_behind", "file", "kind", "code", "commits_since"): [
        ("tests/test_cart.py", "test", "shop/cart.py", 5),
    ],
    ("history.survival", "period", "added", "alive"): [  # by weeks, since it took more than 28 days
        ("2024-05-27", 147, 142),
        ("2024-06-03", 3, 1),  # the sum, of a Monday here and a Sunday in UTC
        ("2024-06-10", 3, 1),  # notes.txt
        ("2024-07-08", 1, 1),  # the last TOTAL
    ],
    ("structure.cycles", "modules", "files"): [(2, "shop/cart.py shop/pay.py")],
    # not two that were committed before the folder was renamed, though they were written after
    ("documents.stale", "document", "document_changed", "code", "commits_since"): [
        ("docs/guide.md", "2024-06-03T14:00:00+09:00", "shop/cart.py", 3),
    ],
    ("documents.duplicates", "file", "other", "share"): [("docs/one.txt", "copies/one.txt", 1.0)],
    # of its first text, which the rename did not change
    ("documents.victories", "file", "line", "title", "written"): [
        ("docs/guide.md", 1, "Guide COMPLETE", "2024-06-01T18:00:00+09:00"),
    ],
    ("documents.broken_links", "file", "line", "link"): [
        ("README.md", 4, "docs/terms.md"),
        ("README.md", 4, "docs/guide.md#end"),
    ],
    ("requirements.unknown", "id", "file", "line"): [("REQ-S-009", "tests/test_cart.py", 4)],
    ("requirements.lost", "id", "commit", "file", "still_required", "elsewhere"): [
        ("REQ-S-003", "#4", "js/card.js", True, False),
    ],
    ("tests.kinds", "framework", "kind", "tests", "ignored", "cannot_fail"): [
        ("go test", "unit", 16, 2, 6),
        ("vitest", "unit", 15, 2, 7),
        ("pytest", "unit", 10, 1, 6),
        ("gherkin", "bdd", 3, 1, 1),
        ("go test", "benchmark", 1, 0, 0),
        ("jest or mocha", "unit", 1, 0, 0),
    ],
    ("tests.cannot_fail", "file", "test", "why"): [
        ("features/paying.feature", "Nothing", "empty"),
        ("go/sum_test.go", "TestEmpty", "empty"),
        ("go/sum_test.go", "TestStub", "stub"),
        ("go/sum_test.go", "TestSkipped", "stub"),
        ("go/sum_test.go", "TestNoCheck", "no check"),
        ("go/sum_test.go", "TestConstant", "constant"),
        ("go/sum_test.go", "TestFrame/empty", "empty"),
        ("js/pay.test.js", "empty", "empty"),
        ("js/pay.test.js", "pending", "stub"),
        ("js/pay.test.js", "todo", "stub"),
        ("js/pay.test.js", "stub", "stub"),
        ("js/pay.test.js", "no check", "no check"),
        ("js/pay.test.js", "constant", "constant"),
        ("js/pay.test.js", "swallowed", "swallowed"),
        ("tests/test_cart.py", "test_empty", "empty"),
        ("tests/test_cart.py", "test_stub", "stub"),
        ("tests/test_cart.py", "test_no_check", "no check"),
        ("tests/test_cart.py", "test_constant", "constant"),
        ("tests/test_cart.py", "test_own_values", "own values"),
        ("tests/test_cart.py", "test_swallowed", "swallowed"),
    ],
    ("tests.gone_modules", "file", "imports", "tests"): [
        ("features/paying.feature", "the step 'the card is charged' is not defined", 1),
        ("js/lost.test.js", "./card", 1),
    ],
    ("claims.made", "commit", "author", "where", "place", "text", "followed", "withdrawn"): [
        ("#1", "Carol Low", "document", "README.md", "It is production-ready.", 3, "removed"),
        ("#1", "Carol Low", "comment", "js/pay.js", "// FIXED: the sign", 0, ""),
        ("#1", "Carol Low", "document", "notes/guide.md", "# Guide COMPLETE", 3, ""),
        ("#10", "Dan Moe", "message", "#10", "# All 3 tests pass", 0, ""),
        ("#10", "Dan Moe", "document", "docs/notes.txt", "The root cause is the tax.", 0, ""),
    ],
}


class Known:
    """A repository, its hashes by number of the commit, its facts, and what is known of it."""

    def __init__(self, top, hashes, path, zone, figures, tables):
        self.top, self.hashes, self.figures, self.tables = top, hashes, figures, tables
        self.facts = dug(top, path, zone)

    def rows(self, table):
        """Return some columns of a table, a hash in them as the number of its commit."""
        name, *columns = table
        numbers = {sha: f"#{number}" for number, sha in self.hashes.items()}
        rows = ([row[c] for c in columns] for row in self.facts.tables[name].dicts())
        return [tuple(numbers.get(cell, cell) for cell in row) for row in rows]


def dug(top, path, zone):
    """Return what every section and join measures; dig does it in processes of their own."""
    settings = Settings(top.name, ".", path=path, zone=zone)
    repository = Repository(top, path=path, zone=zone)
    facts = nothing_yet(repository)
    for name in SECTIONS:
        facts.add(section(name, (top, repository.commit, path, zone), settings))
    for name in JOINS:
        import_module(f"llorch_core.postmortem.history.{name}").join(repository, settings, facts)
    return facts


@pytest.fixture(scope="module", params=["worker", "shop"])
def known(request, tmp_path_factory):
    """Each of the two repositories."""
    folder = tmp_path_factory.mktemp("known")
    top = folder / request.param
    if request.param == "worker":
        hashes = make_worker(folder / "first", top)
        return Known(top, hashes, "worker", "Europe/Amsterdam", WORKER, WORKER_TABLES)
    return Known(top, make_shop(top), "", "Asia/Tokyo", SHOP, SHOP_TABLES)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """A shell with pygount and lizard."""
    shell = Shell(tmp_path_factory.mktemp("tools"))
    yield shell
    shell.close()


def test_every_figure_is_known_and_no_figure_is_without_an_answer(known):
    """A new figure needs a known answer above."""
    assert known.facts.figures.keys() == known.figures.keys()
    assert {name: figure.value for name, figure in known.facts.figures.items()} == known.figures


def test_the_rows_of_tables_are_what_was_planted(known):
    """In the order of the table."""
    assert {table: known.rows(table) for table in known.tables} == known.tables


@pytest.mark.untraced
def test_every_command_prints_the_answer_in_a_clone(known, shell, tmp_path, monkeypatch):
    """In one without a work tree; where a tool is not installed, the figures that need it are named."""
    run(tmp_path, "clone", "-q", "--bare", known.top, "clone")
    monkeypatch.chdir(tmp_path / "clone")
    commands = {name: figure.command for name, figure in known.facts.figures.items()}
    unable = {name for name, command in commands.items() if any(tool in command for tool in shell.missing)}
    told = {name: answer(shell, command) for name, command in commands.items() if name not in unable}
    assert told == {name: str(value) for name, value in known.figures.items() if name not in unable}
    if unable:
        pytest.skip(f"{', '.join(shell.missing)} is not installed; not checked: {', '.join(sorted(unable))}")


def answer(shell, command):
    """Return what a command prints in this folder; llorch itself is called in this process."""
    if not command.startswith("llorch postmortem "):
        return shell.run(command)
    done = CliRunner().invoke(postmortem, shlex.split(command)[2:])
    assert done.exit_code == 0
    return done.output.strip()
