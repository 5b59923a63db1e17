#!/usr/bin/env python3
"""The same questions about a large heap with one thread and with four: the same bytes, and, in a build under TSan, no race.

usage: races.py [--objects N] [--interpreter VERSION]... [-v]

A core with N (60,000) linked objects of several types, large enough that every parallel loop has work for all threads. Uses $PYGC_BUILD/bin/pygc; with that of a
build under TSan (TSAN_OPTIONS=halt_on_error=1) a worker that meets a race dies, which is exit status 6. Last line: N passed, N failed, N skipped (a command each)."""
import argparse
import os
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

COMMANDS = [["leaks"], ["leaks", "--audit"], ["heap"], ["heap", "--waste"], ["refcounts"], ["dominators"], ["cycles"], ["verify", "--traverse"], ["path", "dict"], ["finalizers"], ["triage"],
            ["sql", "select count(*), sum(size) from objects"], ["export", "--format", "jsonl"]]
PROGRAM = """
import gc, os, sys
gc.disable()
class Node(object):
    pass
class Slotted(object):
    __slots__ = ('a', 'b', '__weakref__')
kept = []
for i in range(int(sys.argv[1]) // 5):
    n, s = Node(), Slotted()
    n.items, n.key, s.a, s.b = [i, str(i), (i, n)], {'n': n, i: s}, n, frozenset([i, 'x'])
    if i % 3:
        kept.append(n)
sys.stdout.write('READY\\n')
sys.stdout.flush()
os.abort()
"""


def core_of(python, objects, folder):
    path = os.path.join(folder, "program.py")
    with open(path, "w") as f:
        f.write(PROGRAM)
    process.run(["sh", "-c", 'ulimit -c unlimited; cd "$1"; exec "$0" program.py "$2"', python, folder, str(objects)], 300)
    found = [n for n in os.listdir(folder) if n.startswith("core")]
    if not found:
        raise process.CannotTest("the kernel wrote no core in the folder of the process (kernel.core_pattern)")
    return os.path.join(folder, found[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--objects", type=int, default=60000)
    parser.add_argument("--interpreter", action="append")
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    passed = failed = 0
    chosen = [next((i for i in interpreters.discover() if i.kind == "default" and i.version.startswith(v)), None) for v in options.interpreter or ("2.7", "3.12", "3.14")]
    for interpreter in [i for i in chosen if i]:
        with tempfile.TemporaryDirectory(prefix="pygc-races-") as folder:
            core = core_of(interpreter.path, options.objects, folder)
            for command in COMMANDS:
                form = [] if command[0] == "export" else ["--format", "json", "--limit", "20"]
                said = []
                for threads in ("1", "4"):
                    ran = process.pygc("-c", core, *command, *form, "--threads", threads, timeout=600)
                    said.append((ran.code, process.result_bytes(ran.out) if form and '"result"' in ran.out else "\n".join(ran.out.splitlines()[1:]), ran.tail()))
                wrong = ["exit %s with %s threads: %s" % (code, n, tail) for n, (code, _, tail) in zip(("1", "4"), said) if code not in (0, 1, 3)]
                wrong += ["%s with four threads another result than with one" % command[0]] if len({s[:2] for s in said}) != 1 else []
                passed, failed = passed + (not wrong), failed + bool(wrong)
                if wrong or options.v:
                    print("%s %s %s%s" % ("FAILED" if wrong else "ok    ", interpreter.version, " ".join(command), "".join(": " + w for w in wrong)), flush=True)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
