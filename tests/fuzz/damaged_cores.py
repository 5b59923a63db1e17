#!/usr/bin/env python3
"""Damaged cores, by number: many through the engine in one process, fewer through the program.

usage: damaged_cores.py [--engine N] [--program N] [--seed N] [--interpreter VERSION]...

Two kernel's cores for each of eight releases. N (100,000) damaged copies of the smaller one (small_heap.py) go through the engine (core_storm, one process a release;
run K of a seed is always the same), N (1,000) of the other (node_tree) through the program: bytes and words of the head, the notes, the memory changed, pointers swapped, pages cleared, the end cut off.
Fails on a signal, a sanitizer's report, an exit status other than 0, 1, 3 and 4, a control byte in the output, and a run of more than 10 s. Takes the build under
ASan and UBSan where there is one ($PYGC_BUILD/asan-ubsan): --release takes the other. Last line: N passed, N failed, N skipped (a damaged core is one)."""
import argparse
import collections
import concurrent.futures
import os
import random
import re
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

VERSIONS = ["2.7", "3.6", "3.8", "3.9", "3.11", "3.12", "3.13", "3.14"]
LONGEST = 10.0
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
COMMANDS = [["leaks"], ["leaks", "--format", "json"], ["status"], ["verify"], ["cycles", "--limit", "3"], ["heap"], ["refcounts"], ["stacks", "--locals"], ["triage"], ["dominators"],
            ["finalizers"], ["leaks", "--audit"], ["sql", "select count(*) from refs"]]
ENVIRONMENT = dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1", ASAN_OPTIONS="abort_on_error=1:allocator_may_return_null=1", PYGC_WORKER_STDERR="1")


