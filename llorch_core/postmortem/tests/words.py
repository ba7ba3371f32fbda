"""What each language calls a check, a print, and a call that tells nothing about the product."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# In every language: a function or macro of that name checks, or hands on to something that does.
WORD = r"assert|check|verif|expect|require|ensure|should|must_|fail|compare|snapshot|golden|eq_?nice"
CHECKS = rf"(?i:_*({WORD})\w*|\w*_({WORD})\w*)|\w*[a-z](Assert|Check|Verify|Expect|Snapshot)\w*"
TODO = re.compile(
    r"\b(TODO|FIXME|XXX|TBD)\b|(?i:not (yet )?implemented|unimplemented|placeholder|\bstub(bed)?\b"
    r"|\bpending\b|(to|will) be (implemented|written)|test would|implement (me|this|later))"
)
MARKS = re.compile(r"(?i)announce_?stub\w*|(mark|is|as)_?stub\w*|stub_?(mode|only|test)\w*")
MARKED_TEXT = re.compile(r"STUB (MODE|ONLY|IMPLEMENTATION|TEST)|\bstub (implementation|mode)\b")
ABOUT_EQUALITY = re.compile(r"(?i)eq(_|$|ual)|hash|ident|same|reflex|compar|order|nan|cmp|clone|copy")
KEYWORDS = {
    *("if", "for", "while", "switch", "catch", "return", "match", "else", "loop", "in", "do", "try", "new"),
    *("sizeof", "alignof", "decltype", "function", "func", "fn", "defer", "go", "select", "case", "await"),
    *("typeof", "delete", "throw", "async", "move", "let", "const", "auto", "var", "unsafe", "where", "as"),
    *(
        "range",
        "yield",
        "void",
        "co_await",
        "not",
        "and",
        "or",
        "import",
        "constexpr",
        "static",
        "mut",
        "ref",
    ),
}


@dataclass(frozen=True)
class Words:
    """The names of one language; each is matched whole, with what stands before the point as `a.b`.

    checks    a call of it can fail the test
    no_check  looks like one and is none
    always    a call of it is a check that passes always
    truths    checks that a value is true; falsehoods: that it is false; pairs: that two values are equal
    own       the checks of the language and the framework themselves
    skipped   how many arguments stand before the value (Go's t)
    prints    a call of it only writes
    harmless  a call of it tells nothing about the product
    """

    checks: re.Pattern[str]
    no_check: re.Pattern[str]
    always: re.Pattern[str]
    truths: re.Pattern[str]
    falsehoods: re.Pattern[str]
    pairs: re.Pattern[str]
    prints: re.Pattern[str]
    harmless: re.Pattern[str]
    own: re.Pattern[str]
    skipped: int = 0


def words(
    checks: str,
    no_check: str,
    always: str,
    truths: str,
    falsehoods: str,
    pairs: str,
    prints: str,
    harmless: str,
    own: str,
    skipped: int = 0,
) -> Words:
    """Return the names of a language, from its regular expressions."""
    c = re.compile
    one, two = (c(checks), c(no_check), c(always)), (c(truths), c(falsehoods), c(pairs))
    return Words(*one, *two, c(prints), c(harmless), c(own), skipped)


WORDS: Mapping[str, Words] = {
    "Rust": words(
        checks=CHECKS
        + r"|panic|todo|unimplemented|unreachable|unwrap_err|unwrap_none|exit|abort|bail|compile_fail|pass"
        r"|quickcheck|proptest|run_test\w*",
        no_check=r"(.*\.)?(expect|checked_\w+|check_interval|unwrap|fail_fast|failures?|failed)"
        r"|(.*\.)?compare_exchange\w*",
        always=r"",
        truths=r"(debug_)?assert|prop_assert",
        falsehoods=r"assert_false|assert_not",
        pairs=r"(debug_|prop_)?assert_eq",
        prints=r"(e?print(ln)?|dbg|write(ln)?)|((log|tracing)\.)?(trace|debug|info|warn|error)|flush|init_test\w*",
        harmless=r"(Vec|String|HashMap|HashSet|BTreeMap|BTreeSet|VecDeque|Arc|Rc|Box|Mutex|RefCell|Path|PathBuf"
        r"|Instant|Duration|Utc|Default|Cell|Cow|u\d+|i\d+|usize|f\d+|(std\.)?env|mem|thread)\.\w+|Some|Ok|Err|vec"
        r"|format|drop|size_of|size_of_val|env|line|file|stringify|concat|cfg|matches|ptr\.read"
        r"|\w+\.(to_string|to_owned|to_vec|into|clone|len|is_empty|iter|into_iter|iter_mut|collect|map|filter|sum"
        r"|rev|enumerate|zip|push|push_str|insert|as_str|as_ref|as_bytes|as_ptr|as_slice|join|contains"
        r"|starts_with|ends_with|repeat|elapsed|as_secs\w*|as_millis|sleep|unwrap_or\w*|ok|minute|min|max|abs|powi"
        r"|sqrt|is_some|is_none|is_ok|is_err|trim|lines|chars|bytes|split|splitn|count|all|any|get|first|last"
        r"|unwrap|expect|is_finite|is_nan|find|saturating_sub|enumerate)",
        own=r"(debug_)?assert(_eq|_ne)?|panic|unreachable",
    ),
    "C++": words(
        checks=CHECKS
        + r"|(EXPECT|ASSERT|CHECK|REQUIRE|FAIL|ADD_FAILURE|GTEST_FAIL|MATCHER|STATIC_REQUIRE)\w*"
        r"|static_assert|assert|StaticAssertTypeEq|exit|abort|RunTest\w*|On?_?CALL",
        no_check=r"std\.compare|(.*\.)?(compare_exchange\w*|fail|checkpoint\w*)|cuda\w*",
        always=r"SUCCEED|GTEST_SUCCEED",
        truths=r"(EXPECT|ASSERT)_TRUE|CHECK|REQUIRE|assert|static_assert",
        falsehoods=r"(EXPECT|ASSERT)_FALSE|(CHECK|REQUIRE)_FALSE",
        pairs=r"(EXPECT|ASSERT)_(EQ|STREQ|FLOAT_EQ|DOUBLE_EQ|NEAR|LE|GE)",
        prints=r"(std\.)?(f?printf|f?puts|putchar|fflush|flush|endl)|INFO|UNSCOPED_INFO|RecordProperty",
        harmless=r"(.*\.)?(vector|string|array|map|set|pair|tuple|unordered_map|size|empty|begin|end|push_back|data"
        r"|c_str|min|max|abs|fabs|sqrt|exp|move|to_string|getenv|sleep_for|milliseconds|seconds|now|memset|memcpy"
        r"|strlen|str|static_cast|reinterpret_cast|const_cast|get|resize|reserve|iota|int|float|double|size_t"
        r"|uint\d+_t|int\d+_t|count|duration_cast|GTEST_SKIP|SKIP)",
        own=r"(EXPECT|ASSERT|CHECK|REQUIRE)_?\w*|SUCCEED|static_assert|assert",
    ),
    "Go": words(
        checks=r"(\w+\.)?(Error|Errorf|Fatal|Fatalf|Fail|FailNow)|(assert|require|is|c|qt|cmp|gt|td|check|must)\.\w+"
        rf"|Expect|Ω|Eventually|Consistently|panic|(os\.)?Exit|{CHECKS}",
        no_check=r"(fmt|errors|status|http|xerrors|logger|err|w|resp|e|rec|recorder)\.(Error|Errorf)",
        always=r"",
        truths=r"(assert|require)\.Truef?",
        falsehoods=r"(assert|require)\.Falsef?",
        pairs=r"(assert|require)\.(Equal|EqualValues|Exactly)f?",
        prints=r"fmt\.(Print|Fprint)\w*|\w+\.(Log|Logf)|log\.(Print|Printf|Println)|println|print",
        harmless=r"len|cap|make|append|string|int\d*|float\d*|byte|new|copy|\w+\.(Helper|Parallel|Skip\w*|Cleanup|Name)"
        r"|(strings|bytes|strconv|time|fmt|errors|sort|math)\.\w+",
        own=r"(t|b|f|assert|require)\.\w+",
        skipped=1,
    ),
    "JavaScript": words(
        checks=CHECKS + r"|(assert|should|chai|sinon|cy|t|tap|expectTypeOf|page)\.\w+|done"
        r"|(\w+\.)?(rejects|throws|toThrow\w*)|reject",
        no_check=r"(t|tap)\.(log|diagnostic|plan|end|comment|test|before\w*|after\w*)|(\w+\.)?checkbox\w*"
        r"|page\.(goto|click)",
        always=r"(assert|t|chai\.assert)\.pass|succeed",
        truths=r"assert|assert\.(ok|isTrue|isOk)|t\.(ok|true|truthy)",
        falsehoods=r"assert\.(isFalse|isNotOk)|t\.(notOk|false|falsy)",
        pairs=r"assert\.(equal|strictEqual|deepEqual|deepStrictEqual)|t\.(is|equal|same|deepEqual)",
        prints=r"(console|t|tap)\.\w+",
        harmless=r"(Object|Array|Math|JSON|String|Number|Promise|Date|Map|Set)\.\w+|Map|Set|Date|Promise|String|Number"
        r"|Array|Error|_\.to[A-Z]\w*|setTimeout|require|resolve|(.*\.)?(push|map|filter|join|keys|values|length|toString|slice"
        r"|includes|startsWith|endsWith|split|trim|concat)",
        own=r"expect|(assert|t)(\.\w+)?|(\w+\.)?to[A-Z]\w+",
    ),
}
