#!/usr/bin/env python3
"""Cores of processes killed by SIGSEGV at random moments, held against what the dead process itself wrote down.

usage: any_moment.py [--count N | --each N] [--seed N] [--interpreter TEXT]... [--kind KIND] [-j N] [--keep-wrong] [-v]

Runs the fixture `churn`, lets it fork a child (threads that allocate, a thread that makes cycles and collects them), kills that, and reads the kernel's core.
A core is right when a report comes out (exit 0, 1 or 3), nothing is called unreachable that the ledger does not list, and each figure
equals the ledger or is called a lower bound or partial. Last lines: what the moments were, then N passed, N failed, N skipped.
"""
import argparse
import collections
import itertools
import os
import random
import shutil
import select
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import compare  # noqa: E402
import interpreters  # noqa: E402
import moments  # noqa: E402
import process  # noqa: E402
from run import Tally  # noqa: E402

MAKING, LET_GO, COLLECTING, FREED = range(4)
CHILDREN = 25       # of one interpreter: then another one is started, whose addresses are others
LONGEST = 0.06      # a moment lies within the child's first so many seconds of processor time, which other programs do not take from it: about ten rounds


def ledger_of(path):
    """(phase, addresses of the cycles' members)"""
    with open(path, "rb") as f:
        data = f.read()
    phase, count = struct.unpack_from("QQ", data, 0)
    return phase, struct.unpack_from("%dQ" % count, data, 16)


def judge(report, rows, truth, phase, listed):
    """([what is wrong], one word for what kind of report it is)"""
    wrong = []
    result = report["result"]
    said = result["interpreters"][0]["phase"]
    exact = report["complete"] and result["certainty"] == "exact"
    found = {a for a, r in rows.items() if r[1] in ("unreachable", "uncollectable")}
    listed = set(listed)

    def some(addresses):
        return compare._some("0x%x %s" % (a, rows[a][0] if a in rows else "?") for a in sorted(addresses))

    if found - listed and phase != FREED:
        wrong.append("unreachable that is not: %d, %s" % (len(found - listed), some(found - listed)))
    if phase == FREED and found:
        wrong.append("unreachable after all was freed: %d, %s" % (len(found), some(found)))
    if result["in_garbage"]:
        wrong.append("in gc.garbage: %d" % result["in_garbage"])
    living = {int(a): name for a, name in truth["living"].items()}
    lost = {a for a in living if a not in rows or rows[a][0] != living[a]}
    if lost and report["complete"]:
        wrong.append("living objects not found and called complete: %d, %s" % (len(lost), some(lost)))
    if phase == LET_GO and exact and found != listed:
        wrong.append("called exact: %d of %d found" % (len(found), len(listed)))
    if phase == COLLECTING and exact and said in ("none", "deciding") and found not in (listed, set()):
        wrong.append("called exact while %s: %d of %d found" % (said, len(found), len(listed)))
    if phase == COLLECTING and exact and said == "deciding" and found != listed:
        wrong.append("called exact while it decides: %d of %d found" % (len(found), len(listed)))
    # One at a count of 0 has been let go of by the collector just now, and is named as being freed.
    left = {a for a in listed if a in rows and rows[a][0] == "__main__.Lost" and rows[a][3] != 0} - found
    if phase == COLLECTING and exact and said in ("freeing", "between") and left:
        wrong.append("called exact, and %d of what is being freed called reachable: %s" % (len(left), some(left)))
    return wrong, "partial" if not report["complete"] else result["certainty"]


class Parent:
    """An interpreter that runs `churn` and forks a child for each death."""

    def __init__(self, interpreter):
        self.program = process.Program(interpreter.path, "churn")
        living = [int(a) for a in self.program.truth["living"]]
        # What judge() looks at, without the tens of thousands of rows of what the threads hold.
        self.where = "o.state <> 'reachable' or t.name = '__main__.Lost' or o.address between %d and %d" % (min(living), max(living))

    def child(self, seed):
        """(pid, folder) of a new child"""
        folder = os.path.join(self.program.folder, "child%d" % seed)
        os.mkdir(folder)
        pipes = self.program.child
        pipes.stdin.write(("%d %s\n" % (seed, folder)).encode())
        pipes.stdin.flush()
        said = b""
        while not said.endswith(b"\n"):
            byte = os.read(pipes.stdout.fileno(), 1) if select.select([pipes.stdout], [], [], 60)[0] else b""
            if not byte:
                raise process.CannotTest("the program forked no child")
            said += byte
        return int(said), folder


