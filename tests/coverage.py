#!/usr/bin/env python3
"""Lines of core/ that the fast tests have run in a build with --coverage: after ctest and the quick end-to-end tests, from the counters that lie beside the objects.

usage: coverage.py BUILD [--least PERCENT] [--show FILE]...      (FILE: lines of that source that nobody ran)

Adds up what gcov says of every object of BUILD: a line of a header or a template counts as run where any object ran it. Fails below PERCENT (90). Last line:
N passed, N failed, N skipped (lines)."""
import argparse
import collections
import concurrent.futures
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def counted(path):
    """{source: {line: runs}} of one object."""
    ran = subprocess.run(["gcov", "--json-format", "--stdout", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=os.path.dirname(path))
    out = {}
    for text in ran.stdout.splitlines():
        document = json.loads(text.decode())
        for f in document["files"]:
            source = os.path.realpath(os.path.join(document["current_working_directory"], f["file"]))
            if not source.startswith(os.path.join(ROOT, "core", "")):
                continue
            lines = out.setdefault(os.path.relpath(source, ROOT), {})
            for line in f["lines"]:
                lines[line["line_number"]] = lines.get(line["line_number"], 0) + line["count"]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("build")
    parser.add_argument("--least", type=float, default=90)
    parser.add_argument("--show", action="append", default=[])
    options = parser.parse_args()
    # Objects that no program has linked or run have notes without counters: their lines count as not run.
    notes = [os.path.join(folder, n) for folder, _, names in os.walk(os.path.realpath(options.build)) for n in names if n.endswith(".gcno")]
    counters = [n[:-4] + "gcda" if os.path.exists(n[:-4] + "gcda") else n for n in notes]
    lines = collections.defaultdict(dict)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(counted, counters):
            for source, runs in found.items():
                for line, count in runs.items():
                    lines[source][line] = lines[source].get(line, 0) + count
    if not lines:
        print("no counters under %s: a build with --coverage, and ctest, come first\n0 passed, 1 failed, 0 skipped" % options.build)
        return 1
    folders = collections.defaultdict(lambda: [0, 0])
    for source, runs in lines.items():
        folder = folders[os.path.dirname(source)]
        folder[0] += sum(1 for c in runs.values() if c)
        folder[1] += len(runs)
    for folder, (run, all_) in sorted(folders.items()):
        print("%-16s %6d of %6d lines, %.1f %%" % (folder, run, all_, 100.0 * run / all_))
    print("files with most lines that nobody ran:")
    for source, runs in sorted(lines.items(), key=lambda s: -sum(1 for c in s[1].values() if not c))[:25]:
        print("  %-44s %5d of %5d" % (source, sum(1 for c in runs.values() if not c), len(runs)))
    for shown in options.show:
        missed = sorted(n for n, c in lines.get(shown, {}).items() if not c)
        with open(os.path.join(ROOT, shown)) as f:
            text = f.read().splitlines()
        for n in missed:
            print("%s:%d: %s" % (shown, n, text[n - 1]))
    run, all_ = (sum(f[i] for f in folders.values()) for i in (0, 1))
    percent = 100.0 * run / all_
    print("core/: %d of %d lines, %.1f %% (at least %.0f %% wanted)" % (run, all_, percent, options.least))
    print("%d passed, %d failed, 0 skipped" % (run, 0 if percent >= options.least else all_ - run))
    return 0 if percent >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
