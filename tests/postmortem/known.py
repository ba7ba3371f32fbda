"""Two repositories whose every figure is known: a worker below a path, and a shop looked at whole."""

from tests.postmortem.build import History, Link, Submodule

LOUD = "ALICE DOE <doe@home.example>"
ROB = "rob <rob@old.example>"  # Robert Roe, says .mailmap

# The worker: Rust and C++, below the path worker, in the zone of Amsterdam (an hour ahead of UTC in March).
CARGO = """\
[package]
name = "worker"
"""
LIB = """\
//! The worker.
pub mod cards;
pub mod load;

// REQ-W-001, VERIFIED: by hand
pub fn answer() -> u32 {
    41
}
"""
LOAD = """\
use crate::answer;

// REQ-W-002, REQ-W-888, OUT-001
// ELIMINATED: the lag
pub fn load_model(n: u32) -> Result<u32, String> {
    if n > 1 && n < 9 {
        return Ok(answer());
    }
    Err("none".into())
}
"""
LOAD_HEAD = LOAD.splitlines(keepends=True)[2:5]
LOAD_HEAD_LAST = """\
// OUT-001, REQ-W-900
pub fn load(n: u32) -> Result<u32, String> {
"""
OLD = """\
// REQ-W-777
pub fn old() {}
"""
SUM_H = """\
#pragma once
int sum(int a, int b);
"""
SUM = """\
#include "sum.h"

int sum(int a, int b) {
  if (a < 0) {
    return b;
  }
  return a + b;
}
"""
WORKER_SPEC = """\
# The worker

- REQ-W-001: it MUST answer.
- REQ-W-002: it SHOULD offer `load_model`.
- REQ-W-003: it MAY stop.
- REQ-W-004: it MUST sum.
- REQ-W-005: it MUST rest.
"""
SHARED_SPEC = """\
- OUT-001: the door MUST close.
- OUT-002: the window MUST close.
"""
WORKER_README = """\
# Worker

Status: FIXED
**ROOT CAUSE FOUND**: the lamp
All tests pass.
See REQ-W-004 and [the loader](src/load.rs).
[gone](src/cards.rs) [part](#status)
"""
WORKER_FIXED = "# Loader FIXED\r\n\r\nThe loader src/load.rs works.\r\n"
COPY = "one two three four five six seven eight nine ten eleven twelve\n"
NEAR = "one two three four five six seven eight nine ten eleven twelve thirteen"  # without an end of its line
RUST_TESTS = """\
// REQ-W-003
use worker::answer;

#[test]
fn empty() {}
#[test]
#[ignore]
fn stub() { // TODO: load a model
}
#[test]
fn no_check() { println!("loading"); }
#[test]
fn constant() { assert!(true); }
#[test]
fn unwritten() { todo!() }
#[test]
fn marked() { announce_stub_mode!("marked"); assert_eq!(answer(), 42); }
#[test]
fn only_runs() { answer(); }
#[test]
fn dropped_error() { let _ = worker::load::load(1); }
#[test]
fn silent() { if let Ok(n) = worker::load::load(1) { assert_eq!(n, 42); } }
#[test]
fn calls_nothing() { let url = "lamp"; assert!(url.contains("lamp")); }
#[test]
fn right() { assert_eq!(answer(), 42); }
"""
RUST_GONE = """\
use worker::cards::Card;

#[test]
fn pays() { assert_eq!(Card::new().pay(), 3); }
"""
CPP_TESTS = """\
#include "../src/sum.h"
#include <gtest/gtest.h>

TEST(Sum, Empty) {}
TEST(Sum, DISABLED_Stub) { // TODO: add
}
TEST(Sum, Skipped) { GTEST_SKIP() << "not implemented"; }
TEST(Sum, NoCheck) { printf("adding\\n"); }
TEST(Sum, Constant) { SUCCEED(); }
TEST(Sum, True) { EXPECT_TRUE(true); }
TEST(Sum, Swallowed) { try { sum(1, 2); } catch (...) { } }
TEST(Sum, Unwritten) { FAIL() << "not implemented"; }
TEST(Sum, OnlyRuns) { sum(1, 2); }
TEST(Sum, Right) { EXPECT_EQ(sum(1, 2), 3); }
TEST(Sum, Silent) { if (sum(1, 2)) { EXPECT_EQ(sum(1, 2), 3); } }
TEST(Sum, CallsNothing) { int n = 1; EXPECT_GT(n, 0); }
TEST(Sum, Marked) { EXPECT_EQ(sum(1, 2), 3) << "STUB MODE"; }
"""
CPP_GONE = """\
#include "lamp.h"

TEST(Lamp, Shines) { EXPECT_EQ(lamp(), 1); }
"""


