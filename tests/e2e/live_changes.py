#!/usr/bin/env python3
"""Live processes that do something else while they are read: a clear answer, which is right, at whatever moment it happens.

usage: live_changes.py [--count N] [--seed N] [-v] [KIND...]

Kinds, N (60) times each at random moments of the run of `pygc -p PID leaks`: the target is killed, exits, becomes another program, becomes another Python with
other garbage, is attached to by another tracer; or it starts children, or threads, all the time. Right is: the whole answer of what it was (or became), or a
partial one not above it, or one line with exit status 4 or 5. The target, where it still is there, goes on; its children are left alone.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped."""
import argparse
import collections
import ctypes
import json
import os
import random
import signal
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

FIRST, SECOND = 3000, 500       # lost objects before and after an exec
PROGRAM = r'''
import gc, os, signal, sys, threading, time
gc.disable()
kind, lost = sys.argv[2], int(sys.argv[3])
class Node(object):
    pass
heap = [[i, {}] for i in range(30000)]
for _ in range(lost):
    n = Node(); n.me = n
del n
def act(number, frame):
    if kind == "exits":
        os._exit(3)
    if kind == "execs":
        os.execv("/bin/sleep", ["sleep", "30"])
    if kind == "execs Python":
        os.execv(sys.executable, [sys.executable, sys.argv[0], sys.argv[1] + ".2", "idle", sys.argv[4]])
signal.signal(signal.SIGUSR1, act)
def nothing():
    pass
open(sys.argv[1], "w").write("{}")
os.write(1, ("READY %d\n" % os.getpid()).encode())
while True:
    if kind == "forks":
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    elif kind == "threads":
        t = threading.Thread(target=nothing); t.start(); t.join(); del t
    else:
        time.sleep(0.0005)
'''


def trace(pid, seconds):
    """A child that is the tracer of `pid` for so long. PTRACE_SEIZE, include/uapi/linux/ptrace.h."""
    child = os.fork()
    if child == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        if libc.ptrace(0x4206, pid, None, None) == 0:
            time.sleep(seconds)
        os._exit(0)
    return child


def tracer_of(pid):
    try:
        with open("/proc/%d/status" % pid) as f:
            return next((int(line.split()[1]) for line in f if line.startswith("TracerPid")), 0)
    except OSError:
        return 0


def state_of(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def faults(kind, code, out, err, pid):
    said = (out + err).decode(errors="replace")
    if code in (4, 5):
        if len(err.decode(errors="replace").strip().splitlines()) != 1:
            yield "exit %s without its one line: %r" % (code, err[-300:])
        if kind in ("forks", "threads"):
            yield "exit %s: %s" % (code, said[-300:])
        if kind == "traced" and (code != 5 or "traced" not in said.lower()):
            yield "exit %s does not say that it is traced: %s" % (code, said[-300:])
    elif code in (0, 1, 3):
        report = json.loads(out.decode())
        found = report["result"]["unreachable"]
        # The other Python may be read at any moment of its start: it never has more than what it makes.
        if report["complete"] and found != FIRST and not (kind == "execs Python" and found <= SECOND):
            yield "complete, and %d unreachable" % found
        if found > FIRST:
            yield "%d unreachable, more than there ever were" % found
        if not report["complete"] and not report["missing"]:
            yield "partial without a reason"
        if kind in ("forks", "threads") and not report["complete"]:
            yield "partial: %s" % report["missing"]
    else:
        yield "exit %s: %s" % (code, said[-300:])
    if kind not in ("killed", "exits") and state_of(pid) not in "RSD":
        yield "the target is in state %s" % state_of(pid)
    if kind != "traced" and state_of(pid) != "gone" and tracer_of(pid) != 0:
        yield "the target still has a tracer"


def one(interpreter, script, kind, takes, r):
    program = process.Program(interpreter.path, script, [kind, str(FIRST), str(SECOND)])
    tracer = None
    try:
        child = subprocess.Popen([process.PYGC, "-p", str(program.pid), "leaks", "--format", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(r.uniform(0, 1.1 * takes))
        if kind == "killed":
            os.kill(program.pid, signal.SIGKILL)
        elif kind == "traced":
            tracer = trace(program.pid, 2 * takes + 1)
        else:
            os.kill(program.pid, signal.SIGUSR1)
        try:
            out, err = child.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return "hang", ["no end after 60 s"]
        wrong = list(faults(kind, child.returncode, out, err, program.pid))
        how = "exit %d" % child.returncode if child.returncode not in (0, 1, 3) else "partial" if child.returncode == 3 else "whole"
        return how, wrong
    finally:
        if tracer:
            os.kill(tracer, signal.SIGKILL)
            os.waitpid(tracer, 0)
        program.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("kind", nargs="*")
    options = parser.parse_args()
    found = [i for i in interpreters.discover() if i.kind == "default"]
    interpreter = next((i for i in found if i.version.startswith("3.13")), found[-1])
    folder = tempfile.mkdtemp(prefix="pygc-live-")
    script = os.path.join(folder, "live.py")
    with open(script, "w") as f:
        f.write(PROGRAM)
    passed = failed = 0
    try:
        with process.Program(interpreter.path, script, ["idle", str(FIRST), str(SECOND)]) as p:
            takes = max(process.pygc("-p", p.pid, "leaks").seconds for _ in range(3))
        for kind in options.kind or ("killed", "exits", "execs", "execs Python", "traced", "forks", "threads"):
            seen, r = collections.Counter(), random.Random("%d %s" % (options.seed, kind))
            for n in range(options.count):
                how, wrong = one(interpreter, script, kind, takes, r)
                seen[how] += 1
                passed, failed = passed + (not wrong), failed + bool(wrong)
                if wrong or options.verbose:
                    print("%s %s, %d: %s%s" % ("FAILED" if wrong else "ok    ", kind, n, how, "".join("\n        " + w for w in wrong)), flush=True)
            print("%-14s %s" % (kind, ", ".join("%s: %d" % s for s in sorted(seen.items()))), flush=True)
    finally:
        os.unlink(script)
        os.rmdir(folder)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
