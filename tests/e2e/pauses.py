#!/usr/bin/env python3
"""How long a live process of a million objects stands still, as the process itself sees it: the longest gap between two beats of a thread of its own.

usage: pauses.py [--interpreter VERSION] [--reads N] [--host standalone|lldb|gdb]... [-v]

N (21) reads by `pygc -p PID leaks`: half of the pauses at most 50 ms for a million objects, all but one in twenty at most 150, and the report says of its pause what the
process saw. Then with --max-pause of 5, 10, 20 and 50 ms, and on a heap of a hundred thousand objects too: in all reads but one in twenty the process stood still no longer
than a fifth more, what it then waited for a processor not counted (the kernel's own account of it); what was not copied is reported as partial, and never nothing. On a
machine with more work than processors bounds on time say nothing: skipped there, with the load.

Then in LLDB and in GDB, at their prompts: the process is interrupted and `pygc leaks --resume` lets it run again. Beside what interrupting and continuing alone takes that
adds at most 150 ms for a million objects, in half of the reads and in all but one in twenty; the report comes while the process runs, the next question is answered from
the same copy and says so, and the process can be interrupted and read again. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import pty
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import lldb_host  # noqa: E402
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


class Debugger:
    """LLDB or GDB at a terminal, attached to a process that runs."""

    def __init__(self, name, pid):
        self.name, self.pid, self.said = name, pid, b""
        library = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(process.PYGC))), "lib")
        if name == "lldb":
            command = [lldb_host.versions()[0], "--no-lldbinit", "--no-use-colors", "-o", "settings set interpreter.prompt-on-quit false", "-o", "plugin load %s/pygc_lldb.so" % library,
                       "-o", "process attach --pid %d" % pid]
            self.interrupt, self.resume, self.end = "process interrupt", "process continue", "process detach"
        else:
            command = ["gdb", "-nx", "-q", "-iex", "set debuginfod enabled off", "-iex", "set pagination off", "-iex", "set confirm off", "-iex", "set style enabled off",
                       "-p", str(pid), "-ex", "source %s/pygc_gdb.py" % library]
            self.interrupt, self.resume, self.end = "interrupt", "continue&", "detach"
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            os.execvpe(command[0], command, dict(os.environ, TERM="dumb", LANG="C"))
        self.wait("the prompt", lambda: "(%s) " % name in self.text() and self.is_stopped())

    def text(self):
        while select.select([self.terminal], [], [], 0)[0]:
            try:
                self.said += os.read(self.terminal, 65536)
            except OSError:
                break
        return self.said.decode(errors="replace")

    def type(self, line):
        self.text()
        self.said = b""
        os.write(self.terminal, line.encode() + b"\n")

    def is_stopped(self):
        with open("/proc/%d/stat" % self.pid) as f:
            return f.read().rpartition(")")[2].split()[0] == "t"

    def is_traced(self):
        with open("/proc/%d/status" % self.pid) as f:
            return re.search(r"^TracerPid:\s+0$", f.read(), re.M) is None

    def wait(self, what, is_so, seconds=60):
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > end:
                raise AssertionError("%s: no %s within %d s, but %r" % (self.name, what, seconds, self.text()[-600:]))
            self.text()     # whoever cannot write waits
            time.sleep(0.002)

    def stop(self):
        self.type(self.interrupt)
        self.wait("stop", self.is_stopped)
        self.wait("prompt", lambda: re.search(r"stop|received|SIGSTOP|SIGINT", self.text()))

    def go(self):
        self.type(self.resume)
        self.wait("running process", lambda: not self.is_stopped())

    def ask(self, line):
        """The report of a pygc command, as JSON."""
        path = tempfile.mktemp(suffix=".json", dir=self.folder)
        self.type("pygc %s --format json -o %s" % (line, path))
        self.wait("report of " + line, lambda: os.path.exists(path))
        with open(path) as f:
            return json.load(f)

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="pygc-pauses-")
        return self

    def __exit__(self, *_):
        os.kill(self.child, 9)
        os.waitpid(self.child, 0)
        os.close(self.terminal)
        shutil.rmtree(self.folder)


def percentile(values):
    """That of 19 in 20."""
    return sorted(values)[max(0, len(values) * 19 // 20 - 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--interpreter", default="3.12")
    parser.add_argument("--reads", type=int, default=21)
    parser.add_argument("--host", action="append", choices=("standalone", "lldb", "gdb"))
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

    def standalone():
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

    def held(name):
        with Heart(found) as heart, Debugger(name, heart.child.pid) as debugger:
            million = heart.objects / 1e6
            debugger.go()
            alone, added, reads = [], [], []
            for _ in range(options.reads):
                heart.longest()
                debugger.stop()
                debugger.go()
                alone.append(heart.longest()[1])
            usual = statistics.median(alone)
            for _ in range(options.reads):
                heart.longest()
                debugger.stop()
                report = debugger.ask("leaks --resume")
                runs = not debugger.is_stopped()
                seen = heart.longest()[1]
                reads.append((report["timing"].get("read_seconds", -1) * 1e3, seen, runs and report["complete"] and not report["warnings"]))
                added.append(seen - usual)
            text = "pauses of %s ms; %s stopping and continuing alone takes %.0f; pygc says %s; load %.1f" % (
                ", ".join("%.0f" % seen for _, seen, _ in sorted(reads, key=lambda r: r[1])), name, usual, ", ".join("%.0f" % said for said, _, _ in reads), os.getloadavg()[0])
            check("%s, --resume: half of the pauses" % name, statistics.median(added) <= 150 * million, "added %.0f ms: %s" % (statistics.median(added), text))
            check("%s, --resume: 19 of 20 pauses" % name, percentile(added) <= 150 * million, "added %.0f ms" % percentile(added))
            check("%s, --resume: the process runs, the report is whole" % name, all(good for _, _, good in reads), "%d of %d" % (sum(good for _, _, good in reads), len(reads)), by_the_clock=False)
            again, whole = debugger.ask("leaks"), json.dumps(report["result"])
            check("%s, the next question: the same copy" % name, json.dumps(again["result"]) == whole and any("was copied of it" in w for w in again["warnings"]) and not debugger.is_stopped(),
                  "warnings %s" % again["warnings"], by_the_clock=False)
            debugger.stop()
            anew = debugger.ask("leaks")
            check("%s, stopped again: a new copy, and it stays stopped" % name, debugger.is_stopped() and not anew["warnings"] and anew["timing"].get("read_seconds", 0) > 0 and
                  anew["timing"] != again["timing"], "warnings %s, timing %s" % (anew["warnings"], anew["timing"]), by_the_clock=False)
            debugger.type(debugger.end)
            debugger.wait("free process", lambda: not debugger.is_traced())
            heart.longest()

    hosts = options.host or ["standalone", "gdb"] + ["lldb"] * bool(lldb_host.versions())
    for name in hosts:
        if name != "standalone":
            held(name)
    if "standalone" in hosts:
        standalone()
    print("%d passed, %d failed, %d skipped" % (sum(results), len(results) - sum(results), busy))
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
