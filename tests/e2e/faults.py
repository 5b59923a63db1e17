#!/usr/bin/env python3
"""The fault catalogue: cores with one thing wrong in headers, notes, lists or objects, and what pygc must make of each.

usage: faults.py [-v] [--all] [--interpreter VERSION]... [NAME...]     (NAME: run only rows whose name holds it)

A process writes what its own gc module says, a fork of it is dumped by the kernel, and each row damages a copy of that core. Whatever the damage:
an exit status of the contract and not 6, no hang, at most 200 MiB of memory, no control byte in the output, nothing unreachable that the interpreter does not find so, and
`complete` only with the very result of the untouched core, or with what the interpreter would make of that memory. Uses $PYGC_BUILD/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import json
import os
import re
import resource
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import core_editor  # noqa: E402
import interpreters  # noqa: E402
import process  # noqa: E402

SKIP = "skip: "
TREES = 200
LONGEST = 10.0          # seconds
MOST = 200 << 10        # KiB that any process of a run may have in memory, pages of the core included
JUNK = 0x4141414141414140
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]")


class Patient:
    """One process with its truth, and the kernel's core of a fork of it."""

    def __init__(self, interpreter):
        self.interpreter = interpreter
        self.program = process.Program(interpreter.path, "node_tree", [str(TREES)], twins=1)
        truth = self.program.truth
        self.tracked = {int(a): name for a, name in truth["tracked"].items()}
        self.refs = {int(a): r for a, r in truth["refs"].items()}
        self.unreachable = set(truth["unreachable"])
        self.hexversion = truth["hexversion"]
        self.head_size = 32 if self.hexversion < 0x03080000 else 16
        self.core = self.program.kernel_core(self.program.twins[0], 0x33)
        self.path = os.path.join(self.program.folder, "damaged")
        ran = process.pygc("-c", self.core, "leaks", "--format", "json")
        self.whole = process.result_bytes(ran.out)
        report = json.loads(ran.out)
        if report["result"]["unreachable"] != len(self.unreachable) or not report["complete"]:
            raise process.CannotTest("the untouched core is not read right: " + ran.tail())

    def of_type(self, name, wanted=lambda a: True):
        """Addresses of the tracked objects of a type, lowest first."""
        return [a for a in sorted(self.tracked) if self.tracked[a] == name and wanted(a)]

    def lost_node(self):
        """A Node that nothing reaches."""
        return self.of_type("__main__.Node", lambda a: a in self.unreachable)[10]

    def kept_node(self):
        return self.of_type("__main__.Node", lambda a: a not in self.unreachable)[0]

    def node_class(self):
        """The address of the class Node: what a Node's ob_type says."""
        return struct.unpack("<Q", core_editor.Core(self.core).read(self.lost_node() + 8, 8))[0]

    def close(self):
        self.program.close()


def word(value):
    return struct.pack("<Q", value & (1 << 64) - 1)


# ---- damage to memory: Patient, Core -> None

def gc_next(choose):
    def damage(p, core):
        a = p.lost_node()
        core.patch(a - p.head_size, word(choose(p, core, a)))
    return damage


def earlier(p, core, a):
    """The list head or object that lies two links before `a`: a loop that never meets its start again."""
    for _ in range(2):
        a = (struct.unpack("<Q", core.read(a - p.head_size + 8, 8))[0] & ~3) + p.head_size
    return a - p.head_size


def later(p, core, a):
    """Five links on: four objects are left out, and what follows points back to where they were."""
    for _ in range(5):
        a = (struct.unpack("<Q", core.read(a - p.head_size, 8))[0] & ~3) + p.head_size
    return a - p.head_size


def list_head(offset, value):
    """The link at `offset` of the head of the list that the lost nodes are in; both where that is None."""
    def damage(p, core):
        head = head_of_list(p, core)
        for o in (0, 8) if offset is None else (offset,):
            core.patch(head + o, word(value(head)))
    return damage