def engine(tool, core, runs, seed):
    """(bad, what was printed last)"""
    ran = subprocess.run([tool, core, "--runs", str(runs), "--seed", str(seed)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT)
    said = ran.stdout.decode(errors="replace")
    done = re.search(r"^(\d+) runs in (\d+) s, (\d+) bad", said, re.M)
    if not done or ran.returncode not in (0, 1):
        return runs, "exit %s: %s" % (ran.returncode, said[-1500:])
    return int(done.group(3)) + (runs - int(done.group(1))), said if int(done.group(3)) else ", ".join(said.strip().splitlines()[1:])


class Damaged:
    """A copy of a core that is damaged in place, and mended."""

    def __init__(self, core, path):
        with open(core, "rb") as f:
            self.whole = f.read()
        self.path = path
        with open(path, "wb") as f:
            f.write(self.whole)
        table, count = struct.unpack_from("<Q", self.whole, 32)[0], struct.unpack_from("<H", self.whole, 56)[0]
        headers = [struct.unpack_from("<IIQQQQQQ", self.whole, table + 56 * i) for i in range(count)]
        loads = [h for h in headers if h[0] == 1 and h[5] > 0]
        self.head = min(h[2] for h in loads)
        # Words of writable memory that hold an address of the core: where damage is most likely to be read.
        spans = [(h[3], h[3] + h[5]) for h in loads]
        low, high = min(b for b, _ in spans), max(e for _, e in spans)
        self.pointers = []
        for h in loads:
            if h[1] & 2:
                words = struct.unpack_from("<%dQ" % (h[5] // 8), self.whole, h[2])
                self.pointers += [h[2] + 8 * i for i, w in enumerate(words) if low <= w < high and any(b <= w < e for b, e in spans)][:200000]

    def damage(self, r):
        kind, size = r.randrange(8), len(self.whole)
        changes = {}
        for _ in range(r.randrange(1, 7)):
            if kind == 0:
                changes[r.randrange(64)] = bytes([r.randrange(256)])
            elif kind <= 2:
                changes[r.randrange(self.head)] = bytes([r.randrange(256)])
            elif kind == 3:
                changes[r.randrange(self.head // 8) * 8] = struct.pack("<Q", r.choice((0, (1 << 64) - 1, r.getrandbits(64), 1 << r.randrange(64))))
            elif kind <= 5:
                at, other = r.choice(self.pointers), r.choice(self.pointers)
                word = struct.unpack_from("<Q", self.whole, at)[0]
                changes[at] = r.choice((self.whole[other:other + 8], struct.pack("<Q", r.choice((0, (1 << 64) - 1, word + 8, word ^ 1 << r.randrange(48), r.getrandbits(64), r.randrange(256))))))
            elif kind == 6:
                at = r.randrange(size)
                changes[at] = bytes(min(size - at, r.randrange(1, 8192)))
            else:
                return None, r.randrange(size)
        return changes, size

    def apply(self, changes, size):
        with open(self.path, "r+b") as f:
            for at, data in (changes or {}).items():
                f.seek(at)
                f.write(data[:len(self.whole) - at])
            f.truncate(size)

    def mend(self, changes, size):
        with open(self.path, "r+b") as f:
            for at, data in (changes or {}).items():
                f.seek(at)
                f.write(self.whole[at:at + len(data)])
            if size < len(self.whole):
                f.seek(size)
                f.write(self.whole[size:])


def program(tool, damaged, numbers, seed, seen):
    """Numbers of the runs that went wrong, with why."""
    wrong = []
    for n in numbers:
        r = random.Random(seed * 1000003 + n)
        changes, size = damaged.damage(r)
        command = r.choice(COMMANDS)
        damaged.apply(changes, size)
        begun = time.time()
        try:
            ran = subprocess.run([tool, "-c", damaged.path] + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, env=ENVIRONMENT)
            code, out, err = ran.returncode, ran.stdout, ran.stderr
        except subprocess.TimeoutExpired:
            code, out, err = "no end", b"", b""
        took = time.time() - begun
        damaged.mend(changes, size)
        seen[code] += 1
        if code not in (0, 1, 3, 4) or took > LONGEST or CONTROL.search(out + err):
            wrong.append("run %d, %s: exit %s, %.1f s, %r" % (n, " ".join(command), code, took, err[-600:]))
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--engine", type=int, default=100000)
    parser.add_argument("--program", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--interpreter", action="append", default=[])
    options = parser.parse_args()
    build = os.path.dirname(os.path.dirname(process.PYGC))
    folders = [os.path.join(build, "bin")] if options.release else [os.path.join(build, "asan-ubsan", "bin"), os.path.join(build, "bin")]

    def tool(name):
        return next((p for p in (os.path.join(f, name) for f in folders) if os.path.exists(p)), None)

    found = [i for i in interpreters.discover() if i.kind == "default"]
    chosen = [i for i in (next((i for i in found if i.version.startswith(v + ".")), None) for v in options.interpreter or VERSIONS) if i]
    if not chosen or not (tool("core_storm") and tool("pygc")):
        print("no interpreter, core_storm or pygc under %s\n0 passed, 1 failed, 0 skipped" % build)
        return 1
    running, patients, failed, done, seen = [], [], 0, 0, collections.Counter()
    try:
        for i in chosen:
            p = process.Program(i.path, "node_tree", ["20"], twins=1)
            running.append(p)
            patients.append(p)
            p.core = p.kernel_core(p.twins[0], 0x33)
            small = process.Program([i.path, "-S", "-E"], os.path.join(HERE, "small_heap.py"))
            running.append(small)
            p.small_core = small.kernel_core(small.pid, 0x33)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            each = -(-options.engine // len(chosen))
            for i, (bad, said) in zip(chosen, pool.map(lambda p: engine(tool("core_storm"), p.small_core, each, options.seed), patients) if options.engine else ()):
                failed, done = failed + bad, done + each
                print("%s engine, %s, seed %d: %d runs, %d bad: %s" % ("FAILED" if bad else "ok    ", i.version, options.seed, each, bad, said), flush=True)
            each = -(-options.program // len(chosen))
            damaged = [Damaged(p.core, os.path.join(p.folder, "damaged")) for p in patients] if options.program else []
            for i, wrong in zip(chosen, pool.map(lambda d: program(tool("pygc"), d, range(each), options.seed, seen), damaged)):
                failed, done = failed + len(wrong), done + each
                print("%s program, %s, seed %d: %d runs, %d bad%s" % ("FAILED" if wrong else "ok    ", i.version, options.seed, each, len(wrong), "".join("\n    " + w for w in wrong[:5])), flush=True)
    finally:
        for p in running:
            p.close()
    print("%s; statuses of the program: %s" % (tool("core_storm"), ", ".join("%s: %d" % s for s in sorted(seen.items(), key=str))))
    print("%d passed, %d failed, 0 skipped" % (done - failed, failed))
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
