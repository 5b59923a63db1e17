#!/usr/bin/env python3
"""An index (--save FILE, -c FILE): the same results as from its core, a refusal in one line for everything that is wrong with it, and never a fault.

usage: saved_index.py [--quick] [--large] [--interpreter TEXT]... [-v]

--large: a heap of ten million objects, which must open in 0.3 s (the file in the cache; 4 GB of memory, 3 GB of disk). --quick: one interpreter, fewer damaged files.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import random
import resource
import shutil
import struct
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

SECONDS = 60
OPENS_IN = 0.3
FIRST, SECOND, WORD = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, (1 << 64) - 1
LARGE = """
import gc, sys
gc.disable()
heap = [[] for _ in range(9999000)]
for _ in range(500):
    a = []
    a.append(a)
open(sys.argv[1], "w").write("{}")
sys.stdout.write("READY %d\\n" % __import__("os").getpid())
sys.stdout.flush()
sys.stdin.readline()
"""


class Wrong(Exception):
    pass


def check(good, what):
    if not good:
        raise Wrong(what)


def rotate(x, n):
    return ((x << n) | (x >> (64 - n))) & WORD


def checksum(data):
    """As core/engine/saved_index.cc has it: to make files whose sums are right and whose content is not."""
    lanes = [1, 2, 3, 4]
    padded = data + b"\0" * (-len(data) % 32)
    for block in struct.iter_unpack("<4Q", padded):
        for i in range(4):
            lanes[i] = (rotate(lanes[i] ^ ((block[i] * FIRST) & WORD), 29) * SECOND) & WORD
    h = len(data)
    for lane in lanes:
        h = (rotate(h ^ lane, 31) * FIRST) & WORD
    return h ^ (h >> 32)


class Index:
    """The file's parts."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = bytearray(f.read())
        self.head_bytes = struct.unpack_from("<I", self.data, 12)[0]
        head = bytes(self.data[32:32 + self.head_bytes])
        count_of = [i for i in range(len(head) - 8) if struct.unpack_from("<Q", head, i)[0] * 28 == len(head) - i - 8]
        self.table = 32 + count_of[-1] + 8
        self.sections = [struct.unpack_from("<IQQQ", self.data, at) for at in range(self.table, 32 + self.head_bytes, 28)]

    def mend(self):
        """Makes all checksums right again."""
        for i, (_, offset, size, _) in enumerate(self.sections):
            if offset + size <= len(self.data):
                struct.pack_into("<Q", self.data, self.table + 28 * i + 20, checksum(bytes(self.data[offset:offset + size])))
        struct.pack_into("<Q", self.data, 24, checksum(bytes(self.data[32:32 + self.head_bytes])))

    def write(self, path):
        with open(path, "wb") as f:
            f.write(self.data)
        return path


def questions(truth):
    return [["leaks"], ["leaks", "--limit", "0"], ["status"], ["cycles"], ["garbage"], ["finalizers"], ["heap", "--waste", "--memory", "--limit", "0"], ["dominators"],
            ["path", "app.Node"], ["show", truth["session"]], ["referrers", truth["session"]], ["referents", truth["session"]], ["verify"], ["stacks"], ["asyncio"], ["triage"],
            ["expect", "--max-unreachable", "0"], ["leaks", "--audit"], ["refcounts"]]


def same_results(p, core, folder, audited):
    index = os.path.join(folder, "saved.pygc")
    ran = process.pygc("-c", core, "--save", index)
    check(ran.code == 0 and "objects are kept in" in ran.err and ran.out, "--save: exit %s: %s" % (ran.code, ran.tail()))
    check(os.stat(index).st_mode & 0o777 == 0o600, "others may read it")
    for words in questions(p.truth):
        if not audited and words[-1] in ("--audit", "refcounts"):
            continue
        a, b = (process.pygc("-c", target, *words, "--format", "json", timeout=SECONDS) for target in (core, index))
        check(a.code == b.code, "%s: exit %s from the core, %s from the index: %s" % (words, a.code, b.code, b.tail()))
        check(process.result_bytes(a.out) == process.result_bytes(b.out), "%s: other results" % words)
    a, b = (process.pygc("-c", target, "diff", core, "--format", "json") for target in (core, index))
    check(process.result_bytes(a.out) == process.result_bytes(b.out), "diff")
    ran = process.pygc("-c", core, "diff", index)
    check(ran.code == 0, "an index as OLD: " + ran.tail())
    again = os.path.join(folder, "again.pygc")
    check(process.pygc("-c", index, "leaks", "--save", again, "--fail-on", "never").code == 0, "saved from an index")
    with open(index, "rb") as f, open(again, "rb") as g:
        check(f.read() == g.read(), "an index of an index is another")
    return index


