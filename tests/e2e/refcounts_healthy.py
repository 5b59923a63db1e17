#!/usr/bin/env python3
"""Healthy processes: no count is called wrong, nothing lost, no cycle hidden, and nearly every reference is known. Exit code 0.

usage: refcounts_healthy.py [-v] [--interpreter TEXT]... [--kind KIND]...

For each interpreter (free-threaded ones up to 3.13): idle, as a library in a C program whose threads have ended (where it is one), the whole standard library imported, eight threads under load, a heap of some 300,000 objects, what
modules of C code give out and have in work, three interpreters that ended after they imported modules, a child of fork() that lacks its parent's threads, one that waits under a profiler, one that never rests
(at eight moments), and a part of CPython's own test suite run in the process (where it is installed). For the interpreter of
scripts/extension-modules: numpy, pandas, lxml, gevent, gi, cffi, and extensions that leak at import. Known leaks (core/cpython/known_counts.cc) are no findings; they are counted apart. Prints
processes, objects, and the share whose every reference is known, and accounted for: known, or with a variable of C code for each that is not (static, or a member of a C
type: core/audit/c_variables.h), or leaked by a known cause. By version too; what C code of packages keeps in variables of its own are words, so there the second share is what is held to a bound.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import extension_modules  # noqa: E402
import interpreters  # noqa: E402
import process  # noqa: E402

PROGRAM = os.path.join(HERE, "refcounts", "healthy_program.py")
LIBRARY = "import os, sys, sysconfig as s; print(os.path.join(s.get_config_var('LIBDIR') or '', s.get_config_var('INSTSONAME') or '')); print(sys.prefix)"
SECONDS = 600
KINDS = ["idle", "embedded", "stdlib", "threads", "heap", "library", "tests", "ended", "forked", "profiled", "busy"]
MOMENTS = 8  # at which a busy process is looked at
LEFT = ["ended", "forked", "busy"]  # much is left that no list has, or in a thread's hand: no bound for the share
PACKAGES = ["numpy", "pandas", "lxml", "gevent", "gi", "cffi", "extensions"]
MIN_TESTS = 500
EXACT = {"old": 0.985, "new": 0.995}  # share of objects with every reference known, by process; before and from 3.11 on
OF_VERSION = {"old": 0.995, "new": 0.999}  # the same of all kinds of processes of a version together
ACCOUNTED, ALL_ACCOUNTED = 0.998, 0.999    # with packages: share with every reference accounted for, by process (saved stacks of greenlets have old words) and of all of a version
STRIPPED = ("3.9.2-cache", "2.7.18-cache")  # without symbols some of the interpreter's file statics are words like others


def embedded(path, folder):
    """(command, environment) of a C program that runs the script behind it in the interpreter's shared library."""
    asked = subprocess.run([path, "-c", LIBRARY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    library, home = (asked.stdout.decode().split("\n") + ["", ""])[:2]
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not os.path.isfile(library) or ".so" not in library or compiler is None:
        raise process.CannotTest("no shared library, or no C compiler")
    program = os.path.join(folder, "embedded")
    made = subprocess.run([compiler, "-O1", "-o", program, os.path.join(HERE, "refcounts", "embedded.c"), "-ldl", "-lpthread"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode:
        raise process.CannotTest("the compiler refused: " + made.stdout.decode(errors="replace").strip()[-200:])
    return [program, library], {"PYTHONHOME": home}


def judge(name, path, kind, version, totals):
    """[what is wrong]"""
    if kind != "embedded":
        return judge_process(name, path, {}, kind, version, totals)
    with tempfile.TemporaryDirectory(prefix="pygc-e2e-") as folder:
        return judge_process(name, *embedded(path, folder), kind, version, totals)


def share(figures, what):
    """Percent of the objects that were judged."""
    return 100.0 * figures[what] / max(1, figures["audited"])


def judge_process(name, command, environment, kind, version, totals):
    wrong = []
    with process.Program(command, PROGRAM, args=[kind], timeout=SECONDS, env=environment) as program:
        if kind == "tests" and program.truth["ran"] < MIN_TESTS:
            raise process.CannotTest("CPython's test suite is not installed: %d tests ran" % program.truth["ran"])
        if kind == "ended" and not program.truth["ended"]:
            raise process.CannotTest("this version makes no interpreters from Python")
        for _ in range(MOMENTS if kind == "busy" else 1):
            ran = process.pygc("-p", program.pid, "refcounts", "--format", "json", "--limit", "0", timeout=SECONDS)
            try:
                result = json.loads(ran.out)["result"]
            except (ValueError, KeyError):
                return ["exit %s: %s" % (ran.code, ran.tail())]
            if ran.code != 0 and (ran.code, kind) != (3, "busy"):  # in the middle of a change some of the heap may be told to be unreadable
                wrong.append("exit %s" % ran.code)
            for f in result["refcount_findings"]:
                wrong.append("%s %s %s: count %d, found %d, possible %d" % (f["kind"], f["type"], f["text"] or f["object"], f["recorded"], f["found"], f["possible"]))
            if result["hidden_cycles"]:
                wrong.append("%d hidden cycles" % result["hidden_cycles"])
    by_fork = sum("after fork()" in known["cause"] for known in result["known_leaks"])
    if by_fork and kind != "forked":
        wrong.append("%d leaks of threads that a parent is said to have had, and it had none" % by_fork)
    series = "new" if version >= (3, 11) else "old"
    bound = EXACT[series]
    if kind in KINDS and kind not in LEFT and result["exact"] < bound * result["audited"]:
        wrong.append("only %d of %d objects have every reference known" % (result["exact"], result["audited"]))
    if kind in PACKAGES and result["accounted"] < ACCOUNTED * result["audited"]:
        wrong.append("only %d of %d objects have every reference accounted for" % (result["accounted"], result["audited"]))
    for total in ("audited", "exact", "accounted", "objects"):
        totals[total] = totals.get(total, 0) + result[total]
    if kind in LEFT:
        group, bounds = "ended interpreters, forked, or busy", (0, 0)
    elif kind in PACKAGES:
        group, bounds = "%d.%d with packages" % version, (0, ALL_ACCOUNTED)
    else:
        group, bounds = ("stripped " if name in STRIPPED else "") + "%d.%d" % version, (OF_VERSION[series],) * 2
    of_group = totals.setdefault("groups", {}).setdefault(group, {"bounds": bounds, "processes": 0, "audited": 0, "exact": 0, "accounted": 0})
    of_group["processes"] += 1
    for total in ("audited", "exact", "accounted"):
        of_group[total] += result[total]
    totals["processes"] = totals.get("processes", 0) + 1
    totals["known"] = totals.get("known", 0) + len(result["known_leaks"])
    print("%-22s %-10s %7d objects, %6.2f %% exact, %6.2f %% accounted for, %d findings, %d known leaks%s" % (
        name, kind, result["objects"], share(result, "exact"), share(result, "accounted"), len(result["refcount_findings"]),
        len(result["known_leaks"]), ", %d tests ran" % program.truth["ran"] if kind == "tests" else ""), flush=True)
    return wrong


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    p.add_argument("--kind", action="append", default=[], metavar="KIND")
    options = p.parse_args()
    cases = []
    for i in interpreters.discover():
        version = tuple(int(v) for v in i.version.split(".")[:2])
        cases += [(i.name, i.path, kind, version, interpreters.counts_are_audited(i)) for kind in KINDS]
    for suite, path in extension_modules.discover():
        version = (3, 11) if suite == "bookworm" else (3, 13)
        cases += [(suite, path, kind, version, True) for kind in PACKAGES]
    totals = {}
    passed = failed = skipped = 0
    for name, path, kind, version, audited in cases:
        if options.interpreter and not any(name.startswith(t) for t in options.interpreter):
            continue
        if options.kind and kind not in options.kind:
            continue
        reason = None if audited else "counts of free-threaded builds from 3.14 on are not audited"
        try:
            if reason is not None:
                raise process.CannotTest(reason)
            wrong = judge(name, path, kind, version, totals)
        except process.CannotTest as e:
            print("skipped %s %s: %s" % (name, kind, e))
            skipped += 1
            continue
        failed += bool(wrong)
        passed += not wrong
        for w in wrong:
            print("FAILED  %s %s: %s" % (name, kind, w))
    if totals:
        for name, group in sorted(totals["groups"].items()):
            for what, bound in zip(("exact", "accounted"), group["bounds"]):
                if not options.kind and group[what] < bound * group["audited"]:
                    failed += 1
                    print("FAILED  %s: %s of less than %.1f %% of the counts" % (name, what, 100 * bound))
            print("%-36s %3d processes, %8d objects audited, %6.2f %% with every reference known, %6.2f %% accounted for" % (
                name, group["processes"], group["audited"], share(group, "exact"), share(group, "accounted")))
        print("%d processes, %d objects, %d of %d audited have every reference known (%.2f %%), %d accounted for (%.2f %%), %d known leaks" % (
            totals["processes"], totals["objects"], totals["exact"], totals["audited"], share(totals, "exact"), totals["accounted"], share(totals, "accounted"), totals["known"]))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
