#!/usr/bin/env python3
"""pygc killed at random moments: no target stays stopped, no process and no file of pygc's is left, and a report is whole or not there.

usage: kills.py [--count N] [--seed N] [-v]

Kills by SIGKILL: the program, its worker, or both at once, N (1000) times in all, while it reads a live process, a core, a compressed core, or writes a report, a
database, an index. After each kill the target's threads run, nothing traces it, and its heart beats; the worker is gone; the folder of temporary files is empty;
the output is the whole one, the old one, or not there. Where only the worker died, the program says so in one line and exits 6.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped (a kill is one)."""
import argparse
import collections
import gzip
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

SECONDS = 20.0
# A heap with garbage, threads that work, and a heart: a number in a file that goes up a thousand times a second.
PULSE = """
import gc, mmap, os, struct, sys, threading, time
gc.disable()
class Node(object):
    pass
heap = []
for _ in range(20000):
    n = Node(); n.me = n
    heap.append([n, {}])
for _ in range(2000):
    n = Node(); n.me = n
del n
with open(sys.argv[1] + ".pulse", "wb") as f:
    f.write(bytes(bytearray(4096)))
f = open(sys.argv[1] + ".pulse", "r+b")
memory = mmap.mmap(f.fileno(), 4096)
def work():
    while True:
        time.sleep(0.001)
        [k for k in range(50)]
for _ in range(4):
    t = threading.Thread(target=work); t.daemon = True; t.start()
open(sys.argv[1], "w").write("{}")
sys.stdout.write("READY %d\\n" % os.getpid()); sys.stdout.flush()
beat = 0
while True:
    beat += 1
    memory[:8] = struct.pack("<Q", beat)
    time.sleep(0.001)
"""


def states(pid):
    """[(state letter, tracer)] of the threads."""
    out = []
    for tid in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/status" % (pid, tid)) as f:
                fields = dict(line.split(":", 1) for line in f.read().splitlines() if ":" in line)
            out.append((fields["State"].strip()[0], int(fields["TracerPid"])))
        except OSError:
            pass
    return out


