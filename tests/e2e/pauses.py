#!/usr/bin/env python3
"""How long a live process of a million objects stands still, as the process itself sees it: the longest gap between two beats of a thread of its own.

usage: pauses.py [--interpreter VERSION] [--reads N] [-v]

N (21) reads by `pygc -p PID leaks`: half of the pauses at most 50 ms for a million objects, all but one in twenty at most 150. Then with --max-pause of two thirds and of
a third of the middle pause: what was copied by then is reported as partial, the process stood still no longer than a fifth more (and 5 ms: a time slice of a machine
that others use too), and the report says of its pause what the process saw. On a machine with more work than processors bounds on time say nothing: skipped there,
with the load. Last line: N passed, N failed, N skipped.
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
HEART = """
import gc, sys, threading, time
class Node(object):
    pass
nodes = []
for i in range(500000):
    o = Node()
    o.x = [o]
    nodes.append(o)
gc.collect()
longest = [0.0]
def beat():
    last = time.perf_counter()
    while True:
        time.sleep(0.0005)
        now = time.perf_counter()
        longest[0] = max(longest[0], now - last)
        last = now
t = threading.Thread(target=beat)
t.daemon = True
t.start()
print(len(gc.get_objects()))
sys.stdout.flush()
for line in sys.stdin:
    print(longest[0])
    sys.stdout.flush()
    longest[0] = 0.0
"""


class Heart:
    def __init__(self, interpreter):
        self.child = subprocess.Popen([interpreter.path, "-c", HEART], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.objects = int(self.child.stdout.readline())

    def longest(self):
        """Milliseconds, since the last question."""
        time.sleep(0.01)
        self.child.stdin.write(b"?\n")
        self.child.stdin.flush()
        return float(self.child.stdout.readline()) * 1e3

    def read(self, *options):
        """(exit status, the report, milliseconds of the pause as the report says, as the process saw)"""
        self.longest()
        ran = process.pygc("-p", str(self.child.pid), "leaks", "--format", "json", *options)
        seen = self.longest()
        report = json.loads(ran.out) if ran.code in (0, 1, 3) else {"timing": {}}
        return ran.code, report, report["timing"].get("pause_seconds", -1) * 1e3, seen


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
    heart, results, busy = Heart(found), [], 0

    def check(name, good, said, by_the_clock=True):
        nonlocal busy
        if by_the_clock and not good and os.getloadavg()[0] > os.cpu_count():
            busy += 1
            print("SKIPPED %s: load %.1f on %d processors: %s" % (name, os.getloadavg()[0], os.cpu_count(), said), flush=True)
            return
        results.append(good)
        print("%s %s: %s" % ("ok    " if good else "FAILED", name, said), flush=True)

    try:
        million = heart.objects / 1e6
        heart.read()
        reads = [heart.read() for _ in range(options.reads)]
        pauses = sorted(seen for _, _, _, seen in reads)
        middle, most = statistics.median(pauses), pauses[max(0, len(pauses) * 19 // 20 - 1)]
        text = "%d objects, seen by the process: %s ms; load %.1f" % (heart.objects, ", ".join("%.0f" % p for p in pauses), os.getloadavg()[0])
        check("half of the pauses", middle <= 50 * million, text)
        check("19 of 20 pauses", most <= 150 * million, "%.0f ms" % most)
        check("what the report says", all(code in (0, 1) and abs(said - seen) <= SLICE + 0.2 * seen for code, _, said, seen in reads),
              ", ".join("%.1f/%.1f" % (said, seen) for _, _, said, seen in reads), by_the_clock=False)
        for part in (2 / 3.0, 1 / 3.0):
            limit = max(1, int(middle * part))
            limited = [heart.read("--max-pause", str(limit)) for _ in range(5)]
            # One that was quick enough for the limit is whole.
            check("--max-pause %d" % limit, all(seen <= 1.2 * limit + SLICE and (code == 3) == (not report.get("complete", True)) for code, report, _, seen in limited),
                  ", ".join("exit %s after %.1f ms" % (code, seen) for code, _, _, seen in limited))
    finally:
        heart.child.kill()
        heart.child.wait()
    print("%d passed, %d failed, %d skipped" % (sum(results), len(results) - sum(results), busy))
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
