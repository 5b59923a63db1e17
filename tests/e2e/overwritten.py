#!/usr/bin/env python3
"""Memory that was overwritten: references of garbage that lead to no object any more, and whole pages, in copies of one core.

usage: overwritten.py [-v] [--words N] [--pages N] [--seed N] [--interpreter VERSION]...     (without --interpreter: one of each series)

Each trial changes one thing of a kernel's core of a process that knows its own truth: a word that was the address of an unreachable object becomes the
address of no object (no memory; the stack; between two objects; one word of each offset in each type, and words at random), or a page of the heap becomes zeroes, ones, noise or another page. Whatever
was changed, pygc reports; what is called complete, without a warning that counts and references disagree, is the result of the untouched core; and no
more is called unreachable than is. A second process holds garbage in places that are never NULL (items, slots of a deque, attributes, the self of a method,
...): each becomes NULL, links between its objects lead past one, counts are one too low; nothing of that is called exact, and the audit of counts blames no
C code for it. (Elsewhere a member that became NULL is a member that was deleted: nothing but the count of what it led to tells.) The trials are those of the seed (1, where
none is given; it is printed): the process has the same addresses every time, where `setarch -R` may give it them.
Uses $PYGC_BUILD/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import bisect
import collections
import json
import os
import random
import shutil
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
from places import LEAKS, core_editor, interpreters, process  # noqa: E402

PAGE = core_editor.PAGE
COUNTS_DISAGREE = "more references than"
HEADS = 8
JUNK = ["no memory", "the stack", "4 bytes on", "16 bytes on"]


def with_fixed_addresses(command):
    """The command under setarch -R, where that is allowed: the same program then lies at the same addresses each time."""
    wrapper = ["setarch", "-R"] if shutil.which("setarch") else []
    return wrapper + command if wrapper and subprocess.run(wrapper + ["true"], stderr=subprocess.DEVNULL).returncode == 0 else command


class Victim:
    """A process, its core, and what pygc says of that."""

    def __init__(self, interpreter, fixture="combined"):
        self.program = process.Program(with_fixed_addresses([interpreter.path]), fixture, twins=1)
        self.free_threaded = interpreter.kind == "free-threaded"
        self.truth = set(int(a) for a in self.program.truth["unreachable"])
        self.core = core_editor.Core(self.program.kernel_core(self.program.twins[0], 0x33))
        self.report = self.leaks()
        if not self.report[1] or not self.report[1]["complete"] or self.report[1]["result"]["unreachable"] != len(self.truth):
            raise process.CannotTest("the untouched core is not read right: %s" % self.report[2])
        objects = sorted(set(int(a) for a in self.program.truth["tracked"]) | self.truth)
        self.segments = self.core.loads()
        self.heap = [s for s in self.segments if s.data and s.flags & 2 and any(s.address <= a < s.end for a in objects[::16] + sorted(self.truth))]
        self.stack = max((s.address for s in self.core.loads() if s.data and s.flags & 2 and s.address < 1 << 47), default=0) + 64

    def leaks(self, command=LEAKS):
        path = os.path.join(self.program.folder, "overwritten")
        self.core.write(path)
        ran = process.pygc("-c", path, *command)
        os.unlink(path)
        return ran.code, json.loads(ran.out) if ran.code in (0, 1, 3) else None, ran.tail()

    def word(self, address):
        """What lies there; 0 where nothing does."""
        s = next((s for s in self.segments if s.address <= address <= s.end - 8), None)
        return struct.unpack_from("<Q", s.data, address - s.address)[0] if s else 0

    def ends_behind(self, address):
        """Whether the object has more than its head, so that 16 bytes on does not lie what follows it, which may be an object."""
        return self.free_threaded or self.word(self.word(address + 8) + 32) > 16  # tp_basicsize

    def words(self, of=None):
        """(segment, offset, address) of all words that are the address of an unreachable object, or of those of `of`."""
        found, of = [], self.truth if of is None else of
        for s in self.heap:
            for i, (word,) in enumerate(struct.iter_unpack("<Q", memoryview(s.data)[:len(s.data) & ~7])):
                if word in of:
                    found.append((s, 8 * i, word))
        return found

    def junk(self, kind, word):
        return {"no memory": 0x4141414141414140, "the stack": self.stack, "4 bytes on": word + 4, "16 bytes on": word + 16}[kind]

    def judge(self):
        code, report, says = self.leaks()
        if report is None:
            return ["exit status %s: %s" % (code, says)], "none"
        found, before = report["result"]["unreachable"], len(self.truth)
        warned = any(COUNTS_DISAGREE in w for w in report["warnings"])
        wrong = []
        if found != before and report["result"]["certainty"] == "exact":
            wrong.append("%d of %d unreachable objects, and the figure is called exact" % (found, before))
        if found > before and not warned:
            wrong.append("%d unreachable, more than the %d that are" % (found, before))
        if report["complete"] and not warned and report["result"]["unreachable"] != before:
            wrong.append("complete, with %d of %d unreachable objects" % (found, before))
        if code == 3 and report["complete"] and not warned or code == 0 and not report["complete"]:
            wrong.append("exit status %s with complete %s" % (code, report["complete"]))
        if any(not m.get("reason") or m.get("remedy") is None for m in report["missing"]):
            wrong.append("something missing without a reason: %s" % report["missing"])
        return wrong, "partial" if not report["complete"] else "warned" if warned else "complete"


def holds_a_class(victim, address):
    """Whether 16 bytes on lies what looks like the head of an object: the number of items of a tuple and its first one, a class."""
    count, first = victim.word(address + 16), victim.word(address + 24)
    metaclass = victim.word(first + 8)
    return 0 < count < 64 and metaclass != 0 and victim.word(metaclass + 8) == metaclass


def trials_of_words(victim, rng, count):
    words = victim.words()
    like_heads = [w for w in words if holds_a_class(victim, w[2])]
    chosen = [(w, JUNK[:1]) for w in (places_of_types(victim, words) if count else [])]
    chosen += [(w, JUNK) for w in rng.sample(words, min(count, len(words)))] + [(w, ["16 bytes on"]) for w in rng.sample(like_heads, min(HEADS, len(like_heads)))]
    for (s, at, word), kinds in chosen:
        for kind in kinds:
            if kind == "16 bytes on" and not victim.ends_behind(word):
                continue
            old = bytes(s.data[at:at + 8])
            s.data[at:at + 8] = struct.pack("<Q", victim.junk(kind, word))
            yield "the reference at %#x to %#x: %s" % (s.address + at, word, kind)
            s.data[at:at + 8] = old


def places_of_types(victim, words):
    """One word for each offset in each type that holds one of `words`."""
    whole = os.path.join(victim.program.folder, "whole")
    victim.core.write(whole)
    ran = process.pygc("-c", whole, "sql", "--limit", "0", "--format", "json",
                       "select o.address, o.size, t.name from objects o join types t on t.id = o.type_id order by 1", timeout=60)
    if not ran.out:
        raise process.CannotTest(ran.tail())
    rows = [(address, size or 0, name) for address, size, name in json.loads(ran.out)["result"]["rows"]]
    begins, chosen = [r[0] for r in rows], {}
    for w in words:
        at = w[0].address + w[1]
        begin, size, name = rows[max(0, bisect.bisect_right(begins, at) - 1)]
        if 0 <= at - begin < size:
            chosen.setdefault((name, at - begin), w)
    return [w for _, w in sorted(chosen.items())]


def trials_of_pages(victim, rng, count):
    pages = [(s, at) for s in victim.heap for at in range(0, len(s.data) - PAGE + 1, PAGE) if any(s.data[at:at + PAGE])]
    for s, at in rng.sample(pages, min(count, len(pages))):
        other, place = rng.choice(pages)
        for kind, data in (("zeroes", bytes(PAGE)), ("ones", b"\xff" * PAGE), ("noise", rng.getrandbits(8 * PAGE).to_bytes(PAGE, "little")),
                           ("the page at %#x" % (other.address + place), bytes(other.data[place:place + PAGE]))):
            old = bytes(s.data[at:at + PAGE])
            s.data[at:at + PAGE] = data
            yield "the page at %#x: %s" % (s.address + at, kind)
            s.data[at:at + PAGE] = old


def write(segment, at, word):
    segment.data[at:at + 8] = struct.pack("<Q", word)


def blames(victim, command):
    """What the audit says of C code in a core in which a reference was overwritten: nothing, and not that it is sure."""
    code, report, says = victim.leaks(command)
    if report is None:
        return ["%s: exit status %s: %s" % (command[0], code, says)]
    rows = [f for f in report["result"].get("refcount_findings", []) if f["kind"] != "deficit"] or report["result"].get("lost", 0)
    return (["%s: blames C code: %s" % (command[0], str(rows)[:200])] if rows else []) + (["%s: complete" % command[0]] if report["complete"] or code == 0 else [])


def members(interpreter, name, verbose):
    """(passed, failed) of the places that are never NULL, one kind after the other."""
    passed = failed = 0
    victim = Victim(interpreter, "members")
    free_threaded = interpreter.kind == "free-threaded"
    head = 0 if free_threaded else 32 if interpreter.version < "3.8" and not interpreter.version.startswith("3.1") else 16
    try:
        kinds = {t.split(".In_")[1]: int(a) for a, t in victim.program.truth["tracked"].items() if ".In_" in t and int(a) in victim.truth}
        for kind, address in sorted(kinds.items()):
            wrong, partial = [], 0
            for s, at, word in victim.words({address}):
                write(s, at, 0)
                says, state = victim.judge()
                wrong += says
                if state == "partial":
                    partial += 1
                    if not free_threaded and partial == 2:
                        wrong += blames(victim, ["refcounts", "--format", "json"]) + blames(victim, ["leaks", "--audit", "--format", "json"])
                write(s, at, word)
            if partial < 2:  # its own item, and the member
                wrong.append("a member that became NULL is not missed")
            segment = next(s for s in victim.heap if s.address <= address < s.end)
            if not free_threaded:
                at = address - segment.address - head
                link, = struct.unpack_from("<Q", segment.data, at)
                following = next((s for s in victim.heap if s.address <= link < s.end), None)
                if following is not None:
                    write(segment, at, struct.unpack_from("<Q", following.data, link - following.address)[0])
                    wrong += ["its link leads past the next object: " + w for w in victim.judge()[0]]
                    write(segment, at, link)
                count, = struct.unpack_from("<I", segment.data, at + head)
                struct.pack_into("<I", segment.data, at + head, count - 1)
                wrong += ["its count is one too low: " + w for w in victim.judge()[0]]
                struct.pack_into("<I", segment.data, at + head, count)
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong or verbose:
                print("%s %s, held by %s%s" % ("FAILED" if wrong else "passed", name, kind, "".join("\n    " + str(w)[:300] for w in wrong)))
    finally:
        victim.program.close()
    return passed, failed


def run(interpreter, words, pages, seed, verbose):
    passed = failed = 0
    name = interpreter.version + ("t" if interpreter.kind == "free-threaded" else "")
    if words:
        passed, failed = members(interpreter, name, verbose)
    victim = Victim(interpreter)
    states = collections.Counter()
    try:
        rng = random.Random(seed)
        for trials in (trials_of_words(victim, rng, words), trials_of_pages(victim, rng, pages)):
            for what in trials:
                wrong, state = victim.judge()
                states[state] += 1
                passed, failed = passed + (not wrong), failed + bool(wrong)
                if wrong or verbose:
                    print("%s %s, %s%s" % ("FAILED" if wrong else "passed", name, what, "".join("\n    " + str(w)[:300] for w in wrong)))
    finally:
        victim.program.close()
    print("%s, seed %d: %s" % (name, seed, ", ".join("%s %d" % s for s in sorted(states.items()))), flush=True)
    return passed, failed


def main():
    arguments, versions, verbose, words, pages, seed = sys.argv[1:], [], False, 20, 20, 1
    while arguments:
        a = arguments.pop(0)
        if a in ("-h", "--help"):
            print(__doc__)
            return 0
        if a == "-v":
            verbose = True
        elif a == "--words":
            words = int(arguments.pop(0))
        elif a == "--pages":
            pages = int(arguments.pop(0))
        elif a == "--seed":
            seed = int(arguments.pop(0))
        elif a == "--interpreter":
            versions.append(arguments.pop(0))
        else:
            print(__doc__)
            return 2
    chosen, series = [], set()
    for i in interpreters.discover():
        name = i.version + ("t" if i.kind == "free-threaded" else "")
        one = (i.kind, i.version.rsplit(".", 1)[0])
        if i.kind not in ("default", "free-threaded") or (one in series and not versions):
            continue
        if not versions or any(name.startswith(v) for v in versions):
            chosen.append(i)
            series.add(one)
    passed = failed = 0
    for interpreter in chosen:
        try:
            p, f = run(interpreter, words, pages, seed, verbose)
        except (process.CannotTest, OSError) as e:
            print("FAILED %s: %s" % (interpreter.path, e))
            p, f = 0, 1
        passed, failed = passed + p, failed + f
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