def let_run(pid, seconds):
    """Waits until the process has used so many seconds of processor time."""
    clock, end = (~pid << 3) | 2, time.time() + 60      # what clock_getcpuclockid() gives
    while time.time() < end:
        left = seconds - time.clock_gettime(clock)
        if left <= 0:
            return
        time.sleep(left)
    raise process.CannotTest("the program does not run")


def one(name, seed, parent, options, tally, seen):
    folder = None
    try:
        pid, folder = parent.child(seed)
        let_run(pid, random.Random(seed).uniform(0.0, LONGEST))
        core = process.kernel_core(pid, folder, 0x33, signal_name="SEGV")
        phase, listed = ledger_of(os.path.join(folder, "ledger"))
        code, report, rows = moments.read(core, parent.where)
        wrong, kind = judge(report, rows, parent.program.truth, phase, listed)
        said = report["result"]["interpreters"][0]["phase"]
        with tally.lock:
            seen["%s, collection %s, %s" % (("making", "let go", "collecting", "freed")[phase], said, kind)] += 1
        tally.check(name, wrong, "ledger %d, phase %s, %s, exit %s" % (phase, said, kind, code))
    except process.CannotTest as e:
        wrong = ["could not be tested: %s" % e]
        tally.check(name, wrong)
    except (AssertionError, OSError, ValueError, LookupError) as e:     # one core of thousands: the others are looked at all the same
        wrong = ["%s: %s" % (type(e).__name__, e)]
        tally.check(name, wrong)
    if folder:
        if wrong and options.keep_wrong:
            kept = os.path.abspath("any_moment.%s" % name.replace(" ", "."))
            shutil.copytree(folder, kept)
            shutil.copy(os.path.join(parent.program.folder, "truth.json"), kept)
            print("kept", kept)
        shutil.rmtree(folder, ignore_errors=True)


def several(interpreter, seeds, options, tally, seen):
    """One interpreter's children, one after the other."""
    parent = None
    try:
        for seed in seeds:
            name = "%s seed %d" % (interpreter.name, seed)
            try:
                parent = parent or Parent(interpreter)
            except process.CannotTest as e:
                tally.check(name, ["could not be tested: %s" % e])
                continue
            one(name, seed, parent, options, tally, seen)
    finally:
        if parent:
            parent.program.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("--count", type=int, default=50, help="cores in all, the interpreters in turn")
    p.add_argument("--each", type=int, default=0, help="cores of each minor version, its interpreters in turn, instead of --count")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    p.add_argument("--kind", default="default")
    p.add_argument("-j", type=int, default=1)
    p.add_argument("--keep-wrong", action="store_true", help="copy what was judged wrong into the current folder")
    p.add_argument("-v", "--verbose", action="store_true")
    options = p.parse_args()
    tally, seen = Tally(options.verbose), collections.Counter()
    chosen = [i for i in interpreters.discover() if (options.kind == "all" or i.kind == options.kind) and
              (not options.interpreter or any(i.name.startswith(t) for t in options.interpreter))]
    if not chosen:
        print("no such interpreter")
        return 1
    plan = [chosen[n % len(chosen)] for n in range(options.count)]
    if options.each:
        versions = [list(same) for _, same in itertools.groupby(chosen, lambda i: i.hexversion >> 16)]
        plan = [same[n // len(versions) % len(same)] for n in range(options.each * len(versions)) for same in [versions[n % len(versions)]]]
    started = time.time()
    seeds = collections.defaultdict(list)
    for n, i in enumerate(plan):
        seeds[i].append(options.seed + n)
    with ThreadPoolExecutor(max(1, options.j)) as pool:
        for f in [pool.submit(several, i, of[at:at + CHILDREN], options, tally, seen) for i, of in seeds.items() for at in range(0, len(of), CHILDREN)]:
            f.result()
    for what, count in sorted(seen.items()):
        print("%6d  %s" % (count, what))
    for version, cores in sorted(collections.Counter(i.hexversion >> 16 for i in plan).items()):
        print("%6d  of %d.%d" % (cores, version >> 8, version & 255))
    print("%d interpreters, %.0f s" % (len(chosen), time.time() - started))
    print("%d passed, %d failed, %d skipped" % (tally.passed, tally.failed, tally.skipped))
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