def head_of_list(p, core):
    """The head of the list of the lost nodes: the one link of its ring that is not in front of an object. An object's types end in `type`."""
    def type_of(a):
        data = core.read(a + 8, 8)
        return struct.unpack("<Q", data)[0] if data else 0

    def has_type(a):
        return last in (type_of(a), type_of(type_of(a)), type_of(type_of(type_of(a))))

    last = type_of(p.node_class())
    a = p.lost_node()
    for _ in range(len(p.tracked) + 1000):
        head = struct.unpack("<Q", core.read(a - p.head_size, 8))[0] & ~3
        a = head + p.head_size
        if a not in p.tracked and not has_type(a):
            return head
    raise process.CannotTest("no head of a list found")


def at(choose, offset, value):
    """A word of one object changed."""
    def damage(p, core):
        a = choose(p)
        core.patch(a + offset, word(value(p, core, a) if callable(value) else value))
    return damage


def first(name):
    return lambda p: p.of_type(name)[len(p.of_type(name)) // 2]


def fill(byte, count=48):
    def damage(p, core):
        core.patch(p.lost_node(), bytes([byte]) * count)
    return damage


def type_field(offset, value):
    """A word of the class Node changed (offsets of PyTypeObject that no version has moved: Include/cpython/object.h)."""
    def damage(p, core):
        a = p.node_class()
        core.patch(a + offset, word(value(a) if callable(value) else value))
    return damage


def name_of_type(name):
    """tp_name of the class Node shows `name`, put where the padding of some page is free; a heap type's own name object stays."""
    def damage(p, core):
        a = p.node_class()
        where = struct.unpack("<Q", core.read(a + 24, 8))[0]
        old = core.read(where, 4)
        if old is None:
            raise process.CannotTest("the name of Node is not in the core")
        core.patch(where, name)
    return damage


# ---- damage to notes and headers

def note(kind, change):
    return lambda p, core: core.change_note(kind, change)


def note_header(field, value):
    """A word of the header of the second note: 0 the name's size, 4 the description's, 8 the type."""
    def damage(p, core):
        segment = next(s for s in core.segments if s.kind == core_editor.PT_NOTE)
        name_size, size = struct.unpack_from("<II", segment.data, 0)
        second = 12 + ((name_size + 3) & ~3) + ((size + 3) & ~3)
        struct.pack_into("<I", segment.data, second + field, value)
    return damage


def file_names(change):
    def rename(body):
        count = int.from_bytes(body[:8], "little")
        names = body[16 + count * 24:].split(b"\0")[:count]
        return body[:16 + count * 24] + change(names)
    return note(core_editor.NT_FILE, rename)


def file_count(body):
    return struct.pack("<Q", 1 << 60) + body[8:]


def program_header(choose, change):
    """One PT_LOAD's header as bytes, changed in the file: choose(list of (offset, size, address, memory size)) -> index."""
    def raw(path):
        with open(path, "r+b") as f:
            data = f.read(64)
            table, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
            loads = []
            for i in range(count):
                f.seek(table + i * 56)
                fields = list(struct.unpack("<IIQQQQQQ", f.read(56)))
                if fields[0] == core_editor.PT_LOAD:
                    loads.append((i, fields))
            i, fields = choose(loads)
            change(fields)
            f.seek(table + i * 56)
            f.write(struct.pack("<IIQQQQQQ", *(v & ((1 << 32) - 1 if k < 2 else (1 << 64) - 1) for k, v in enumerate(fields))))
    return raw


def largest(loads):
    return max(loads, key=lambda l: l[1][5])


def setting(index, value):
    def change(fields):
        fields[index] = value(fields) if callable(value) else value
    return change


def header_bytes(offset, data):
    def raw(path):
        with open(path, "r+b") as f:
            f.seek(offset)
            f.write(data)
    return raw


def sparse(path):
    """200 GB of zeros that no disk holds, behind what there was."""
    raw_add = 200 << 30
    with open(path, "r+b") as f:
        head = f.read(64)
        table, count = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<H", head, 56)[0]
        f.seek(table)
        headers = [list(struct.unpack("<IIQQQQQQ", f.read(56))) for _ in range(count)]
        end = os.path.getsize(path)
        used = [(h[3], h[3] + h[6]) for h in headers if h[0] == core_editor.PT_LOAD]
        address = 0x10000000000
        while any(b < address + raw_add and address < e for b, e in used):
            address += 1 << 40
        spare = next(h for h in reversed(headers) if h[0] == core_editor.PT_LOAD and h[5] == 0)      # one that has nothing in the file
        spare[1:8] = [6, (end + 4095) & ~4095, address, 0, raw_add, raw_add, 4096]
        f.seek(table)
        for h in headers:
            f.write(struct.pack("<IIQQQQQQ", *h))
        f.truncate(((end + 4095) & ~4095) + raw_add)


# ---- the rows: (name, damage of memory or notes, damage of the file, what must come of it, what leaks says, what verify says)
# What must come of it: "same" (the untouched core's result), "partial" (exit 1 or 3, PARTIAL, figures not above the truth), "bounds" (a lower and an upper bound, exit 3),
# "replayed" (complete: what the interpreter itself would now find in that memory), "refused" (exit 4), or a set of these; then a pattern that the report
# or the message holds, and one that `pygc verify` must say, which then must not exit 0

ANY = {"same", "partial", "refused"}
KEPT = {"same", "partial"}
REPLAYED = {"same", "replayed"}


def rows(p):
    # Every link stands twice in a ring, once each way: with one of them wrong nothing is missing, and verify says which.
    yield "the ring of a generation is a loop", gc_next(earlier), None, {"same"}, None, "none is missing"
    yield "a link leaves memory", gc_next(lambda p, c, a: JUNK), None, {"same"}, None, "0x4141414141414140.*none is missing"
    yield "a link is null", gc_next(lambda p, c, a: 0), None, {"same"}, None, "NULL.*none is missing"
    yield "a link is not aligned", gc_next(lambda p, c, a: a - p.head_size + 5), None, {"same"}, None, "none is missing"
    yield "a link leaves four objects out", gc_next(later), None, {"same"}, None, "leads past 4 objects.*none is missing"
    yield "a link leads into a type", gc_next(lambda p, c, a: p.node_class() + 64), None, KEPT, None, "cannot follow"
    yield "the first link of a list is junk", list_head(0, lambda head: JUNK), None, {"same"}, None, "none is missing"
    yield "a list that leads to its own head", list_head(0, lambda head: head), None, {"same"}, None, "none is missing"
    yield "the last link of a list is junk", list_head(8, lambda head: JUNK), None, {"same"}, None, "does not lead back"
    yield "both links of a list are junk", list_head(None, lambda head: JUNK), None, {"partial"}, "cannot follow", "cannot follow"
    yield "the type of an object is junk", at(Patient.lost_node, 8, JUNK), None, {"partial"}, "not readable", "0x[0-9a-f]+"
    yield "the type of an object is null", at(Patient.lost_node, 8, 0), None, {"partial"}, "not readable", "0x[0-9a-f]+"
    yield "the type of an object is an instance", at(Patient.lost_node, 8, lambda p, c, a: p.kept_node()), None, {"partial"}, "not readable", "0x[0-9a-f]+"
    yield "a list of 2^60 items", at(first("list"), 16, 1 << 60), None, {"partial"}, "tables", "."
    yield "a list of minus one items", at(first("list"), 16, -1), None, {"partial"}, "tables", "."
    yield "items of a list outside memory", at(lambda p: next(a for a in p.of_type("list") if p.refs[a]), 24, JUNK), None, {"partial"}, "tables", "."
    yield "a tuple of 2^60 items", at(first("tuple"), 16, 1 << 60), None, {"partial"}, "tables", "."
    yield "a dict whose keys lie outside memory", at(first("dict"), 40 if p.hexversion < 0x03060000 else 32, JUNK), None, {"partial"}, "tables", "."
    yield "a function whose globals are junk", at(first("function"), 16, JUNK), None, KEPT, None, "refers to 0x4141414141414140, where no memory is"
    yield "a reference count of minus one", at(Patient.kept_node, 0, -1), None, REPLAYED, None, None
    yield "a reference count of 2^62", at(Patient.lost_node, 0, 1 << 62), None, REPLAYED, None, None
    yield "a reference count of 1 too few", at(lambda p: p.lost_node(), 0, lambda p, c, a: int.from_bytes(c.read(a, 8), "little") - 1), None, KEPT | REPLAYED, None, "."
    yield "an object filled with 0xdd", fill(0xDD), None, {"partial"}, "not readable", "0x[0-9a-f]+"
    yield "an object filled with 0xdb", fill(0xDB), None, {"partial"}, "not readable", "0x[0-9a-f]+"
    yield "an object filled with zeros", fill(0), None, {"partial"}, "not readable", "0x[0-9a-f]+"
    yield "a type of basic size 0", type_field(32, 0), None, {"partial"}, "not readable", "."
    yield "a type of basic size minus one", type_field(32, -1), None, {"partial"}, "not readable", "."
    yield "a type of basic size 2^60", type_field(32, 1 << 60), None, {"partial"}, "not readable", "."
    yield "a type whose base is itself", type_field(256, lambda a: a), None, KEPT | REPLAYED, None, None
    yield "a type whose base is junk", type_field(256, JUNK), None, KEPT, None, None
    yield "a type whose flags are all set", type_field(168, -1), None, KEPT, None, None
    yield "a type without flags", type_field(168, 0), None, {"partial"}, "not readable", "."
    yield "a type whose traverse function is junk", type_field(184, JUNK), None, {"bounds"}, "up to", None
    yield "a type whose traverse function is itself", type_field(184, lambda a: a), None, {"bounds"}, "up to", None
    yield "a type whose name is outside memory", type_field(24, JUNK), None, KEPT, None, None
    yield "a type whose name is an escape sequence", name_of_type(b"\x1b]2"), None, REPLAYED, r"\\x1b\]2", None
    yield "a note of 4 GB", note_header(4, 0xFFFFFFFF), None, ANY, None, None
    yield "a note with a name of 4 GB", note_header(0, 0xFFFFFFFF), None, ANY, None, None
    yield "notes of no size", lambda p, core: core.set_notes([(b"", 0, b"")] * 5000 + core.notes()), None, {"same"}, None, None
    yield "NT_FILE of 2^60 files", note(core_editor.NT_FILE, file_count), None, ANY, None, None
    yield "NT_FILE with half of its names", file_names(lambda n: b"".join(x + b"\0" for x in n[:len(n) // 2])), None, ANY, None, None
    yield "NT_FILE that does not end", file_names(lambda n: b"\0".join(n)), None, ANY, None, None
    yield "NT_FILE cut in its table", note(core_editor.NT_FILE, lambda b: b[:100]), None, ANY, None, None
    yield "NT_FILE with escape sequences", file_names(lambda n: b"".join(b"/\x1b]0;x\x07" + x + b"\0" for x in n)), None, ANY, None, None
    yield "NT_FILE that climbs out", file_names(lambda n: b"".join(b"../../../.." + x + b"\0" for x in n)), None, ANY, None, None
    yield "NT_PRSTATUS of ten bytes", note(core_editor.NT_PRSTATUS, lambda b: b[:10]), None, KEPT, None, None
    yield "NT_AUXV of odd size", note(core_editor.NT_AUXV, lambda b: b[:13]), None, KEPT, None, None
    yield "NT_AUXV that is random", note(core_editor.NT_AUXV, lambda b: bytes((i * 37 + 11) & 255 for i in range(len(b)))), None, KEPT, None, None
    yield "big-endian", None, header_bytes(5, b"\2"), {"refused"}, "(?i)endian|byte order", None
    yield "a program header table behind the end", None, header_bytes(32, word(1 << 50)), {"refused"}, None, None
    yield "program headers of another size", None, header_bytes(54, struct.pack("<H", 57)), {"refused"}, None, None
    yield "no program headers", None, header_bytes(56, struct.pack("<H", 0)), {"refused"}, None, None
    yield "a segment whose offset overflows", None, program_header(largest, setting(2, (1 << 64) - 4096)), KEPT | {"refused"}, None, None
    yield "a segment whose size overflows", None, program_header(largest, setting(5, (1 << 64) - 4096)), KEPT | {"refused"}, None, None
    yield "a segment larger than the file", None, program_header(largest, setting(5, 1 << 44)), KEPT | {"refused"}, None, None
    yield "a segment of no memory", None, program_header(largest, setting(6, 0)), KEPT | {"refused"}, None, None
    yield "a segment that is not canonical", None, program_header(largest, setting(3, 0x0001000000000000)), {"partial", "refused"}, None, None
    yield "a segment at the end of the address space", None, program_header(largest, setting(3, (1 << 64) - 4096)), {"partial", "refused"}, None, None
    yield "200 GB of zeros more", None, sparse, {"same"}, None, None
    if p.hexversion >= 0x030D0000:
        for name, offset in (("cookie", 0), ("version", 8), ("free-threaded", 16)):
            yield "debug offsets, another %s" % name, debug_offsets(offset, JUNK), None, KEPT | {"refused"}, None, None
        for offset in range(24, 24 + 8 * 24, 24):
            yield "debug offsets that lie at +%d" % offset, debug_offsets(offset, 1 << 40), None, KEPT, None, None


def debug_offsets(offset, value):
    """The table _Py_DebugOffsets, at the start of _PyRuntime (3.13 and later)."""
    def damage(p, core):
        for s in core.loads():
            where = s.data.find(b"xdebugpy")
            while where != -1:
                if where % 8 == 0 and struct.unpack_from("<Q", s.data, where + 8)[0] == p.hexversion:
                    struct.pack_into("<Q", s.data, where + offset, value & (1 << 64) - 1)
                    return
                where = s.data.find(b"xdebugpy", where + 8)
        raise process.CannotTest("no debug offsets in the core")
    return damage


# ---- judging

class Ran:
    """One run with its time and its memory."""

    def __init__(self, *arguments):
        begun = time.time()
        with subprocess.Popen([process.PYGC, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            try:
                self.out, self.err = child.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                child.kill()
                self.out, self.err = child.communicate()
        self.code, self.seconds = child.returncode, time.time() - begun
        self.most_memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss   # of the largest so far, the worker among them


def kind_of(p, json_run, wrong):
    """"same", "partial" or "refused", and what is wrong with it whatever the damage was."""
    for ran in json_run:
        if ran.code not in (0, 1, 3, 4):
            wrong.append("exit status %s: %s" % (ran.code, ran.err[-200:].decode(errors="replace")))
            return None
        if ran.seconds > LONGEST:
            wrong.append("%.1f s" % ran.seconds)
        if ran.most_memory > MOST:
            wrong.append("%d MiB of memory" % (ran.most_memory >> 10))
        for stream in (ran.out, ran.err):
            if CONTROL.search(stream):
                wrong.append("a control byte in the output: %r" % stream[max(0, CONTROL.search(stream).start() - 30):][:80])
    ran, text = json_run
    if ran.code == 4:
        if len(ran.err.strip().splitlines()) != 1:
            wrong.append("exit 4 without its one line: %r" % ran.err[-300:])
        return "refused"
    report = json.loads(ran.out)
    found = report["result"]["unreachable"]
    if found > len(p.unreachable):
        wrong.append("%d objects unreachable, more than the %d that are" % (found, len(p.unreachable)))
    if report["complete"]:
        if process.result_bytes(ran.out.decode()) == p.whole:
            return "same"
        if report["result"]["verdict"] != "exact" and ran.code in (1, 3):
            return "bounds"
        return "replayed"
    if not report["missing"] or any(not m.get("reason") for m in report["missing"]):
        wrong.append("something missing without a reason: %s" % report["missing"])
    if not text.out.startswith(b"PARTIAL:"):
        wrong.append("the text does not start with PARTIAL: %r" % text.out[:100])
    return "partial"


def check(p, damage, raw, wanted, says, verified):
    core = core_editor.Core(p.core)
    if damage is not None:
        damage(p, core)
    core.write(p.path)
    if raw is not None:
        raw(p.path)
    wrong = []
    runs = (Ran("-c", p.path, "leaks", "--format", "json"), Ran("-c", p.path, "leaks"))
    kind = kind_of(p, runs, wrong)
    if kind is not None and kind not in wanted:
        wrong.append("%s, wanted %s: %s" % (kind, " or ".join(sorted(wanted)), (runs[1].out + runs[1].err)[:300].decode(errors="replace")))
    said = (runs[1].out + runs[1].err).decode(errors="replace")
    if says and not re.search(says, said, re.S):
        wrong.append("does not say %r: %s" % (says, said[:300]))
    verify = Ran("-c", p.path, "verify")
    if verify.code not in (0, 1, 3, 4) or verify.seconds > LONGEST or CONTROL.search(verify.out + verify.err):
        wrong.append("verify: exit status %s after %.1f s, %r" % (verify.code, verify.seconds, verify.err[-200:]))
    if verify.code == 0 and (kind == "partial" or verified):
        wrong.append("verify finds nothing")
    if verified and not re.search(verified, verify.out.decode(), re.S):
        wrong.append("verify does not say %r: %s" % (verified, verify.out.decode()[:300]))
    return kind, wrong, said


def main():
    arguments, versions, names, verbose, everything = sys.argv[1:], [], [], False, False
    while arguments:
        a = arguments.pop(0)
        if a in ("-h", "--help"):
            print(__doc__)
            return 0
        if a == "-v":
            verbose = True
        elif a == "--all":
            everything = True
        elif a == "--interpreter":
            versions.append(arguments.pop(0))
        else:
            names.append(a)
    found = [i for i in interpreters.discover() if i.kind == "default"]
    if versions:
        found = [i for i in found if any(i.version.startswith(v) for v in versions)]
    elif not everything:
        found = [next(i for i in found if not i.shared and i.version.startswith("3.13"))]      # _Py_DebugOffsets have rows of their own there
    passed = failed = 0
    for interpreter in found:
        try:
            p = Patient(interpreter)
        except (process.CannotTest, OSError) as e:
            print("FAILED %s: %s" % (interpreter.path, e))
            failed += 1
            continue
        try:
            for name, damage, raw, wanted, says, verified in rows(p):
                if names and not any(n in name for n in names):
                    continue
                try:
                    kind, wrong, said = check(p, damage, raw, wanted, says, verified)
                except (process.CannotTest, OSError, ValueError, KeyError, IndexError, TypeError, StopIteration) as e:
                    kind, wrong, said = None, ["%s: %s" % (type(e).__name__, e)], ""
                if wrong:
                    failed += 1
                    print("FAILED %s, %s" % (interpreter.version, name))
                    for w in wrong[:6]:
                        print("    " + str(w)[:400])
                else:
                    passed += 1
                    if verbose:
                        print("passed %s, %s: %s: %s" % (interpreter.version, name, kind, said.splitlines()[0][:200] if said else ""))
                sys.stdout.flush()
        finally:
            p.close()
    print("most memory of any process: %d MiB" % (resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