def worker(undone):
    """Tell the history of the worker; `undone` is the hash of its third commit, which is reverted later."""
    story = History()
    say = story.commit
    lib, load = LIB.replace("41", "42"), LOAD.replace("n > 1", "n > 0")
    begin = {
        ".gitignore": "target/\n",
        ".mailmap": "Robert Roe <robert@example.org> <rob@old.example>\n",
        "engine/sum.cpp": SUM.replace("sum.h", "../worker/src/sum.h"),  # moves below the path
        "specs/shared.md": SHARED_SPEC,
        "worker/Cargo.toml": CARGO,
        "worker/README.md": WORKER_README,
        "worker/specs/worker.md": WORKER_SPEC,
        "worker/src/cards.rs": "pub struct Card; // COMPLETE\n",
        "worker/src/lamp.h": "int lamp();\n",
        "worker/src/lib.rs": LIB,
        "worker/src/load.rs": LOAD,
        "worker/src/old.rs": OLD,  # moves out of the path
        "worker/src/sum.h": SUM_H,
        "worker/test/gone.rs": RUST_GONE,
        "worker/test/lost.cpp": CPP_GONE,
        "worker/test/stubs.cpp": CPP_TESTS,
        "worker/test/stubs.rs": RUST_TESTS,
        "worker.md": WORKER_README,  # the names of these two only begin as the path does
        "workers/stubs.rs": RUST_TESTS,
    }
    say("begin", begin, when="2024-03-04T09:00:00+00:00")
    say("fix: the answer", {"worker/src/lib.rs": lib}, LOUD, when="2024-03-04T18:30:00-05:00")
    fixed = "Loader is FIXED\n\nAll 12 tests pass"
    say(fixed, {"worker/src/load.rs": load}, ROB, when="2024-03-05T10:00:00+00:00")
    moved = [("engine/sum.cpp", "worker/src/sum.cpp")]
    here = {"worker/src/sum.cpp": SUM}
    fork = say("move the sum in", here, renames=moved, when="2024-03-05T10:30:00+00:00")
    weights = {"worker/weights.bin": b"\x00\x01"}
    theirs = {"worker/src/lib.rs": lib.replace("42", "43"), **weights}
    side = say("aside", theirs, ROB, branch="side", parent=fork, when="2024-03-05T11:00:00+00:00")
    ours = {"worker/src/lib.rs": lib.replace("42", "44")}
    say("mainline, with a prefix", ours, when="2024-03-05T11:30:00+00:00")
    solved = {"worker/src/lib.rs": lib.replace("42", "45"), **weights}  # neither theirs nor ours
    fork = say("join", solved, merge=side, when="2024-03-05T12:00:00+00:00")
    docs = {"worker/docs/copy.md": COPY, "worker/docs/same.md": COPY, "worker/docs/near ä.md": NEAR}
    side = say("copies", docs, ROB, branch="docs", parent=fork, when="2024-03-05T13:00:00+00:00")
    say("The loader is VERIFIED", {"worker/FIXED.md": WORKER_FIXED}, when="2024-03-05T13:30:00+00:00")
    say("join the copies", docs, merge=side, when="2024-03-05T14:00:00+00:00")
    folder = [("worker/test", "worker/tests")]
    say("tests in a folder of their own", {}, renames=folder, when="2024-03-06T09:00:00+00:00")
    lib = lib.replace("pub mod cards;\n", "")
    readme = WORKER_README.replace("Status: FIXED\n", "")
    out = {"worker/src/cards.rs": None, "worker/src/lamp.h": None, "worker/README.md": readme}
    out["worker/src/lib.rs"] = lib.replace("42", "45")
    say("take the lamp out", out, when="2024-03-06T09:30:00+00:00")
    readme = {"worker/README.md": f"{readme}The lamp was a false lead.\n"}
    moved = [("worker/src/old.rs", "attic/old.rs")]
    say("move the old one out", readme, ROB, renames=moved, when="2024-03-06T10:00:00+00:00")
    back = f'Revert "Loader is FIXED"\n\nThis reverts commit {undone}.'
    fork = say(back, {"worker/src/load.rs": LOAD}, when="2024-03-06T10:30:00+00:00")
    far = {"specs/shared.md": SHARED_SPEC + "\n", "attic/old.rs": f"{OLD}// more\n"}
    side = say("All is COMPLETE", far, branch="far", parent=fork, when="2024-03-10T09:00:00+00:00")
    say("join what is far: VERIFIED", far, merge=side, when="2024-03-10T10:00:00+00:00")
    for n in range(10):
        files = {"worker/src/lib.rs": lib.replace("42", f"{50 + n}")}
        if n < 6:
            load = LOAD.replace("n < 9", f"n < {10 + n}")
            files["worker/src/load.rs"] = load
        minute = 48 + 6 * n
        say(f"answer {n}", files, when=f"2024-03-20T{18 + minute // 60}:{minute % 60:02}:00+00:00")
    load = load.replace("".join(LOAD_HEAD), LOAD_HEAD_LAST)
    say("rewrite the loader", {"worker/src/load.rs": load}, when="2024-03-21T21:00:00+00:00")
    odd = {"worker/LATEST.md": Link("FIXED.md"), "worker/sum.cpp": Link("src/sum.cpp")}
    odd |= {"worker/third_party": Submodule("5" * 40)}
    say("links and a submodule", odd, LOUD, when="2024-03-21T22:00:00+00:00")
    return story


