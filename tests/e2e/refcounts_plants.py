#!/usr/bin/env python3
"""Counts that are one too high are told although the objects' addresses lie in memory that is not in use: each, with what hangs on it, and nothing else.

usage: refcounts_plants.py [-v] [--interpreter TEXT]... [--plant NAME]...

For each interpreter from 3.6 on (free-threaded ones up to 3.13), four processes of refcounts/plants_program.py: 44 objects held by a dict, a tree with links to parents, the same
leaked by a node in its middle, a dict after a Py_INCREF() that was forgotten. Each planted object is the finding of its kind, the first one too; The
objects and bytes that hang on a lost one are as gc.get_referents() and sys.getsizeof() have them, in `refcounts` and `leaks --audit`. One of the 44 may be explained by a place in a C function's part
of a stack: what the function has not written there is not known. Up to 3.9 without symbols (Debian) the lists of tuples and key tables that wait are not found, so
there each is told or explained by words that are named.
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

PROGRAM = os.path.join(HERE, "refcounts", "plants_program.py")
SECONDS = 60
KINDS = {"held": "surplus", "tree": "lost", "node": "lost", "forgotten": "lost"}


def result_of(arguments, wrong, codes=(1,)):
    ran = process.pygc(*(arguments + ["--format", "json", "--limit", "0"]), timeout=SECONDS)
    if ran.code not in codes:
        wrong.append("%s: exit %s, not %s: %s" % (arguments[2], ran.code, codes, ran.tail()))
        return None
    return json.loads(ran.out)["result"]


def hanging_on(finding):
    return {"objects": sum(t["objects"] for t in finding["held"]), "bytes": finding["bytes_with_held"]}


def check_findings(pid, truth, kind, stripped, wrong):
    result = result_of(["-p", pid, "refcounts", "--all"], wrong, (0, 1) if stripped else (1,))
    on_stack = 0
    if result is None:
        return
    findings = result["refcount_findings"]
    found = {f["object"]: f for f in findings}
    words = {f["object"]: f["words"] for f in result["explained_by_words"]}
    for address, (name, size) in truth["planted"].items():
        f = found.pop(address, None)
        places = [w["place"] for w in words.get(address, [])]
        if f is None and places and (stripped or (len(truth["planted"]) > 1 and on_stack == 0 and all(place.startswith("stack of thread") for place in places))):
            on_stack += 1
        elif f is None:
            wrong.append("%s %s: not reported, but explained by %s" % (name, address, places or "nothing"))
        elif f["bytes"] != size:
            wrong.append("%s %s: %d bytes, sys.getsizeof() says %d" % (name, address, f["bytes"], size))
        elif not stripped and truth["hanging"] != hanging_on(f) and (truth["hanging"] or f["held"]):
            wrong.append("%s %s: with it %s, not %s" % (name, address, hanging_on(f), truth["hanging"]))
        elif f["kind"] not in ((kind, "surplus") if stripped else (kind,)) or f["recorded"] - f["found"] != 1:
            wrong.append("%s %s: %s, %d found of %d; not %s by 1" % (name, address, f["kind"], f["found"], f["recorded"], kind))
    for f in found.values():
        wrong.append("nobody planted %s %s at %s, count %d, found %d, possible %d" % (f["kind"], f["type"], f["object"], f["recorded"], f["found"], f["possible"]))
    if findings and findings[0]["object"] not in truth["planted"]:
        wrong.append("the first finding is another object")


def check_hanging(pid, truth, wrong):
    result = result_of(["-p", pid, "leaks", "--audit"], wrong)
    if result is None:
        return
    lost = [g for g in result["groups"] if g["reason"] == "lost"]
    if len(lost) != 1 or list(truth["planted"]) != lost[0]["addresses"]:
        wrong.append("leaks --audit: lost are %s" % [g["addresses"] for g in lost])
        return
    if hanging_on(lost[0]) != truth["hanging"]:
        wrong.append("leaks --audit: with it %s, not %s: %s" % (hanging_on(lost[0]), truth["hanging"], lost[0]["held"]))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    p.add_argument("--plant", action="append", default=[], choices=sorted(KINDS))
    options = p.parse_args()
    passed = failed = skipped = 0
    for i in interpreters.discover():
        if options.interpreter and not any(i.name.startswith(t) for t in options.interpreter):
            continue
        if i.name.startswith("2."):  # its ints are their values in memory: those of addresses look like references
            continue
        if not interpreters.counts_are_audited(i):
            print("skipped %s: counts of free-threaded builds from 3.14 on are not audited" % i.name)
            skipped += 1
            continue
        for plant in options.plant or KINDS:
            wrong = []
            try:
                with process.Program(i.path, PROGRAM, [plant]) as program:
                    stripped = "-cache" in i.name and i.name.startswith("3.9.")
                    check_findings(program.pid, program.truth, KINDS[plant], stripped, wrong)
                    if program.truth["hanging"] and not stripped:
                        check_hanging(program.pid, program.truth, wrong)
            except process.CannotTest as e:
                if "ctypes" in str(e):
                    skipped += 1
                    print("skipped %s: no ctypes: %s" % (i.name, e))
                    break
                wrong.append("could not be tested: %s" % e)
            failed += bool(wrong)
            passed += not wrong
            if wrong or options.verbose:
                print("%s %s %s" % ("FAILED " if wrong else "ok     ", i.name, plant))
            for w in wrong[:20]:
                print("        %s" % w)
            sys.stdout.flush()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
