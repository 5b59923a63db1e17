#!/usr/bin/env python3
"""Every fixture says what must be found, ends in the oracle, and is one that the e2e tests run."""
import ast
import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TESTS, "e2e"))
import cases  # noqa: E402

PROGRAMS = os.path.join(os.path.dirname(TESTS), "fixtures", "programs")


def main():
    found = []
    names = sorted(n[:-3] for n in os.listdir(PROGRAMS) if n.endswith(".py") and n != "oracle.py")
    for name in names:
        with open(os.path.join(PROGRAMS, name + ".py")) as f:
            text = f.read()
        doc = ast.get_docstring(ast.parse(text)) or ""
        if "ust be found" not in doc:
            found.append("%s: the docstring does not say what must be found" % name)
        if "oracle." not in text:
            found.append("%s: does not end in the oracle" % name)
    run = {c.program for c in cases.CASES}
    for name, runner in cases.ELSEWHERE.items():
        with open(os.path.join(TESTS, "e2e", runner)) as f:
            if '"%s"' % name in f.read():
                run.add(name)
    found += ["%s: no e2e test runs it" % n for n in names if n not in run]
    found += ["%s: an e2e case without a program" % n for n in run if n not in names]
    print("\n".join(found) if found else "%d fixtures" % len(names))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
