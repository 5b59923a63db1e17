#!/usr/bin/env python3
"""How long a live process of a million objects stands still, as the process itself sees it: the longest gap between two beats of a thread of its own.

usage: pauses.py [--interpreter VERSION] [--reads N] [-v]

N (21) reads by `pygc -p PID leaks`: half of the pauses at most 50 ms for a million objects, all but one in twenty at most 150, and the report says of its pause what the
process saw. Then with --max-pause of 5, 10, 20 and 50 ms, and on a heap of a hundred thousand objects too: in all reads but one in twenty the process stood still no longer
than a fifth more, what it then waited for a processor not counted (the kernel's own account of it); what was not copied is reported as partial, and never nothing. On a
machine with more work than processors bounds on time say nothing: skipped there, with the load. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

SLICE = 5.0     # ms
LIMITS = (5, 10, 20, 50)    # ms
HEART = """
import gc, os, sys, threading, time
class Node(object):
    pass
nodes = []
for i in range(int(sys.argv[1])):
    o = Node()
    o.x = [o]
    nodes.append(o)
gc.collect()
longest = [0.0, 0.0]    # and without what this thread waited for a processor, ready to run
def beat():
    waits = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    waited = lambda: int(os.pread(waits, 99, 0).split()[1]) * 1e-9
    last, before = time.perf_counter(), waited()
    while True:
        time.sleep(0.0005)
        now, wait = time.perf_counter(), waited()
        longest[0] = max(longest[0], now - last)
        longest[1] = max(longest[1], now - last - (wait - before))
        last, before = now, wait
t = threading.Thread(target=beat)
t.daemon = True
t.start()
print(len(gc.get_objects()))
sys.stdout.flush()
for line in sys.stdin:
    print("%r %r" % tuple(longest))
    sys.stdout.flush()
    longest[:] = [0.0, 0.0]
"""


class Heart:
    def __init__(self, interpreter, nodes=500000):
        """A node is two objects."""
        self.child = subprocess.Popen([interpreter.path, "-c", HEART, str(nodes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.objects = int(self.child.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def longest(self):
        """Milliseconds since the last question: the longest gap, and the longest without what the thread waited for a processor."""
        time.sleep(0.01)
        self.child.stdin.write(b"?\n")
        self.child.stdin.flush()
        gap, net = self.child.stdout.readline().split()
        return float(gap) * 1e3, float(net) * 1e3

    def read(self, *options):
        """(exit status, the report, milliseconds of the pause as the report says, as the process saw, and that without what it waited for a processor)"""
        self.longest()
        ran = process.pygc("-p", str(self.child.pid), "leaks", "--format", "json", *options)
        seen = self.longest()
        report = json.loads(ran.out) if ran.code in (0, 1, 3) else {"timing": {}}
        return (ran.code, report, report["timing"].get("pause_seconds", -1) * 1e3) + seen


def percentile(values):
    """That of 19 in 20."""
    return sorted(values)[max(0, len(values) * 19 // 20 - 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--interpreter", default="3.12")
    parser.add_argument("--reads", type=int, default=21)
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    found = next((i for i in interpreters.discover() if i.kind == "default" and i.version.startswith(options.interpreter)), None)
    if found is None:
        print("no such interpreter\n0 passed, 1 failed, 0 skipped")
        return 1
    results, busy = [], 0

    def check(name, good, said, by_the_clock=True):
        nonlocal busy
        if by_the_clock and not good and os.getloadavg()[0] > os.cpu_count():
            busy += 1
            print("SKIPPED %s: load %.1f on %d processors: %s" % (name, os.getloadavg()[0], os.cpu_count(), said), flush=True)
            return
        results.append(good)
        print("%s %s: %s" % ("ok    " if good else "FAILED", name, said), flush=True)

    def limited(heart, limit):
        reads = [heart.read("--max-pause", str(limit)) for _ in range(options.reads)]
        name = "--max-pause %d, %d objects" % (limit, heart.objects)
        codes = sorted(read[0] for read in reads)
        # One that was quick enough for the limit is whole.
        check(name + ": whole or partial", all(code in (0, 3) and (code == 3) == (not report.get("complete", True)) for code, report, *_ in reads), "exits %s" % codes, by_the_clock=False)
        for who, pauses in (("the report says", [read[2] for read in reads]), ("the process saw", [read[4] for read in reads])):
            check("%s: as %s" % (name, who), percentile(pauses) <= 1.2 * limit,
                  "half %.1f, 19 of 20 %.1f, all %.1f ms; load %.1f" % (statistics.median(pauses), percentile(pauses), max(pauses), os.getloadavg()[0]))

    with Heart(found) as heart:
        million = heart.objects / 1e6
        heart.read()
        reads = [heart.read() for _ in range(options.reads)]
        pauses = sorted(read[3] for read in reads)
        text = "%d objects, seen by the process: %s ms; load %.1f" % (heart.objects, ", ".join("%.0f" % p for p in pauses), os.getloadavg()[0])
        check("half of the pauses", statistics.median(pauses) <= 50 * million, text)
        check("19 of 20 pauses", percentile(pauses) <= 150 * million, "%.0f ms" % percentile(pauses))
        check("what the report says", all(code in (0, 1) and abs(said - seen) <= SLICE + 0.2 * seen for code, _, said, _, seen in reads),
              ", ".join("%.1f/%.1f" % (said, seen) for _, _, said, _, seen in reads), by_the_clock=False)
        for limit in LIMITS:
            limited(heart, limit)
    with Heart(found, 50000) as heart:
        heart.read()
        for limit in LIMITS:
            limited(heart, limit)
    print("%d passed, %d failed, %d skipped" % (sum(results), len(results) - sum(results), busy))
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
