"""A small repository in many languages, whose structure and documents are known by construction."""

import os
import subprocess
import sys
from pathlib import Path

from tests.postmortem.build import History

FIXED = """\
# Parser FIXED

All of `core.py` works. See [the core](core.py), [gone](gone.py) and [part](#details).

```
# DONE
[in code](nowhere.md)
```

## Details

![picture](../images/none.png) [up](../README.md#a-title) [wrong](../README.md#no-title)
[by name][ref] and `[span](nowhere.md)` and <a href="lost.html">lost</a>

[ref]: missing.md
[else]: https://example.org/x.md
"""
README = "# A title\n\nNothing is named here.\n"
CORE = '''\
"""What it does."""

from pkg import helper
import pkg.grüße


# one
def first(a, b):
    if a and b:
        return 1
    return 0


def second():
    return helper.x
'''
HELPER = "from pkg.core import first\n\nx = 1\n"
KERNEL = """\
#include "kernel.cuh"
#include <stdio.h>
// #include "other.h"
/* a comment
#include "other.h" */
__global__ void add(int *a) {
  if (a[0] > 1) {
    a[0] = 2;
  }
  for (int i = 0; i < 3; i++) {
    a[i] = i;
  }
}
"""
ONE = """\
use super::Two; pub struct One;
trait Says { fn one(&self) -> &'static str; }
fn is_quote(byte: u8) -> bool
where
    u8: Sized,
{
    match byte {
        b'"' | b'\\'' if byte > 0 => true,
        b'{' => Some(1)? > 2,
        _ => false && true,
    }
}
"""
LIB = """\
mod parts;
pub mod other;
use crate::parts::{ // both
    one::One, Two};
use std::fmt;
"""
PARTS = "use super::other::Three;\npub mod one;\npub struct Two;\n"
WORDS = " ".join(f"w{n}" for n in range(60))
APP = 'import { a } from "./lib";\nconst b = require("./data.js");\nimport react from "react";\n'
GO = """\
package main

import (
\t"fmt"

\t"example.org/m/inner"
)

func main() { fmt.Println(inner.X) }
"""


def make(folder):
    """Make it, and put ignored build output beside what is tracked. Returns the hashes by mark."""
    history = History()
    history.commit("begin", {
        ".gitignore": "build/\n",
        ".gitattributes": "*.py export-ignore\n",
        "README.md": README,
        "pkg/__init__.py": "",
        "pkg/core.py": CORE,
        "pkg/old.py": HELPER,
        "pkg/grüße.py": "x = 2",
        "pkg/DONE.md": FIXED,
        "src/lib.rs": LIB,
        "src/parts/mod.rs": PARTS,
        "src/parts/one.rs": ONE,
        "src/other.rs": "pub struct Three;\nmod tests {\n    use super::*;\n}\n",
        "Cargo.toml": '[package]\nname = "parts-of-it"\n',
        "gpu/kernel.cu": KERNEL,
        "gpu/kernel.cuh": "#pragma once\n",
        "gpu/other.h": "int other;\n",
        "web/app.ts": APP,
        "web/lib.ts": "export const a = 1;\n",
        "web/data.js": "module.exports = 1;\n",
        "go/main.go": GO,
        "go/go.mod": "module example.org/m\n",
        "go/inner/inner.go": "package inner\n\nvar X = 1\n",
        "ci.yaml": "a: 1\n# why\nb: 2\n",
        "a.feature": "Feature: it\n  Scenario: it\n    Given it\n",
        "made.py": "# this is a generated file\nx = 1\n\n\ndef f():\n    return 1\n",
        "image.png": b"\x89PNG\0\0\n\n\n",
        "Cargo.lock": "[[package]]\n",
        "CMakeLists.txt": "project(x)\n",
        "notes/eins zwei ä.txt": f"{WORDS}\n",
        "notes/copy.md": f"{WORDS}\n",
        "notes/near.md": f"{WORDS} and more",
        "notes/other.md": "nothing alike in it, not one of its words\n",
    })  # fmt: skip
    history.commit(
        "helper has a name", {}, renames=[("pkg/old.py", "pkg/helper.py"), ("pkg/DONE.md", "pkg/FIXED.md")]
    )
    history.commit("fix: the core was wrong", {"pkg/core.py": CORE + "\n"})
    history.commit("say more", {"README.md": README + "more\n"})
    history.commit("fix: again", {"pkg/core.py": CORE})
    hashes = history.make(folder)
    (folder / "build").mkdir()
    (folder / "build" / "out.py").write_text("def f():\n    return 1\n" * 100)
    (folder / "untracked.md").write_text("# DONE\n")
    return hashes


def ask(folder, command):
    """Run a command of a figure as a person would who has installed llorch, pygount and lizard."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": tools, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.strip()