def make_worker(first, folder):
    """Make the worker, what its build left beside it, and return the hashes by number of the commit."""
    undone = worker("0" * 40).make(first)[3]
    hashes = worker(undone).make(folder)
    (folder / "target").mkdir()
    (folder / "target" / "out.rs").write_text("#[test]\nfn built() {}\n" * 50)
    (folder / "worker" / "NOTES.md").write_text("# DONE\nAll tests pass.\n")  # not ignored, nor tracked
    return hashes


CAROL = "Carol Low <carol@example.org>"
OLD_CAROL = "carol <c@old.example>"  # Carol Low, says .mailmap
DAN = "Dan Moe <dan@example.org>"
QUIET = "dan moe <dan@home.example>"

# The shop: Python, Go, JavaScript and Gherkin, all of it, in the zone of Tokyo (nine hours ahead of UTC).
CART = '''\
"""The cart."""

from shop import pay

TOTAL = 0


# REQ-S-001
def total(prices):
    if not prices:
        return 0
    return sum(prices)
'''
PAY = """\
from shop.cart import total


def pay(prices):
    return total(prices)
"""
PYTHON_TESTS = '''\
import pytest
from shop.cart import total

# REQ-S-009
def test_empty():
    pass
def test_stub():
    """TODO: add up."""
def test_no_check():
    print("adding")
def test_constant():
    assert True
def test_own_values():
    prices = [1, 2]
    assert prices == [1, 2]
def test_swallowed():
    try:
        assert total([1]) == 1
    except Exception:
        pass
def test_only_runs():
    total([1])
def test_silent():
    if not total([1]):
        return
    assert total([1]) == 1
@pytest.mark.skip
def test_skipped():
    assert total([1]) == 1
def test_right():
    assert total([1, 2]) == 3
'''
GO_SUM = """\
package sum

// Sum adds. REQ-S-002
func Sum(a, b int) int {
\treturn a - b
}
"""
GO_TESTS = """\
package sum

import (
\t"fmt"
\t"testing"
)

func TestEmpty(t *testing.T) {}
func TestStub(t *testing.T) { // TODO: add
}
func TestSkipped(t *testing.T) { t.Skip("not implemented") }
func TestNoCheck(t *testing.T) { fmt.Println("adding") }
func TestConstant(t *testing.T) { assert.Equal(t, 1, 1) }
func TestOnlyRuns(t *testing.T) { Sum(1, 2) }
func TestDroppedError(t *testing.T) { _, err := Sum(1, 2); if err != nil { return } }
func TestUnwritten(t *testing.T) { t.Fatal("not implemented") }
func TestMarked(t *testing.T) { t.Log("STUB MODE"); if Sum(1, 2) != 3 { t.Error("wrong") } }
func TestSilent(t *testing.T) { if Sum(1, 2) == 0 { return }; if Sum(1, 2) != 3 { t.Error("wrong") } }
func TestCallsNothing(t *testing.T) { n := 1; assert.Equal(t, n, 2) }
func TestRight(t *testing.T) { if Sum(1, 2) != 3 { t.Error("wrong") } }
func TestFrame(t *testing.T) {
\tt.Run("empty", func(t *testing.T) {})
\tt.Run("right", func(t *testing.T) { if Sum(1, 2) != 3 { t.Error("wrong") } })
}
func ExampleSum() { Sum(1, 2) }
func BenchmarkSum(b *testing.B) { Sum(1, 2) }
"""
JS_PAY = """\
// FIXED: the sign
export function pay(n) {
  return n;
}
"""
JS_CARD = """\
// REQ-S-003
export const card = 1;
"""
JS_TESTS = """\
import { it, test, expect } from 'vitest';
import { pay } from './pay';

it('empty', () => {});
it('pending');
test.todo('todo');
it.skip('skipped', () => { expect(pay(3)).toBe(3); });
it('stub', () => { // TODO: pay
});
it('no check', () => { console.log('paid'); });
it('constant', () => { expect(true).toBe(true); });
it('only runs', () => { pay(3); });
it('swallowed', () => { try { expect(pay(3)).toBe(3); } catch (error) { console.log(error); } });
it('unwritten', () => { throw new Error('not implemented'); });
it('marked', () => { console.log('STUB MODE'); expect(pay(3)).toBe(3); });
it('silent', () => { if (pay(3)) { expect(pay(3)).toBe(3); } });
it('calls nothing', () => { const n = 1; expect(n).toBe(2); });
it('dropped error', async () => { pay(3).catch(() => {}); });
it('right', () => { expect(pay(3)).toBe(3); });
"""
JS_GONE = """\
import { card } from './card';

test('pays', () => { expect(card(3)).toBe(3); });
"""
FEATURE = """\
Feature: Paying

  Scenario: Nothing

  Scenario: Paying
    Given a cart of 3
    When it is paid

  @wip
  Scenario: By card
    Given a cart of 3
    Then the card is charged
"""
STEPS = """\
from behave import given, when
from shop.pay import pay

@given("a cart of {amount:d}")
def a_cart(context, amount):
    context.cart = [amount]

@when("it is paid")
def paid(context):
    pay(context.cart)
"""
SHOP_SPEC = """\
ids:
  REQ-S-001: it MUST add up.
  REQ-S-002: it MUST sum.
  REQ-S-003: it MAY pay by card.
"""
SHOP_README = """\
# Shop

Adds up with `shop/cart.py`.
It is production-ready.
[Terms](docs/terms.md) [Guide](docs/guide.md#end)
"""
GUIDE = """\
# Guide COMPLETE

`shop/cart.py` adds up.
"""
ONE = "one two three four five six\n"


