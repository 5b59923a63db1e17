#!/usr/bin/env python3
"""Counts of random objects of random types, changed by one: each is reported, or explained by a word that is named; of a single one it is the first finding.

usage: refcounts_random.py [-v] [--single N] [--batches N] [--interpreter TEXT]...

For each interpreter (free-threaded ones up to 3.13): N copies of a process with one wrong count (default 100), and N with 50 (default 18): 1,000 objects. Which objects have
references that are not all known is taken from a copy without changes: of these a count that is one too low cannot be told, and they are counted apart.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import signal
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

PROGRAM = os.path.join(HERE, "refcounts", "random_program.py")
SECONDS = 60
BATCH = 50
REPORTED = 0.99  # of those that can be judged; the rest is explained by words in buffers that were never written since their memory held references


class Copies:
    """The forked copies of one program, one at a time."""

    def __init__(self, program):
        self.program = program
        self.said = b""

    def audit(self, line):
        """(what was planted, result of `refcounts --all`)"""
        self.program.child.stdin.write(line.encode() + b"\n")
        self.program.child.stdin.flush()
        while b"COPY " not in self.said or not self.said.endswith(b"\n"):
            chunk = os.read(self.program.child.stdout.fileno(), 4096)
            if not chunk:
                raise process.CannotTest("the program ended")
            self.said += chunk
        pid = int(self.said.split()[-1])
        self.said = b""
        truth = os.path.join(self.program.folder, "truth.json.%d" % pid)
        try:
            with open(truth) as f:
                planted = json.load(f)
            ran = process.pygc("-p", pid, "refcounts", "--all", "--format", "json", "--limit", "0", timeout=SECONDS)
            if ran.code not in (0, 1):
                raise process.CannotTest("exit %s: %s" % (ran.code, ran.tail()))
            return planted, json.loads(ran.out)["result"]
        finally:
            os.kill(pid, signal.SIGKILL)
            os.remove(truth)


def judge(planted, result, unknown, numbers, wrong):
    found = {f["object"]: f for f in result["refcount_findings"]}
    explained = {f["object"]: f for f in result["explained_by_words"]}
    for address, f in found.items():
        if address not in planted:
            wrong.append("a finding that nobody made: %s %s %s, count %d, found %d, possible %d" % (f["kind"], f["type"], address, f["recorded"], f["found"], f["possible"]))
    for address, kind in planted.items():
        numbers["planted"] += 1
        f = found.get(address)
        if f is not None and (f["kind"] == "deficit") == (kind == "deficit"):
            numbers["reported"] += 1
        elif f is not None:
            wrong.append("%s %s: a %s, not a %s" % (f["type"], address, f["kind"], kind))
        elif kind == "deficit" and address in unknown:
            numbers["unknown"] += 1
        elif kind != "deficit" and explained.get(address, {}).get("words"):
            numbers["explained"] += 1
        elif address not in numbers["not judged"]:
            numbers["missed"] += 1
    if len(planted) == 1 and found and result["refcount_findings"][0]["object"] not in planted:
        wrong.append("the first finding is another object")


def run(i, options):
    wrong, numbers = [], {"planted": 0, "reported": 0, "explained": 0, "unknown": 0, "missed": 0, "not judged": set()}
    with process.Program(i.path, PROGRAM) as program:
        copies = Copies(program)
        _, healthy = copies.audit("healthy")
        unknown = {f["object"] for f in healthy["explained_by_words"]}
        for f in healthy["refcount_findings"]:
            wrong.append("a finding without changes: %s %s" % (f["kind"], f["type"]))
        for n in range(options.single):
            judge(*copies.audit("%d 1" % n), unknown=unknown, numbers=numbers, wrong=wrong)
        for n in range(options.batches):
            judge(*copies.audit("%d %d" % (10000 + n, BATCH)), unknown=unknown, numbers=numbers, wrong=wrong)
    judged = numbers["planted"] - numbers["unknown"]
    if numbers["reported"] < REPORTED * judged:
        wrong.append("only %d of %d reported" % (numbers["reported"], judged))
    if numbers["missed"]:
        wrong.append("%d neither reported nor explained" % numbers["missed"])
    return wrong, numbers


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--single", type=int, default=100)
    p.add_argument("--batches", type=int, default=18)
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    options = p.parse_args()
    passed = failed = skipped = 0
    for i in interpreters.discover():
        if options.interpreter and not any(i.name.startswith(t) for t in options.interpreter):
            continue
        if not interpreters.counts_are_audited(i):
            print("skipped %s: counts of free-threaded builds from 3.14 on are not audited" % i.name)
            skipped += 1
            continue
        try:
            wrong, n = run(i, options)
            failed += bool(wrong)
            passed += not wrong
            print("%s %s: %d planted, %d reported, %d explained by a word, %d cannot be judged" % ("FAILED " if wrong else "ok     ", i.name, n["planted"], n["reported"],
                                                                                             n["explained"], n["unknown"]))
            for w in wrong[:20]:
                print("        %s" % w)
        except process.CannotTest as e:
            no_ctypes = "ctypes" in str(e)
            skipped += no_ctypes
            failed += not no_ctypes
            print("%s %s: %s" % ("skipped" if no_ctypes else "FAILED ", i.name, e))
        sys.stdout.flush()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
