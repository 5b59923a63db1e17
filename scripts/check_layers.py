#!/usr/bin/env python3
"""Holds the order of the layers: every #include in core/ and plugin/ against core/layers.txt.

usage: scripts/check_layers.py [--root DIR] [--self-test]

Checks: a file includes only its own layer and those that its layer may use; includes go from the root; a header fenced by
an `only` line is included nowhere else; only core/cpython compares versions of CPython; core/ neither prints, aborts nor exits.
Not for: link order (cmake/pygc_layers.cmake reads the same file). Exit 0: nothing found; 1: each finding on a line.
--self-test plants one violation of each kind in a copy and fails unless each is found.
"""
import argparse
import os
import re
import shutil
import sys
import tempfile

SOURCES = (".h", ".cc", ".cpp", ".c", ".hpp", ".inc", ".def")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
STRINGS_AND_COMMENTS = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.S)

# What the words of ARCHITECTURE.md's invariants look like in code. (pattern, where it is at home, what is wrong elsewhere)
HABITS = [
    (re.compile(r"\bhexversion\b|\b0x030[0-9a-f]{5}\b|\bversion(?:\(\))?\s*(?:[<>]=?|[!=]=)|[<>=]=?\s*PythonVersion\s*[({]"), ("core/cpython",),
     "compares a version of CPython: ask the Layout what it has"),
    (re.compile(r"\bstd::c(?:out|err)\b|(?<![\w:])(?:std::)?(?:f?printf|f?puts|perror)\s*\("), ("plugin",), "core/ prints nothing"),
    (re.compile(r"(?<![\w:.>])(?:std::)?(?:abort|_?exit|quick_exit|terminate)\s*\("), ("plugin",), "core/ neither aborts nor exits"),
]


def parse_layers(text):
    """(layers {name: allowed set}, fences [(set of layers, header prefix)], errors) of core/layers.txt."""
    layers, fences, errors = {}, [], []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        if ":" not in line:
            errors.append("core/layers.txt:%d: no colon" % number)
            continue
        left, right = (part.split() for part in line.split(":", 1))
        if left[0] == "only":
            fences += [(set(left[1:]), header) for header in right]
            errors += ["core/layers.txt:%d: `only` names %s, which is no layer" % (number, l) for l in left[1:] if l not in layers]
            continue
        for used in right:
            if used not in layers:
                errors.append("core/layers.txt:%d: %s uses %s, which is declared later or not at all" % (number, left[0], used))
        layers[left[0]] = set(right)
    return layers, fences, errors


def layer_of(path, layers):
    """The layer that holds `path` ('core/elf/elf_file.h'); None where no declared folder does."""
    while path:
        path = os.path.dirname(path)
        if path in layers:
            return path
    return None


def check_file(path, text, layers, fences):
    """The findings of one file, each 'path:line: what'."""
    mine = layer_of(path, layers)
    if mine is None:
        return ["%s:1: lies in no layer of core/layers.txt" % path]
    found = []

    def say(at, what):
        found.append("%s:%d: %s" % (path, text.count("\n", 0, at) + 1, what))

    for m in INCLUDE.finditer(text):
        quote, name = m.groups()
        for homes, header in fences:
            if (name == header or name.startswith(header + "/") or os.path.basename(name) == header) and mine not in homes:
                say(m.start(), "%s includes %s, which only %s may" % (mine, name, " ".join(sorted(homes))))
        if name.startswith(("core/", "plugin/")):
            theirs = layer_of(name, layers)
            if theirs is None:
                say(m.start(), "%s lies in no layer" % name)
            elif theirs != mine and theirs not in layers[mine]:
                say(m.start(), "%s includes %s: %s may use only %s" % (mine, name, mine, " ".join(sorted(layers[mine])) or "nothing"))
        elif name.startswith(("tests/", "fixtures/", "scripts/")):
            say(m.start(), "%s includes %s: the product knows no tests" % (mine, name))
        elif quote == '"' and not name.endswith((".inc", "_generated.h")):
            say(m.start(), 'includes "%s": includes go from the root' % name)
    code = STRINGS_AND_COMMENTS.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)
    for pattern, homes, what in HABITS:
        if not path.startswith(tuple(h + "/" for h in homes)):
            for m in pattern.finditer(code):
                if path.startswith("core/"):
                    say(m.start(), "%s: %s" % (m.group(0).strip(), what))
    return found


