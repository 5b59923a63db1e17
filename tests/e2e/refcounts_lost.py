#!/usr/bin/env python3
"""Leaked objects of some fifty types of C code without a collector are found, whatever is known of the types, and nothing else is.

usage: refcounts_lost.py [-v] [--interpreter TEXT]...

For each interpreter (free-threaded ones up to 3.13) three processes of refcounts/lost_program.py: small objects, those with much memory of their own, and those that malloc
gives mappings of their own. Each leaked object is
reported as lost, or `--all` lists it with the words that explain it: memory of other lost objects that was never filled, mostly. Of the small ones at least 85 % are reported. A class that a module's
state has, with a count one too high, is a surplus by one.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import argparse
import collections
import json
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

PROGRAM = os.path.join(HERE, "refcounts", "lost_program.py")
SECONDS = 60
REPORTED = {"small": 0.85, "large": 0, "mapped": 0.5}  # mapped: a word of a few bytes of text and stale ones behind it leads into one that has many megabytes
LEAST_KINDS = {"small": 15, "large": 5, "mapped": 5}


def check(pid, truth, which):
    """([what is wrong], planted, reported)"""
    ran = process.pygc("-p", pid, "refcounts", "--all", "--format", "json", "--limit", "0", timeout=SECONDS)
    if ran.code != 1:
        return ["exit %s, not 1: %s" % (ran.code, ran.tail())], 0, 0
    result = json.loads(ran.out)["result"]
    found = {f["object"]: f for f in result["refcount_findings"]}
    explained = {f["object"] for f in result["explained_by_words"] if f["words"]}
    wrong, missed, reported = [], collections.Counter(), 0
    for address, kind in truth["planted"].items():
        f = found.pop(address, None)
        reported += f is not None
        if f is not None and (f["kind"] != "lost" or f["recorded"] != 1):
            wrong.append("%s %s: %s with a count of %d, not lost with 1" % (kind, address, f["kind"], f["recorded"]))
        if f is None and address not in explained:
            missed[kind] += 1
    wrong += ["%d of kind %s are in no list" % (n, kind) for kind, n in missed.items()]
    if reported < REPORTED[which] * len(truth["planted"]):
        wrong.append("only %d of %d are reported" % (reported, len(truth["planted"])))
    for address, name in truth["classes"].items():
        f = found.pop(address, None)
        if f is None or f["kind"] != "surplus" or f["recorded"] - f["found"] != 1 or f["possible"]:
            wrong.append("class %s, one too high: %s" % (name, f and (f["kind"], f["recorded"], f["found"], f["possible"])))
    for f in found.values():
        wrong.append("nobody leaked %s %s at %s: count %d, found %d, possible %d" % (f["kind"], f["type"], f["object"], f["recorded"], f["found"], f["possible"]))
    if truth["kinds"] < LEAST_KINDS[which]:
        wrong.append("only %d kinds" % truth["kinds"])
    return wrong, len(truth["planted"]), reported


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    options = p.parse_args()
    passed = failed = skipped = 0
    totals = collections.Counter()
    for i in interpreters.discover():
        if options.interpreter and not any(i.name.startswith(t) for t in options.interpreter):
            continue
        if not interpreters.counts_are_audited(i):
            print("skipped %s: counts of free-threaded builds from 3.14 on are not audited" % i.name)
            skipped += 1
            continue
        if i.name.startswith("2.") and "dbg" in i.name:
            print("skipped %s: with Py_TRACE_REFS objects that the collector does not track are not looked for" % i.name)
            skipped += 1
            continue
        for which in sorted(REPORTED):
            try:
                with process.Program(i.path, PROGRAM, [which]) as program:
                    wrong, planted, reported = check(program.pid, program.truth, which)
            except process.CannotTest as e:
                skipped += "ctypes" in str(e)
                failed += "ctypes" not in str(e)
                print("%s %s: %s" % ("skipped" if "ctypes" in str(e) else "FAILED ", i.name, e))
                break
            totals.update(planted=planted, reported=reported)
            failed += bool(wrong)
            passed += not wrong
            if wrong or options.verbose:
                print("%s %s %s: %d of %d reported" % ("FAILED " if wrong else "ok     ", i.name, which, reported, planted))
            for w in wrong[:20]:
                print("        %s" % w)
            sys.stdout.flush()
    print("%d leaked, %d reported (%.1f %%)" % (totals["planted"], totals["reported"], 100.0 * totals["reported"] / max(1, totals["planted"])))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
