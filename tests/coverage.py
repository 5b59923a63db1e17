#!/usr/bin/env python3
"""Lines of core/ that the fast tests run, in a build with --coverage (scripts/test says how it is made), from the counters that lie beside the objects.

usage: coverage.py [--run [-j N] [--part GLOB]...] [--least PERCENT] [--show FILE]... BUILD      (FILE: lines of that source that nobody ran)

--run: takes away the counters that are there and runs the fast tests in BUILD: by ctest unit, property, golden and fuzz-corpus, and end to end what the quick
run of scripts/test runs, but benchmarks. With --part only those parts, and the counters of before stay. Without --run: counts what was run before.
A worker writes its counters when its host closes the channel, so what runs in workers counts as what runs in hosts does; one that is killed writes none: how many
were started and how many wrote is said (some tests kill theirs, and some start what only plays a worker).
Adds up what gcov says of every object of BUILD: a line of a header or a template counts as run where any object ran it. Fails below PERCENT (90), and
where counters do not fit. A part that fails here is said and shown, and judged elsewhere: in this build a process of another user cannot write its counters, nor one that
may write no file, and bounds on time are met late. Last line: N passed, N failed, N skipped (lines)."""
import argparse
import collections
import concurrent.futures
import fnmatch
import json
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

LABELS = "^(unit|property|golden|fuzz-corpus)$"
FEW = ["--interpreter", "2.7", "--interpreter", "3.11", "--interpreter", "3.13"]
END_TO_END = {  # the longest first
    "end to end, quick": ["e2e/run.py", "--quick"],
    "places": ["e2e/places.py"],
    "scenarios": ["e2e/scenarios.py", "--quick"],
    "faults": ["e2e/faults.py"],
    "traverse": ["traverse/run.py", "--quick"],
    "triage": ["e2e/triage.py", "--interpreter", "3.12"],
    "SQL": ["e2e/sql.py", "--quick"],
    "questions": ["e2e/questions.py", "--quick"],
    "heap": ["e2e/heap.py", "--quick"],
    "single objects": ["e2e/explain.py", "--quick"],
    "bad input": ["e2e/bad_input.py"],
    "reference counts": ["e2e/refcounts.py", "--quick"] + FEW,
    "reference counting bugs": ["e2e/refcount_bugs.py"] + FEW,
    "bad traverse": ["e2e/bad_traverse.py", "--interpreter", "2.7", "--interpreter", "3.13"],
    "member labels": ["e2e/member_labels.py"] + FEW,
    "report page": ["e2e/report.py", "--interpreter", "3.12"],
    "prompt": ["e2e/prompt.py"],
    "saved index": ["e2e/saved_index.py", "--quick"],
    "self-test": ["e2e/self_test.py"],
    "any moment": ["e2e/any_moment.py", "--count", "20"],
    "phases of a collection": ["e2e/moments.py", "--quick", "--kind", "all"],
}


def run_part(build, name, command):
    """Runs one part, and says what it came to."""
    environment = dict(os.environ, PYGC_BUILD=build)
    begun = time.monotonic()
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
    said = ran.stdout.decode(errors="replace").rstrip().splitlines()
    total = next((line for line in reversed(said) if re.search(r"\d+ passed, \d+ failed|tests failed out of", line)), said[-1] if said else "")
    print("%-8s %-26s %5d s  %s" % ("FAILED" if ran.returncode else "ok", name, time.monotonic() - begun, total))
    for line in said[-40:] if ran.returncode else []:
        print("    " + line)
    sys.stdout.flush()


def run_fast_tests(build, globs, jobs):
    """Runs the fast tests, or those parts whose name matches."""
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    if not globs:
        for folder, _, names in os.walk(build):
            for n in names:
                if n.endswith(".gcda"):
                    os.unlink(os.path.join(folder, n))

    def chosen(name):
        return not globs or any(fnmatch.fnmatchcase(name, g) for g in globs)

    if chosen("ctest"):
        run_part(build, "ctest", ["ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error", "-j", str(jobs), "-L", LABELS])
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda p: run_part(build, p[0], [python, os.path.join(ROOT, "tests", p[1][0])] + p[1][1:]), [p for p in END_TO_END.items() if chosen(p[0])]))


STARTED, WROTE = "pygc::worker::WorkerClient::Start(", "pygc::standalone::(anonymous namespace)::RunWorker("


def counted(path):
    """({source: {line: runs}} of one object, what gcov says is wrong with its counters, {STARTED, WROTE: calls})"""
    ran = subprocess.run(["gcov", "--json-format", "--stdout", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=os.path.dirname(path))
    said = [line for line in ran.stderr.decode(errors="replace").splitlines() if path.endswith(".gcda") and "cannot open data file" not in line]
    out, calls = {}, collections.Counter()
    for text in ran.stdout.splitlines():
        document = json.loads(text.decode())
        for f in document["files"]:
            for function in f["functions"]:
                for name in (STARTED, WROTE):
                    calls[name] += function["execution_count"] if function["demangled_name"].startswith(name) else 0
            source = os.path.realpath(os.path.join(document["current_working_directory"], f["file"]))
            if not source.startswith(os.path.join(ROOT, "core", "")):
                continue
            lines = out.setdefault(os.path.relpath(source, ROOT), {})
            for line in f["lines"]:
                lines[line["line_number"]] = lines.get(line["line_number"], 0) + line["count"]
    return out, said, calls


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("build")
    parser.add_argument("--least", type=float, default=90)
    parser.add_argument("--show", action="append", default=[])
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--part", action="append", default=[])
    parser.add_argument("-j", type=int, default=os.cpu_count())
    options = parser.parse_args()
    build = os.path.realpath(options.build)
    if options.run:
        run_fast_tests(build, options.part, options.j)
    misfits = 0
    # Objects that no program has linked or run have notes without counters: their lines count as not run.
    notes = [os.path.join(folder, n) for folder, _, names in os.walk(build) for n in names if n.endswith(".gcno")]
    counters = [n[:-4] + "gcda" if os.path.exists(n[:-4] + "gcda") else n for n in notes]
    lines, calls = collections.defaultdict(dict), collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found, said, called in pool.map(counted, counters):
            calls += called
            if said:  # counters of another build of that object, or cut by a signal: all its lines would count as not run
                print("FAILED  counters: %s" % " | ".join(said[:2]))
                misfits += 1
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
    print("workers: %d started, %d wrote their counters" % (calls[STARTED], calls[WROTE]))
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
    failed = misfits + (0 if percent >= options.least else all_ - run)
    print("%d passed, %d failed, 0 skipped" % (run, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
