#!/usr/bin/env python3
"""Every test that tests/e2e/FAULTS.md names is there: `file: text` stands for a text that the file holds. A fault without a test says why."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def faults(lines, read):
    for number, line in enumerate(lines, 1):
        if not line.startswith("| ") or line.startswith(("| fault", "| ---", "| **")):
            continue
        cell = line.split(" | ", 1)[1]
        named = re.findall(r"`([^`:]+\.(?:py|cc|h)): ([^`]+)`", cell)
        if not named and "not made" not in cell:
            yield number, "neither a test nor a reason"
        for path, text in named:
            try:
                if text not in read(path):
                    yield number, "%s does not hold %r" % (path, text)
            except OSError as e:
                yield number, str(e)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def main():
    with open(os.path.join(ROOT, "tests", "e2e", "FAULTS.md"), encoding="utf-8") as f:
        lines = f.read().splitlines()
    found = list(faults(lines, read))
    for number, what in found:
        print("FAULTS.md:%d: %s" % (number, what))
    if len(list(faults(["| a | `x.py: b` |", "| a | c |"], lambda path: ""))) != 2:
        print("the check finds nothing")
        return 1
    print("%d rows" % sum(line.startswith("| ") for line in lines))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
