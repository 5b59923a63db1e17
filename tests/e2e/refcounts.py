#!/usr/bin/env python3
"""Counts that were changed by hand are found, every one and nothing else; healthy processes have no wrong count; blocks agree with the allocator's own sum.

usage: refcounts.py [-v] [--quick] [--interpreter TEXT]...

For each interpreter, debug builds too (free-threaded ones up to 3.13): one process with right counts, one with wrong ones, and one with objects that were freed although something
still refers to them; live and from a core (--quick: live only). Each wrong count is reported, or `--all` lists it with the words of memory that explain it;
the last lines say how many were reported.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

PROGRAM = os.path.join(HERE, "refcounts", "program.py")
DANGLING = os.path.join(HERE, "refcounts", "dangling_program.py")
SECONDS = 60       # of one command, on a busy machine
BLOCKS = 64        # what the program allocates or frees between its sum and its last read
KNOWN = {"default": 0.93, "new": 0.99}  # share of counts with every reference known: up to 3.10 (without symbols; else 0.97), from 3.11 on


def audit(target, codes, wrong):
    ran = process.pygc(*(target + ["refcounts", "--all", "--format", "json", "--limit", "0"]), timeout=SECONDS)
    if ran.code not in codes:
        wrong.append("exit %s, not %s: %s" % (ran.code, codes, ran.tail()))
        return None
    return json.loads(ran.out)["result"]


def check_healthy(target, truth, version):
    wrong = []
    result = audit(target, (0,), wrong)
    if result is None:
        return wrong
    share = result["exact"] / max(1, result["audited"])
    if share < KNOWN["new" if version >= (3, 11) else "default"]:
        wrong.append("only %d of %d counts have every reference known" % (result["exact"], result["audited"]))
    if truth["blocks"] is not None and abs(result["allocated_blocks"] - truth["blocks"]) > BLOCKS:
        wrong.append("%d blocks in use, the interpreter says %d" % (result["allocated_blocks"], truth["blocks"]))
    return wrong


def check_planted(target, truth, trace_refs, numbers):
    """Each is reported, or listed with a word of native memory that explains it. Which words old memory holds is luck; that each is named is not."""
    wrong = []
    result = audit(target, (1,), wrong)
    if result is None:
        return wrong
    found = {f["object"]: f for f in result["refcount_findings"]}
    for address, f in found.items():
        if address not in truth["planted"]:
            wrong.append("a %s that nobody made: %s at %s, count %d, found %d, possible %d" % (f["kind"], f["type"], address, f["recorded"], f["found"], f["possible"]))
    explained = {f["object"]: f for f in result["explained_by_words"]}
    for address, (kind, by) in truth["planted"].items():
        f = found.get(address)
        # With Py_TRACE_REFS what the collector does not track is not looked for, and nowhere objects without a block of their own.
        if f is None and kind == "lost" and address not in explained and (trace_refs or address in truth["shared"]):
            numbers["not looked for"] += 1
            continue
        numbers["planted"] += 1
        if f is None:
            numbers["explained"] += 1
            if address in truth["surely"]:
                wrong.append("%s %s: not found, but explained by %s" % (kind, address, [w["place"] for w in explained.get(address, {}).get("words", [])]))
            elif not explained.get(address, {}).get("words"):
                wrong.append("%s %s: neither found nor explained by words that are named" % (kind, address))
        elif kind == "deficit" and (f["kind"] != kind or f["found"] - f["recorded"] != by):
            wrong.append("%s %s: %s by %d, not %s by %d" % (f["type"], address, f["kind"], f["found"] - f["recorded"], kind, by))
        elif kind != "deficit" and f["kind"] == "deficit":
            wrong.append("%s %s: a deficit, not %s" % (f["type"], address, kind))
        elif kind == "deficit" and len(f["holders"]) < 2:
            wrong.append("%s %s: %d holders named, of two" % (f["type"], address, len(f["holders"])))
    return wrong


def check_dangling(target, truth):
    """Each freed object is a deficit that names what still refers to it, and verify knows it too."""
    wrong = []
    result = audit(target, (1,), wrong)
    if result is None:
        return wrong
    found = {f["object"]: f for f in result["refcount_findings"]}
    for address, holder in truth["freed"].items():
        f = found.pop(address, None)
        if f is None:
            wrong.append("%s was freed and %s refers to it: not found" % (address, holder))
        elif f["kind"] != "deficit":
            wrong.append("%s was freed: a %s" % (address, f["kind"]))
        elif holder not in [h["object"] for h in f["holders"]]:
            wrong.append("%s was freed: %s is not named, but %s" % (address, holder, f["holders"]))
    for f in found.values():
        wrong.append("a %s that nobody made: %s %s, count %d, found %d" % (f["kind"], f["type"], f["object"], f["recorded"], f["found"]))
    ran = process.pygc(*(target + ["verify", "--format", "json"]), timeout=SECONDS)
    if ran.code != 1:
        wrong.append("verify: exit %s: %s" % (ran.code, ran.tail()))
    return wrong


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    options = p.parse_args()
    passed = failed = skipped = 0
    numbers = {"planted": 0, "explained": 0, "not looked for": 0}
    for i in interpreters.discover():
        if options.interpreter and not any(i.name.startswith(t) for t in options.interpreter):
            continue
        if not interpreters.counts_are_audited(i):
            print("skipped %s: counts of free-threaded builds from 3.14 on are not audited" % i.name)
            skipped += 1
            continue
        for name, arguments in (("healthy", ["--healthy"]), ("planted", []), ("dangling", [])):
            try:
                with process.Program(i.path, DANGLING if name == "dangling" else PROGRAM, arguments) as program:
                    ways = [("live", ["-p", program.pid])] + ([] if options.quick else [("core", ["-c", program.gcore()])])
                    for way, target in ways:
                        version = tuple(int(x) for x in i.name.split("-")[0].rstrip("t").split(".")[:2])
                        trace_refs = version < (3, 0) and "dbg" in i.name
                        wrong = (check_healthy(target, program.truth, version) if name == "healthy" else check_dangling(target, program.truth)
                                 if name == "dangling" else check_planted(target, program.truth, trace_refs, numbers))
                        failed += bool(wrong)
                        passed += not wrong
                        if wrong or options.verbose:
                            print("%s %s %s %s" % ("FAILED " if wrong else "ok     ", i.name, name, way))
                        for w in wrong[:20]:
                            print("        %s" % w)
            except process.CannotTest as e:
                if "ctypes" in str(e):
                    skipped += 1
                    print("skipped %s: no ctypes: %s" % (i.name, e))
                else:
                    failed += 1
                    print("FAILED  %s: could not be tested: %s" % (i.name, e))
            sys.stdout.flush()
    print("%d wrong counts: %d reported (%.2f %%), %d listed with the words that explain them; %d lost ones that are not looked for" % (
        numbers["planted"], numbers["planted"] - numbers["explained"], 100.0 * (1 - numbers["explained"] / max(1, numbers["planted"])), numbers["explained"], numbers["not looked for"]))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
