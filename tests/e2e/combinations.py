#!/usr/bin/env python3
"""What is missing, wrong or damaged, in every combination: coredump_filter x state of the interpreter's files x part of memory that is not in the core.

usage: combinations.py [-v] [--all] [--segments | --holes N] [--interpreter VERSION]... [NAME...]     (NAME: only combinations whose name holds it)

--segments: instead, each segment of a core by itself: without its bytes, without its header, without its second half. Without --interpreter: a shared and a
static build.
--holes N: instead, N cores of each interpreter with pages taken out at random, the same every time.

The oracle is the interpreter's own: the objects that it tracks and those that its collector finds. Whatever is taken away, what pygc finds is a part of
these; only what is equal to all of them is called complete; and there is a report as long as anything of the interpreter's writable memory is left that
something identifies. Uses $PYGC_BUILD/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import places  # noqa: E402
from places import core_editor, interpreters, process  # noqa: E402

FILTERS = [0x01, 0x23, 0x33, 0x7F]
KINDS = ("default", "free-threaded")
# Of each series and way of building one: shared and static, with and without symbols, patched by a distribution, free-threaded.
WANTED = [("2.7", None), ("3.6", None), ("3.8", True), ("3.9", False), ("3.11.2", False), ("3.12", True), ("3.13.0", True), ("3.13.5", False), ("3.14", None), ("3.15", None)]


class Memory:
    """Where the parts of the process lie."""

    def __init__(self, place):
        self.own = os.path.realpath(place.interpreter.executable)
        self.data, self.heap, self.stack, self.arenas = [], [], [], []
        before = None
        with open("/proc/%d/maps" % place.program.pid) as f:
            for line in f:
                fields = line.split(None, 5)
                begin, end = (int(x, 16) for x in fields[0].split("-"))
                file = fields[5].strip() if len(fields) > 5 else ""
                if file == "[heap]":
                    self.heap.append((begin, end))
                elif file == "[stack]":
                    self.stack.append((begin, end))
                elif self.is_interpreter(file) and ("w" in fields[1] or before == (begin, "w")):
                    self.data.append((begin, end))
                elif not file and self.data and self.data[-1][1] == begin:
                    self.data.append((begin, end))      # .bss
                elif not file and "w" in fields[1]:
                    self.arenas.append((begin, end))

    def is_interpreter(self, file):
        return "libpython" in os.path.basename(file) or os.path.realpath(file) == self.own


def within(ranges):
    return lambda s: any(begin <= s.address < end for begin, end in ranges)


def take_away(memory, part):
    """A change to a core: `part` of the memory is not in it."""
    def change(core):
        if part == "nothing":
            return
        if part == "first pages":
            core.elide(lambda s: bytes(s.data[:4]) == b"\x7fELF")
        elif part == "half of each arena":
            for s in core.loads():
                if within(memory.arenas)(s) and len(s.data) > 8192:
                    del s.data[len(s.data) // 2 & ~4095:]
        elif part == "second half of the data":
            for s in core.loads():
                if within(memory.data)(s) and len(s.data) > 8192:
                    halve(s)
        elif part == "data, not listed":
            core.drop(within(memory.data))
        elif part == "data and stack":
            core.elide(within(memory.data + memory.stack))
        else:
            core.elide(within({"data": memory.data, "heap": memory.heap, "arenas": memory.arenas, "stack": memory.stack}[part]))
    return change


PARTS = ["nothing", "stack", "data", "data, not listed", "second half of the data", "heap", "arenas", "half of each arena", "first pages", "data and stack"]


def spoil(path, state, other):
    """Puts a file into a state. False: there is no such state for it."""
    size = os.path.getsize(path)
    if state == "cut":
        os.truncate(path, size // 3)
    elif state == "gone":
        os.unlink(path)
    elif state == "of another build":
        if other is None:
            return False
        shutil.copy(other, path)
    elif state == "zeroes in the middle":
        with open(path, "r+b") as f:
            f.seek(size // 4 & ~4095)
            f.write(bytes(size // 4 & ~4095))
    elif state == "only zeroes":
        with open(path, "r+b") as f:
            f.write(bytes(size))
    return True


STATES = ["right", "gone", "of another build", "cut", "zeroes in the middle", "only zeroes"]


def libraries_of(interpreter):
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(interpreter.executable))), "lib")
    if not interpreter.shared or not os.path.isdir(folder):
        return []
    return [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.startswith("libpython") and ".so." in n]


class Files:
    """The files of a process below a root of their own, the interpreter's in one of STATES."""

    def __init__(self, place, memory, state):
        self.root = place.path("files-" + state.replace(" ", "-"))
        places.moved_files(place, self.root + "/nowhere")
        same_kind = [i for i in interpreters.discover() if i.kind == "default" and i.shared == place.interpreter.shared and i.version != place.interpreter.version]
        other = min(same_kind, key=lambda i: abs(len(i.version) - 5)) if same_kind else None
        self.possible = True
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                there = path[len(self.root + "/nowhere"):]
                if not memory.is_interpreter(there):
                    continue
                of_other = None if other is None else os.path.realpath(other.executable)
                if "libpython" in name:
                    of_other = next(iter(libraries_of(other)), None) if other else None
                self.possible = spoil(path, state, of_other) and self.possible