def one_byte(path):
    """Writes to a core, at a place that no sample of it is of."""
    with open(path, "r+b") as f:
        at = os.path.getsize(path) // 63 // 2 & ~7
        f.seek(at)
        old = f.read(1)
        f.seek(at)
        f.write(bytes([old[0] ^ 1]))


def one_byte_unseen(path):
    """The same, and the time of it is put back."""
    before = os.stat(path)
    one_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def refusals(index, core, folder):
    """One line and the right exit status; the core moved with its index is found."""
    moved = tempfile.mkdtemp(dir=folder)
    for name in (index, core):
        shutil.copy(name, moved)
    there = os.path.join(moved, os.path.basename(index))
    os.rename(core, core + ".away")
    try:
        check(process.pygc("-c", there, "leaks").code == 0, "core and index moved together")
        for change, words in ((lambda p: os.remove(p), "needs its core"), (lambda p: open(p, "ab").write(b"x"), "another one"), (one_byte, "changed since"), (one_byte_unseen, "changed since")):
            one = os.path.join(moved, os.path.basename(core))
            shutil.copy(core + ".away", one)
            change(one)
            ran = process.pygc("-c", there, "leaks")
            check(ran.code == 4 and words in ran.err and ran.err.count("\n") == 1, "exit %s: %s" % (ran.code, ran.tail()))
        in_place = os.path.join(moved, "core.in_place")
        shutil.copy(core + ".away", in_place)
        check(process.pygc("-c", in_place, "--save", there).code == 0 and process.pygc("-c", there, "leaks").code == 0, "saved again")
        for change in (one_byte, one_byte_unseen):     # the same path, the same size
            change(in_place)
            ran = process.pygc("-c", there, "leaks")
            check(ran.code == 4 and "changed since" in ran.err and not ran.out, "changed in place: exit %s: %s" % (ran.code, ran.tail()))
            change(in_place)
            check(process.pygc("-c", there, "leaks").code == 0, "the bytes are as they were")
    finally:
        os.rename(core + ".away", core)
        shutil.rmtree(moved)
    bad = os.path.join(folder, "bad.pygc")
    for what, words in (((8, b"\xfe\0\0\0"), "format 254"), ((32, b"\x05\0\0\0\0\0\0\x009.9.9"), "pygc 9.9.9")):
        file = Index(index)
        file.data[what[0]:what[0] + len(what[1])] = what[1]
        if what[0] == 32:
            struct.pack_into("<Q", file.data, 24, checksum(bytes(file.data[32:32 + file.head_bytes])))
        ran = process.pygc("-c", file.write(bad), "leaks")
        check(ran.code == 4 and words in ran.err and ran.err.count("\n") == 1, "%s: exit %s: %s" % (words, ran.code, ran.tail()))
    for arguments, code in ((["-c", index, "--trust-file", "leaks"], 2), (["-c", index, "-e", "/bin/true", "leaks"], 2), (["-p", str(os.getpid()), "leaks", "--save", bad], 2),
                            (["-c", core, "leaks", "--save", "/nonexistent/x"], 2)):
        ran = process.pygc(*arguments)
        check(ran.code == code, "%s: exit %s: %s" % (arguments, ran.code, ran.tail()))


def damaged(index, folder, count, seed):
    """Cut anywhere, bytes changed anywhere, and the same with checksums that are right: 0, 1, 3 or 4, in time, never a fault."""
    rng = random.Random(seed)
    whole = Index(index)
    bad = os.path.join(folder, "bad.pygc")
    seen = {}
    for n in range(count):
        file = Index(index)
        kind = n % 4
        if kind == 0:
            del file.data[rng.randrange(len(file.data)):]
        elif kind == 1:
            for _ in range(rng.randrange(1, 4)):
                file.data[rng.randrange(len(file.data))] ^= 1 << rng.randrange(8)
        elif kind == 2:     # the small tables and what else is short, sums mended
            _, offset, size, _ = rng.choice([s for s in whole.sections if s[2] > 0 and s[0] % 100 == 1])
            for _ in range(rng.randrange(1, 6)):
                at = offset + rng.randrange(size)
                file.data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            file.mend()
        else:               # any section, whole words, sums mended
            _, offset, size, _ = rng.choice([s for s in whole.sections if s[2] >= 8])
            for _ in range(rng.randrange(1, 6)):
                at = offset + rng.randrange(size - 7)
                file.data[at:at + 4] = struct.pack("<I", rng.choice([0, 0xFFFFFFFF, 0x7FFFFFFF, rng.randrange(1 << 32), rng.randrange(1 << 16)]))
            file.mend()
        words = rng.choice([["leaks"], ["heap"], ["path", "dict"], ["cycles"], ["dominators"], ["triage"], ["finalizers"], ["garbage"], ["verify"], ["expect", "--max-unreachable", "0"]])
        ran = process.pygc("-c", file.write(bad), *words, timeout=SECONDS)
        seen[ran.code] = seen.get(ran.code, 0) + 1
        check(ran.code in (0, 1, 3, 4), "file %d of kind %d, %s: exit %s: %s" % (n, kind, words, ran.code, ran.tail()))
        check(kind != 0 or ran.code == 4, "a file that is cut off: exit %s" % ran.code)
        check(ran.code != 4 or ran.err.count("\n") == 1, "not one line: %r" % ran.err)
    check(seen.get(4), "nothing was refused")
    return "%d damaged files: %s" % (count, ", ".join("%d exit %s" % (n, c) for c, n in sorted(seen.items())))