def shop():
    """Tell the history of the shop."""
    story = History()
    say = story.commit

    def cart(number):
        return {"shop/cart.py": CART.replace("TOTAL = 0", f"TOTAL = {number}")}

    begin = {
        ".gitignore": "build/\n",
        ".mailmap": "Carol Low <carol@example.org> <c@old.example>\n",
        "README.md": SHOP_README,
        "copies/one.txt": ONE,
        "data.bin": b"\x00\x01",
        "features/paying.feature": FEATURE,
        "features/steps/paying.py": STEPS,
        "go/go.mod": "module example.org/shop\n",
        "go/sum.go": GO_SUM,
        "go/sum_test.go": GO_TESTS,
        "js/card.js": JS_CARD,
        "js/lost.test.js": JS_GONE,
        "js/pay.js": JS_PAY,
        "js/pay.test.js": JS_TESTS,
        "notes/guide.md": GUIDE,
        "notes/one.txt": ONE,
        "shop/__init__.py": "",
        "shop/pay.py": PAY,
        "specs/shop.yaml": SHOP_SPEC,
        "tests/test_cart.py": PYTHON_TESTS,
        **cart(0),
    }
    say("begin", begin, CAROL, when="2024-06-01T09:00:00+00:00")
    added = {"go/sum.go": GO_SUM.replace("a - b", "a + b")}
    say("fix the sum", added, DAN, when="2024-06-02T09:00:00-07:00")
    moved = {"renames": [("notes", "docs")], "committed": "2024-06-03T05:00:00+00:00"}
    say("docs, not notes", {}, OLD_CAROL, when="2024-06-03T01:00:00+00:00", **moved)
    fork = say("drop the card", {"js/card.js": None}, CAROL, when="2024-06-03T02:00:00+00:00")
    side = say("aside", cart(1), QUIET, branch="side", parent=fork, when="2024-06-03T03:00:00+00:00")
    say("mainline", cart(2), CAROL, when="2024-06-03T03:30:00+00:00")
    say("join: all tests pass", cart(3), CAROL, merge=side, when="2024-06-03T04:00:00+00:00")
    say("one more", cart(4), DAN, when="2024-06-10T02:00:00+00:00")
    say('Revert "one more"', cart(3), DAN, when="2024-06-10T02:30:00+00:00")
    notes = {"docs/notes.txt": "The root cause is the tax."}  # without an end of its line
    say("All 3 tests pass", notes, DAN, when="2024-06-10T03:00:00+00:00")
    readme = {"README.md": SHOP_README.replace("It is production-ready.\n", "")}
    say("cart: a bug", {**cart(5), **readme}, CAROL, when="2024-07-10T02:00:00+00:00")
    return story


def make_shop(folder):
    """Make the shop, what its build left beside it, and return the hashes by number of the commit."""
    hashes = shop().make(folder)
    (folder / "build").mkdir()
    (folder / "build" / "test_built.py").write_text("def test_built():\n    pass\n" * 50)
    return hashes