def found_in(core, root, folder):
    """(exit status, complete, {tracked}, {unreachable}, says) by the export, which has every object."""
    database = os.path.join(folder, "combination.db")
    if os.path.exists(database):
        os.unlink(database)
    ran = process.pygc("-c", core, "--sysroot", root, "export", "--format", "sqlite", "-o", database)
    if not os.path.exists(database):
        return ran.code, None, set(), set(), ran.tail()
    con = sqlite3.connect(database)
    try:
        complete = con.execute("select value from meta where key = 'complete'").fetchone()[0] in ("1", "true")
        tracked = set(a for a, in con.execute("select address from objects where tracked"))
        unreachable = set(a for a, in con.execute("select address from objects where tracked and state in ('unreachable', 'uncollectable')"))
    finally:
        con.close()
    return ran.code, complete, tracked, unreachable, ran.tail()


def comparable(document, state):
    """The result of a report. Up to 3.6 what the collector counted lies in file statics, which only the file's symbols name."""
    result = json.loads(document)["result"]
    for interpreter in result["interpreters"] if state != "right" else []:
        for generation in interpreter["generations"]:
            for key in ("collections", "collected", "uncollectable"):
                generation.pop(key, None)
    return result


def may_be_unknown(part, state):
    """Nothing is left that could say what this is: neither the interpreter's data nor its file."""
    return (part.startswith("data") or part == "second half of the data") and state != "right"


def judge(place, core, root, part, state):
    truth = set(int(a) for a in place.program.truth["unreachable"])
    tracked_before = set(place.tracked)
    code, complete, tracked, unreachable, says = found_in(core, root, place.folder)
    if code == 4 and may_be_unknown(part, state):
        return ["exit 4 without its one line: " + says] if "not CPython" in says or "initialised" in says else []
    wrong = []
    if code not in (0, 3):
        return ["export: exit status %s: %s" % (code, says)]
    if tracked - tracked_before:
        wrong.append("%d objects called tracked that are not: %s" % (len(tracked - tracked_before), ", ".join(hex(a) for a in sorted(tracked - tracked_before)[:4])))
    if unreachable - truth:
        wrong.append("%d objects called unreachable that are not: %s" % (len(unreachable - truth), ", ".join(hex(a) for a in sorted(unreachable - truth)[:4])))
    if complete != (code == 0):
        wrong.append("complete is %s, exit status %s" % (complete, code))
    if complete and (tracked != tracked_before or unreachable != truth):
        wrong.append("complete, with %d of %d tracked and %d of %d unreachable objects" % (len(tracked), len(tracked_before), len(unreachable), len(truth)))
    if not complete and part == "nothing" and state == "right":
        wrong.append("not complete, although nothing is missing")
    # With the roots lost most objects are found; so they are where less is.
    if part in ("nothing", "stack", "data", "data, not listed", "first pages", "data and stack") and state == "right" and len(tracked) * 10 < len(tracked_before) * 9:
        wrong.append("only %d of %d tracked objects found" % (len(tracked), len(tracked_before)))
    ran = process.pygc("-c", core, "--sysroot", root, *places.LEAKS)
    if ran.code not in (0, 1, 3):
        return wrong + ["leaks: exit status %s: %s" % (ran.code, ran.tail())]
    report = json.loads(ran.out)
    if ran.code == 0 and not report["complete"] or ran.code == 3 and report["complete"] and report["result"]["unreachable"] == 0:
        wrong.append("leaks: exit status %s with complete %s" % (ran.code, report["complete"]))
    if report["complete"] and comparable(ran.out, state) != comparable("{" + place.whole, state):
        wrong.append("leaks: complete, and not the result of the untouched core")
    if not report["complete"] and any(not m.get("reason") or m.get("remedy") is None for m in report["missing"]):
        wrong.append("leaks: something missing without a reason: %s" % report["missing"])
    if report["result"]["unreachable"] > len(truth):
        wrong.append("leaks: %d unreachable, more than the %d that are" % (report["result"]["unreachable"], len(truth)))
    return wrong


def tell(interpreter, name, wrong, verbose):
    if wrong or verbose:
        print("%s %s, %s" % ("FAILED" if wrong else "passed", interpreter.version + ("t" if interpreter.kind == "free-threaded" else ""), name))
    for w in wrong[:6]:
        print("    " + str(w)[:500])
    sys.stdout.flush()


def judged(*arguments):
    try:
        return judge(*arguments)
    except (OSError, ValueError, KeyError, sqlite3.Error, subprocess.CalledProcessError) as e:
        return ["%s: %s" % (type(e).__name__, e)]