def check(root):
    """(findings, number of files) of the tree below `root`."""
    with open(os.path.join(root, "core", "layers.txt")) as f:
        layers, fences, found = parse_layers(f.read())
    files = 0
    for top in ("core", "plugin"):
        for folder, subfolders, names in os.walk(os.path.join(root, top)):
            subfolders.sort()
            for name in sorted(names):
                if name.endswith(SOURCES):
                    files += 1
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8", errors="replace") as f:
                        found += check_file(os.path.relpath(path, root), f.read(), layers, fences)
    return found, files


PLANTS = [
    ("core/graph/planted.h", '#include "core/target/address_space.h"\n', "core/graph may use only"),
    ("core/analysis/planted.cc", '#include "core/objects/type_table.h"\n', "core/analysis may use only"),
    ("core/report/planted.cc", '#  include <lldb/API/SBTarget.h>\n', "only plugin/lldb may"),
    ("core/base/planted.cc", "#include <libelf.h>\n", "only core/elf may"),
    ("core/heap/planted.h", '#include "heap_snapshot.h"\n', "includes go from the root"),
    ("core/unknown/planted.h", "\n", "lies in no layer"),
    ("core/base/planted_test.cc", '#include "tests/support/fake.h"\n', "knows no tests"),
    ("core/objects/planted.cc", "bool f(V v) { return v.hexversion > 5; }\n", "compares a version"),
    ("core/engine/planted.cc", 'void f() { std::cerr << "x"; }\n', "prints nothing"),
    ("core/engine/planted2.cc", 'void f() { std::abort(); }\n', "neither aborts"),
]
INNOCENT = ("core/analysis/innocent.cc", '// #include "core/objects/x.h" in words\n#include "core/graph/csr_graph.h"\n#include <vector>\n'
            'const char* k = "printf( hexversion";\nint main_exit(int);\n')


def self_test(root):
    """Plants each violation alone in a copy of the tree; returns what was not found."""
    errors = []
    with tempfile.TemporaryDirectory(prefix="check_layers") as tmp:
        for top in ("core", "plugin"):
            shutil.copytree(os.path.join(root, top), os.path.join(tmp, top))
        before = set(check(tmp)[0])

        def plant(path, text):
            full = os.path.join(tmp, path)
            made = not os.path.isdir(os.path.dirname(full))
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w") as f:
                f.write(text)
            new = [f for f in check(tmp)[0] if f not in before]
            shutil.rmtree(os.path.dirname(full)) if made else os.unlink(full)
            return new

        for path, text, want in PLANTS:
            new = plant(path, text)
            if len(new) != 1 or want not in new[0] or not new[0].startswith(path):
                errors.append("planted %s (%s): found %s" % (path, want, new))
        new = plant(*INNOCENT)
        if new:
            errors.append("an innocent file was blamed: %s" % new)
        layers = os.path.join(tmp, "core", "layers.txt")
        with open(layers, "a") as f:
            f.write("core/late : core/later\n")
        if not any("declared later" in f for f in check(tmp)[0]):
            errors.append("a layer that uses an undeclared one was not found")
    return errors


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("--root", default=os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    p.add_argument("--self-test", action="store_true")
    a = p.parse_args()
    if a.self_test:
        errors = self_test(a.root)
        print("\n".join(errors) if errors else "self-test: %d planted violations found" % (len(PLANTS) + 1))
        return 1 if errors else 0
    found, files = check(a.root)
    print("\n".join(found) if found else "layers hold: %d files" % files)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