def large(folder):
    """Ten million tracked objects: how long until `leaks` from the index is printed."""
    program = os.path.join(folder, "large.py")
    with open(program, "w") as f:
        f.write(LARGE)
    found = [i for i in interpreters.discover() if i.kind == "default" and i.version.startswith("3.12")] or [i for i in interpreters.discover() if i.kind == "default"][-1:]
    with process.Program(found[0].path, program) as p:
        core = p.gcore()
        p.child.kill()
        index = os.path.join(p.folder, "large.pygc")
        ran = process.pygc("-c", core, "leaks", "--save", index, "--fail-on", "never", timeout=900)
        check(ran.code == 0, ran.tail())
        objects = json.loads(process.pygc("-c", index, "leaks", "--format", "json", "--fail-on", "never").out)["result"]
        check(objects["interpreters"][0]["tracked"] >= 9999500 and objects["unreachable"] >= 499, "objects: %s" % [objects["interpreters"][0]["tracked"], objects["unreachable"]])
        times, works = [], []
        for _ in range(5):
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            process.pygc("-c", index, "leaks", "--format", "json", "--fail-on", "never")
            times.append(time.monotonic() - started)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            works.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        figures = "%.2f GB core, %.2f GB index; leaks from the index in %.2f s, %.2f s of it work (best of 5; %.1f of %d processors were busy with other things)" % (
            os.path.getsize(core) / 1e9, os.path.getsize(index) / 1e9, min(times), min(works), os.getloadavg()[0], os.cpu_count())
        check(min(works) < OPENS_IN, figures)     # what it takes where nothing else runs: it has one thread
        return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--interpreter", action="append", default=[])
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    sums = {"passed": 0, "failed": 0, "skipped": 0}

    def one(name, test, *arguments):
        try:
            got = test(*arguments)
            sums["passed"] += 1
            if options.v or (isinstance(got, str) and " " in got):
                print("passed   %s  %s" % (name, got or ""))
            return got
        except process.CannotTest as e:
            sums["skipped"] += 1
            print("SKIPPED  %s: %s" % (name, e))
        except (Wrong, OSError, ValueError, KeyError, IndexError) as e:
            sums["failed"] += 1
            print("FAILED   %s: %s: %s" % (name, type(e).__name__, str(e)[:500]))
        return None

    wanted = options.interpreter or (["3.12"] if options.quick else ["2.7", "3.6", "3.9", "3.11", "3.12", "3.13", "3.14", "3.15"])
    for i in interpreters.discover():
        if not any(i.name.startswith(w) for w in wanted) or (options.quick and sums["passed"]):
            continue
        folder = tempfile.mkdtemp(prefix="pygc-index-")
        try:
            with process.Program(i.path, os.path.join(HERE, "pages_target.py")) as p:
                core = p.gcore()
                index = one("%s: the same results" % i.name, same_results, p, core, folder, interpreters.counts_are_audited(i))
                if index and i.version.startswith("3.12"):
                    one("%s: refusals" % i.name, refusals, index, core, folder)
                    one("%s: damaged" % i.name, damaged, index, folder, 16 if options.quick else 400, 1)
        except process.CannotTest as e:
            sums["skipped"] += 1
            print("SKIPPED  %s: %s" % (i.name, e))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if options.large:
        folder = tempfile.mkdtemp(prefix="pygc-index-")
        try:
            one("ten million objects", large, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % sums)
    return 1 if sums["failed"] or not sums["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