def halve(segment):
    del segment.data[len(segment.data) // 2 & ~4095:]


def run_segments(interpreter, names, verbose):
    passed = failed = 0
    place = places.Place(interpreter, [0x33], gcore=False)
    try:
        files = Files(place, Memory(place), "right")
        starts = [s.address for s in core_editor.Core(place.kernel[0x33]).loads() if s.data]
        for start in starts:
            for how, change in (("bytes", lambda c: c.elide(lambda s: s.address == start)), ("header", lambda c: c.drop(lambda s: s.address == start)),
                                ("second half", lambda c: halve(c.load_at(start)))):
                name = "segment at %#x without its %s" % (start, how)
                if names and not any(n in name for n in names):
                    continue

                def all_changes(c):
                    change(c)
                    c.change_note(core_editor.NT_FILE, places.below(b"/nowhere"))
                wrong = judged(place, place.edited("combined", all_changes), files.root, "a segment", "right")
                passed, failed = passed + (not wrong), failed + bool(wrong)
                tell(interpreter, name, wrong, verbose)
    finally:
        place.close()
    return passed, failed


def take_pages(core, rng):
    """Takes stretches of pages out of writable segments, as 1 to 100 holes; some keep a header, as a core of the kernel has it, others leave none."""
    def large():
        return [s for s in core.loads() if len(s.data) >= 2 * core_editor.PAGE]
    for _ in range(rng.choice([1, 1, 2, 5, 20, 100])):
        segments = large()
        s = rng.choices(segments, [len(x.data) for x in segments])[0] if rng.random() < 0.6 else rng.choice(segments)
        pages = len(s.data) // core_editor.PAGE
        first = rng.randrange(pages)
        begin, end = first * core_editor.PAGE, min(pages, first + rng.choice([1, 1, 2, 8, 64])) * core_editor.PAGE
        parts = [core_editor.Segment(s.kind, s.flags, s.address, begin, s.data[:begin], s.align)] if begin else []
        if rng.random() < 0.5:
            parts.append(core_editor.Segment(s.kind, s.flags, s.address + begin, end - begin, bytearray(), s.align))
        if end < len(s.data):
            parts.append(core_editor.Segment(s.kind, s.flags, s.address + end, s.memory_size - end, s.data[end:], s.align))
        at = core.segments.index(s)
        core.segments[at:at + 1] = parts


def run_holes(interpreter, names, verbose, trials):
    passed = failed = 0
    place = places.Place(interpreter, [0x33], gcore=False)
    try:
        files = Files(place, Memory(place), "right")
        for seed in range(trials):
            def change(c):
                take_pages(c, random.Random(seed))
                c.change_note(core_editor.NT_FILE, places.below(b"/nowhere"))
            wrong = judged(place, place.edited("combined", change), files.root, "some pages", "right")
            passed, failed = passed + (not wrong), failed + bool(wrong)
            tell(interpreter, "pages taken out, seed %d" % seed, wrong, verbose)
    finally:
        place.close()
    return passed, failed


def run(interpreter, names, verbose):
    passed = failed = 0
    place = places.Place(interpreter, FILTERS, gcore=False)
    try:
        memory = Memory(place)
        files = {state: Files(place, memory, state) for state in STATES}
        for filter_bits in FILTERS:
            for part in PARTS:
                core = None
                for state in STATES:
                    name = "filter 0x%02x, %s missing, files %s" % (filter_bits, part, state)
                    if names and not any(n in name for n in names):
                        continue
                    if not files[state].possible:
                        continue
                    if core is None:
                        def change(c):
                            take_away(memory, part)(c)
                            c.change_note(core_editor.NT_FILE, places.below(b"/nowhere"))
                        core = place.edited("combined", change, base=filter_bits)
                    wrong = judged(place, core, files[state].root, part, state)
                    passed, failed = passed + (not wrong), failed + bool(wrong)
                    tell(interpreter, name, wrong, verbose)
    finally:
        place.close()
    return passed, failed


def chosen(versions, everything):
    found = [i for i in interpreters.discover() if i.kind in KINDS]
    if versions:
        return [i for i in found if any((i.version + ("t" if i.kind == "free-threaded" else "")).startswith(v) for v in versions)]
    if everything:
        return found
    picked = []
    for version, shared in WANTED:
        one = next((i for i in found if i.kind == "default" and i.version.startswith(version) and (shared is None or i.shared == shared)), None)
        if one is not None and one not in picked:
            picked.append(one)
    return picked + [i for i in found if i.kind == "free-threaded"][:1]


def main():
    arguments, versions, names, verbose, everything, segments, holes = sys.argv[1:], [], [], False, False, False, 0
    while arguments:
        a = arguments.pop(0)
        if a in ("-h", "--help"):
            print(__doc__)
            return 0
        if a == "-v":
            verbose = True
        elif a == "--all":
            everything = True
        elif a == "--segments":
            segments = True
        elif a == "--holes":
            holes = int(arguments.pop(0))
        elif a == "--interpreter":
            versions.append(arguments.pop(0))
        else:
            names.append(a)
    passed = failed = 0
    if segments and not versions:
        versions = ["3.12", "3.13.5"]
    for interpreter in chosen(versions, everything):
        try:
            p, f = run_holes(interpreter, names, verbose, holes) if holes else (run_segments if segments else run)(interpreter, names, verbose)
        except (process.CannotTest, OSError) as e:
            print("FAILED %s: %s" % (interpreter.path, e))
            p, f = 0, 1
        passed, failed = passed + p, failed + f
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