def child_of(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            words = f.read().split()
        return int(words[0]) if words else None
    except OSError:
        return None


class Ward:
    """The target, the cores, and the folders that must be clean."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="pygc-kills-")
        self.temporary = os.path.join(self.folder, "tmp")
        self.out = os.path.join(self.folder, "out")
        for path in (self.temporary, self.out):
            os.mkdir(path)
        script = os.path.join(self.folder, "pulse.py")
        with open(script, "w") as f:
            f.write(PULSE)
        found = [i for i in interpreters.discover() if i.kind == "default"]
        self.program = process.Program(next((i for i in found if i.version.startswith("3.13")), found[-1]).path, script)
        self.pulse = os.path.join(self.program.folder, "truth.json.pulse")
        self.core = self.program.gcore()
        self.packed = self.core + ".gz"
        with open(self.core, "rb") as a, gzip.open(self.packed, "wb", 1) as b:
            shutil.copyfileobj(a, b)
        self.environment = dict(os.environ, TMPDIR=self.temporary)
        self.whole, self.takes = {}, {}

    def beat(self):
        with open(self.pulse, "rb") as f:
            return int.from_bytes(f.read(8), "little")

    def kinds(self):
        core, out = ["-c", self.core], lambda name: os.path.join(self.out, name)
        return [("live", ["-p", str(self.program.pid), "leaks"], None), ("live, counts", ["-p", str(self.program.pid), "refcounts"], None), ("core", core + ["leaks"], None),
                ("packed core", ["-c", self.packed, "leaks"], None), ("report", core + ["leaks", "--format", "json", "-o", out("r.json")], "r.json"),
                ("page", core + ["report", "-o", out("r.html")], "r.html"), ("database", core + ["export", "--format", "sqlite", "-o", out("r.db")], "r.db"),
                ("index", core + ["--save", out("core.pygc"), "leaks"], "core.pygc")]

    def measure(self):
        """How long each takes, and what a whole output is like."""
        for name, arguments, output in self.kinds():
            begun = time.time()
            ran = process.run([process.PYGC] + arguments, env=self.environment)
            if ran.code not in (0, 1):
                raise process.CannotTest("%s: exit %s: %s" % (name, ran.code, ran.tail()))
            self.takes[name] = time.time() - begun
            if output:
                self.whole[output] = os.path.getsize(os.path.join(self.out, output))
                os.unlink(os.path.join(self.out, output))

    def close(self):
        self.program.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_until(condition, seconds=SECONDS):
    end = time.time() + seconds
    while not condition():
        if time.time() > end:
            return False
        time.sleep(0.002)
    return True


def target_lives(ward):
    pid = ward.program.pid
    if not wait_until(lambda: all(s in "RSD" and tracer == 0 for s, tracer in states(pid))):
        return "the target is in states %s" % states(pid)
    beat = ward.beat()
    return None if wait_until(lambda: ward.beat() > beat) else "the target's heart stands still"


def output_fault(ward, output, before):
    """What is wrong with the folder of outputs; `before`: there was an old file."""
    path = os.path.join(ward.out, output) if output else None
    others = [n for n in os.listdir(ward.out) if n != output]
    if others:
        return "left behind: %s" % others
    if path is None or not os.path.exists(path):
        return "the old output is gone" if before else None
    with open(path, "rb") as f:
        data = f.read()
    if os.stat(path).st_mode & 0o077:
        return "others may read the output"
    if data == b"old":
        return None
    # Times stand in reports: a few digits more or less.
    if abs(len(data) - ward.whole[output]) > 64:
        return "%d bytes of output, whole are %d" % (len(data), ward.whole[output])
    if output.endswith(".db"):
        with sqlite3.connect(path) as db:
            if db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                return "the database is damaged"
    return None


def one(ward, random_, seen):
    name, arguments, output = random_.choice(ward.kinds())
    victim = random_.choice(("program", "worker", "both"))
    path = os.path.join(ward.out, output) if output else None
    old = path is not None and random_.random() < 0.3
    for n in os.listdir(ward.out):
        os.unlink(os.path.join(ward.out, n))
    if old:
        with open(path, "wb") as f:
            f.write(b"old")
        os.chmod(path, 0o600)
    child = subprocess.Popen([process.PYGC] + arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ward.environment)
    time.sleep(random_.uniform(0, 1.1 * ward.takes[name]))
    worker = child_of(child.pid)
    alive = child.poll() is None
    victims = {"program": [child.pid], "worker": [worker], "both": [child.pid, worker]}[victim]
    for pid in victims if alive else []:
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
    err = child.stderr.read().decode(errors="replace")
    child.stderr.close()
    code = child.wait()
    seen["%s, %s" % (name, ("killed: " + victim) if alive and any(victims) else "had ended")] += 1
    wrong = []
    if worker and not wait_until(lambda: not os.path.exists("/proc/%d" % worker)):
        wrong.append("its worker goes on")
        os.kill(worker, signal.SIGKILL)
    if victim == "worker" and alive and worker:
        if code not in (0, 1, 6):
            wrong.append("exit %s after its worker was killed: %s" % (code, err[-200:]))
        if code == 6 and ("signal 9" not in err or len(err.strip().splitlines()) != 1):
            wrong.append("exit 6 with: %r" % err[-300:])
    wrong.append(target_lives(ward))
    left = os.listdir(ward.temporary)
    if left:
        wrong.append("temporary files: %s" % left)
        for n in left:
            os.unlink(os.path.join(ward.temporary, n))
    wrong.append(output_fault(ward, output, old))
    return "%s, %s" % (name, victim), [w for w in wrong if w]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    random_, seen, passed, failed = random.Random(options.seed), collections.Counter(), 0, 0
    ward = Ward()
    try:
        ward.measure()
        for n in range(options.count):
            name, wrong = one(ward, random_, seen)
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong or options.verbose:
                print("%s kill %d, %s%s" % ("FAILED" if wrong else "ok    ", n, name, ": " + "; ".join(wrong) if wrong else ""), flush=True)
            if failed > 20:
                break
    finally:
        ward.close()
    for what, count in sorted(seen.items()):
        print("%6d  %s" % (count, what))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
