#!/usr/bin/env python3
"""Any place: one process seen through cores of every make, with its files here, elsewhere, changed or gone.

usage: places.py [-v] [--all] [--interpreter VERSION]... [NAME...]     (NAME: run only rows whose name holds it)

`same`: the result is byte-equal to that of the untouched core. `partial`: the report says PARTIAL, its figures never exceed the truth of
the interpreter, nothing calls itself complete. Uses $PYGC_BUILD/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import glob
import gzip
import json
import lzma
import os
import shutil
import sqlite3
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import core_editor  # noqa: E402
import hosts  # noqa: E402
import interpreters  # noqa: E402
import lldb_host  # noqa: E402
import process  # noqa: E402

LEAKS = ["leaks", "--format", "json"]
FILTERS = [0x01, 0x03, 0x11, 0x13, 0x23, 0x33, 0x37, 0x3B, 0x3F, 0x7F]
TREES = 300
EXACT = ("tracked", "objects", "audited", "exact", "findings")


class Place:
    """One process: its truth, its cores, and what pygc says of the untouched one."""

    def __init__(self, interpreter, filters=FILTERS, gcore=True):
        self.interpreter = interpreter
        self.program = process.Program(interpreter.path, "node_tree", [str(TREES)], twins=len(filters) + 1)
        self.folder = self.program.folder
        self.unreachable = len(self.program.truth["unreachable"])
        self.kernel = {f: self.program.kernel_core(pid, f) for f, pid in zip(filters, self.program.twins)}
        self.gcore = self.program.gcore() if gcore and interpreter.kind != "free-threaded" else None     # gcore writes out what mimalloc has only reserved
        ran = process.pygc("-c", self.kernel[0x33], *LEAKS)
        self.whole = process.result_bytes(ran.out)
        code, self.tracked = self.tracked_in(self.kernel[0x33])
        wrong = set(int(a) for a in self.program.truth["tracked"]) - set(self.tracked)
        if code not in (0, 1) or wrong:
            raise process.CannotTest("the untouched core lacks %d tracked objects (exit status %s)" % (len(wrong), code))
        if json.loads(ran.out)["result"]["unreachable"] != self.unreachable or not json.loads(ran.out)["complete"]:
            raise process.CannotTest("the untouched core is not read right: " + ran.tail())

    def path(self, name):
        return os.path.join(self.folder, name)

    def tracked_in(self, core):
        """(exit status, {address: name of the type}) of all tracked objects that pygc finds in a core."""
        database = self.path("tracked.db")
        if os.path.exists(database):
            os.unlink(database)
        ran = process.pygc("-c", core, "export", "--format", "sqlite", "-o", database)
        if not os.path.exists(database):
            return ran.code, {}
        con = sqlite3.connect(database)
        try:
            return ran.code, dict(con.execute("select o.address, t.name from objects o join types t on t.id = o.type_id where o.tracked"))
        finally:
            con.close()

    def edited(self, name, change, base=0x33, **write):
        """The path of a copy of the kernel's core with `change(core)` done to it."""
        core = core_editor.Core(self.kernel[base])
        change(core)
        core.write(self.path(name), **write)
        return self.path(name)

    def close(self):
        self.program.close()


# ---- judging

def same(place, *arguments):
    ran = process.pygc(*arguments)
    if ran.code not in (0, 1):
        return ["exit status %s: %s" % (ran.code, ran.tail())]
    wrong = [] if process.result_bytes(ran.out) == place.whole else ["another result than the untouched core's"]
    return wrong + ([] if json.loads(ran.out)["complete"] else ["not complete: %s" % json.loads(ran.out)["missing"]])


def partial(place, *arguments, codes=(1, 3), says=None):
    """What is wrong with a report of a part, and how many objects it calls unreachable."""
    ran = process.pygc(*arguments)
    if ran.code == 4 and 4 in codes:
        return ([] if len(ran.err.strip().splitlines()) == 1 else ["exit 4 without its one line: " + ran.tail()]), 0
    if ran.code not in codes:
        return ["exit status %s: %s" % (ran.code, ran.tail())], 0
    report = json.loads(ran.out)
    wrong = []
    if report["complete"] or not report["missing"]:
        wrong.append("calls itself complete")
    if any(not m.get("reason") or not m.get("remedy") for m in report["missing"]):
        wrong.append("something missing without reason or remedy: %s" % report["missing"])
    found = report["result"]["unreachable"]
    if found > place.unreachable:
        wrong.append("%d objects unreachable, more than the %d that are" % (found, place.unreachable))
    if (ran.code == 1) != any(g["severity"] == "definite" for g in report["result"]["groups"]):
        wrong.append("exit status %s does not fit the groups" % ran.code)
    if says and says not in json.dumps(report["missing"] + report["warnings"]):
        wrong.append("does not say %r: %s" % (says, report["missing"]))
    text = process.pygc(*[a for a in arguments if a not in ("--format", "json")])
    if not text.out.startswith("PARTIAL:"):
        wrong.append("the text does not start with PARTIAL: " + text.out[:100])
    return wrong, found


def audited(place):
    """Whatever one segment of the core lacks, no count is called wrong: in the process none is. What calls itself whole says what the whole core says."""
    core = core_editor.Core(place.kernel[0x33])
    whole = json.loads(process.pygc("-c", place.kernel[0x33], "refcounts", "--format", "json").out)
    if not whole["complete"] or whole["result"]["findings"]:
        yield "the untouched core has wrong counts: %s" % json.dumps(whole["result"])[:300]
    path = place.path("left-out")
    for i, segment in enumerate(core.segments):
        if segment.kind != core_editor.PT_LOAD or not segment.data:
            continue
        was = segment.data, segment.flags, segment.kind
        for what, data, flags, kind in (("left out", b"", was[1], was[2]), ("without its last page", was[0][:-4096], was[1], was[2]), ("without its header", was[0], was[1], 0),
                                        ("accessible to nobody", was[0], 0, was[2])):
            segment.data, segment.flags, segment.kind = data, flags, kind
            core.write(path)
            ran = process.pygc("-c", path, "refcounts", "--format", "json")
            where = "segment %d at %#x %s: " % (i, segment.address, what)
            if ran.code not in (0, 3, 4):
                yield where + "exit status %s: %s" % (ran.code, ran.out[:300] if ran.code == 1 else ran.tail())
            elif ran.code != 4 and (json.loads(ran.out)["complete"] != (ran.code == 0) or json.loads(ran.out)["result"]["findings"]):
                yield where + "findings, or complete without being so: " + json.dumps(json.loads(ran.out)["result"])[:300]
            elif ran.code == 0 and segment.flags == was[1] and any(json.loads(ran.out)["result"][k] != whole["result"][k] for k in EXACT):
                yield where + "another result: " + json.dumps(json.loads(ran.out)["result"])[:300]
        segment.data, segment.flags, segment.kind = was


# ---- rows: (name, function Place -> [what is wrong])

def compressed(place):
    whole = open(place.gcore, "rb").read()
    reference = process.result_bytes(process.pygc("-c", place.gcore, *LEAKS).out)
    for name, pack in (("gz", lambda: gzip.compress(whole, 1)), ("xz", lambda: lzma.compress(whole, preset=0)),
                       ("zst", lambda: tool(["zstd", "-q", "-1", "-c"], whole)), ("lz4", lambda: tool(["lz4", "-q", "-1", "-c"], whole))):
        path = place.path("core." + name)
        with open(path, "wb") as f:
            f.write(pack())
        ran = process.pygc("-c", path, *LEAKS)
        if ran.code not in (0, 1) or process.result_bytes(ran.out) != reference:
            yield "%s: %s" % (name, ran.tail())
        os.truncate(path, os.path.getsize(path) * 9 // 10)
        wrong, _ = partial(place, "-c", path, *LEAKS, codes=(1, 3, 4))
        for w in wrong:
            yield "%s cut: %s" % (name, w)


def changed(place):
    """A compressed core that was damaged after it was packed is read exactly, or is partial; what says that it is whole, is."""
    with open(place.kernel[0x33], "rb") as f:
        whole = f.read()
    gz = gzip.compress(whole, 1)
    flip = lambda data, at: data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1:]    # noqa: E731
    half = len(whole) // 2
    packed = {
        "gz, two members": (gzip.compress(whole[:half], 1) + gzip.compress(whole[half:], 1), True), "gz, padded": (gz + bytes(512), True), "gz, trailing garbage": (gz + b"garbage", True),
        "gz, wrong CRC": (flip(gz, len(gz) - 8), False), "gz, wrong length": (flip(gz, len(gz) - 1), False),
        "gz, cut in its trailer": (gz[:-3], False), "gz, cut before its trailer": (gz[:-8], False), "gz, second member cut": (gz + gzip.compress(b"x" * 9999)[:-6], None)}
    for name, data in (("gz", gz), ("xz", lzma.compress(whole, preset=0)), ("zst", tool(["zstd", "-q", "-1", "-c"], whole)), ("lz4", tool(["lz4", "-q", "-1", "-c"], whole))):
        for part in (0.1, 0.5, 0.999):
            packed["%s, a byte changed at %g" % (name, part)] = flip(data, int(len(data) * part)), False
            packed["%s, cut at %g" % (name, part)] = data[:int(len(data) * part)], False
        packed["%s, a stretch of zeroes" % name] = data[:len(data) // 2] + bytes(4096) + data[len(data) // 2 + 4096:], False
    for name, (data, good) in packed.items():
        path = place.path("changed." + name.split(",")[0])
        with open(path, "wb") as f:
            f.write(data)
        ran = process.pygc("-c", path, *LEAKS)
        if ran.code in (0, 1) and json.loads(ran.out)["complete"]:
            if process.result_bytes(ran.out) != place.whole or (good is False and unpacked(name, path) != whole):
                yield "%s: complete" % name
        elif good:
            yield "%s: not complete: exit status %s: %s" % (name, ran.code, ran.tail())
        elif ran.code not in (1, 3, 4) or (ran.code == 4 and len(ran.err.strip().splitlines()) != 1) or "unknown error" in ran.err + ran.out:
            yield "%s: exit status %s: %s" % (name, ran.code, ran.tail())
    os.unlink(path)


def unpacked(name, path):
    """What the format's own program makes of a file: a changed byte of lz4 may be another distance to the same bytes. None where it finds fault."""
    program = {"gz": "gzip", "xz": "xz", "zst": "zstd", "lz4": "lz4"}[name.split(",")[0]]
    with open(path, "rb") as f:
        ran = subprocess.run([program, "-dc"], stdin=f, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return ran.stdout if ran.returncode == 0 else None


def tool(command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def copy_sparse(source, path):
    """What the kernel left out of the file stays out of the copy."""
    subprocess.run(["cp", "--sparse=always", source, path], check=True)


def shrink(place, path, cuts):
    """Cuts a core to each of `cuts`, falling sizes: what is found never grows, holds nothing that the whole core has not, and is never called complete."""
    unreachable, tracked = place.unreachable, place.tracked
    for cut in cuts:
        os.truncate(path, cut)
        wrong, found = partial(place, "-c", path, *LEAKS, codes=(1, 3, 4))
        code, objects = place.tracked_in(path)
        if code not in (3, 4):
            wrong.append("export: exit status %s" % code)
        if found > unreachable:
            wrong.append("%d unreachable, more than the %d of a longer one" % (found, unreachable))
        more = set(objects) - set(tracked)
        if more:
            wrong.append("%d tracked objects that a longer one has not: %s" % (len(more), ", ".join("0x%x %s" % (a, objects[a]) for a in sorted(more)[:3])))
        for w in wrong:
            yield "cut at %d: %s" % (cut, w)
        unreachable, tracked = found, objects


def sweep(place, base, wanted=range(100)):
    """Cuts at each percent."""
    path, size = place.path("swept"), os.path.getsize(place.kernel[base])
    copy_sparse(place.kernel[base], path)
    yield from shrink(place, path, [max(1, size * percent // 100) for percent in sorted(wanted, reverse=True)])
    # What is not there is no finding of the commands that judge.
    for percent in (95, 60, 30):
        copy_sparse(place.kernel[base], path)
        os.truncate(path, size * percent // 100)
        for command in ("verify", "refcounts"):
            ran = process.pygc("-c", path, command)
            if ran.code not in (3, 4):
                yield "%d %%: %s: exit status %s: %s" % (percent, command, ran.code, ran.tail())


def edges(place):
    """Cuts at the end of each segment, a byte and a page before it."""
    path = place.path("edges")
    ends = set(e for e in core_editor.Core(place.kernel[0x33]).write(path) if e)
    whole = os.path.getsize(path)
    cuts = sorted(set(cut for end in ends for cut in (end, end - 4096, end - 1) if 0 < cut < whole), reverse=True)
    return shrink(place, path, cuts)


def roots_lost(place):
    """A core that ends where the interpreter's data begin: its objects are there, and nothing leads to them."""
    own, data = os.path.realpath(place.interpreter.executable), []
    with open("/proc/%d/maps" % place.program.pid) as f:
        for line in f:
            fields = line.split(None, 5)
            begin, end = (int(x, 16) for x in fields[0].split("-"))
            file = fields[5].strip() if len(fields) > 5 else ""
            bss = data and data[-1][1] == begin and not file
            if bss or ("w" in fields[1] and ("libpython" in file or os.path.realpath(file) == own)):
                data.append((begin, end))
    path = place.path("no-roots")
    core = core_editor.Core(place.kernel[0x33])
    core.order(lambda s: (any(begin <= s.address < end for begin, end in data), s.address))
    ends = [e for e in core.write(path) if e]
    os.truncate(path, ends[-1 - sum(any(begin <= s.address < end and len(s.data) for begin, end in data) for s in core.loads())])
    wrong, unreachable = partial(place, "-c", path, *LEAKS, codes=(3,))
    _, objects = place.tracked_in(path)
    if unreachable:
        wrong.append("%d called unreachable: nothing can tell" % unreachable)
    if len(objects) * 10 < len(place.tracked) * 9 or set(objects) - set(place.tracked):
        wrong.append("%d tracked objects found of %d, %d of them wrong" % (len(objects), len(place.tracked), len(set(objects) - set(place.tracked))))
    if not any(name.endswith("Node") for name in objects.values()):
        wrong.append("no class Node among the types")
    for command in ("status", "cycles", "garbage", "finalizers", "heap", "verify", "refcounts"):
        ran = process.pygc("-c", path, command)
        if ran.code not in (0 if command == "status" else 3,) or "PARTIAL" not in ran.out:
            wrong.append("%s: exit status %s: %s" % (command, ran.code, ran.tail()))
        if "no cycles" in ran.out.lower():
            wrong.append("%s says that there are no cycles" % command)
    return wrong


def moved_files(place, into):
    """A folder that holds the files of the process at their old paths."""
    with open("/proc/%d/maps" % place.program.pid) as f:
        paths = set(line.split(None, 5)[5].strip() for line in f if len(line.split(None, 5)) == 6)
    for path in paths:
        if path.startswith("/") and os.path.isfile(path):
            os.makedirs(os.path.dirname(into + path), exist_ok=True)
            shutil.copy(path, into + path)
    return into


def below(prefix):
    """A change to NT_FILE: all paths below `prefix`."""
    def rename(body):
        count = int.from_bytes(body[:8], "little")
        names = body[16 + count * 24:].split(b"\0")[:count]
        return body[:16 + count * 24] + b"".join(prefix + n + b"\0" for n in names)
    return rename


def elsewhere(place, change, base=0x33):
    """A core whose modules lie at paths that are not on this machine."""
    here, there = place.path("files-" + change + "-%02x" % base), b"/nowhere"
    core = place.edited("elsewhere", lambda c: c.change_note(core_editor.NT_FILE, below(there)), base=base)
    if change == "gone":
        return core, here
    if change == "fifos":
        files = moved_files(place, place.path("real"))
        for folder, _, names in os.walk(files):
            there_folder = here + there.decode() + folder[len(files):]
            os.makedirs(there_folder, exist_ok=True)
            for name in names:
                os.mkfifo(os.path.join(there_folder, name))
        return core, here
    moved_files(place, here + there.decode())
    if change == "upgraded":
        for folder, _, files in os.walk(here):
            for name in files:
                if "python" in name or "libc" in name:
                    shutil.copy(max(glob.glob("/usr/bin/perl") + glob.glob("/usr/bin/gdb"), key=os.path.getsize), os.path.join(folder, name))
    return core, here


def other_name(place):
    """-e is believed whatever the file is called, also where only its parts and data tell that it is the one."""
    core, here = elsewhere(place, "moved", 0x01)
    program, was = place.path("the-program"), os.readlink("/proc/%d/exe" % place.program.pid)
    if os.path.basename(was).startswith("ld-"):     # which was told to start the program: nothing in the core names that but its file
        return []
    os.rename(here + "/nowhere" + was, program)
    files = ["--sysroot", here, "-e", program]
    wrong = same(place, "-c", core, *files, *LEAKS)
    said = " ".join(process.pygc("-c", core, *files, "status").out.split())
    # Without an id in memory none was compared.
    return wrong + (["status says that it compared build-ids: " + said] if "by build-id" in said or "verified (no build-id in memory" not in said else [])


def other_launcher(place):
    """Programs that only call libpython differ by little else than its name: that of another version is not the one, where the core has no id of it."""
    shared = [i for i in interpreters.discover() if i.shared and i.kind == "default"]
    if place.interpreter.path not in [i.path for i in shared]:
        return []
    core, here = elsewhere(place, "moved", 0x01)
    program = here + "/nowhere" + os.readlink("/proc/%d/exe" % place.program.pid)
    said = lambda file: " ".join(process.pygc("-c", core, "--sysroot", here, "-e", file, "status").out.split())
    wrong, tried = [], 0
    kept = place.path("own-program")
    os.rename(program, kept)
    if "verified (no build-id in memory" not in said(kept):
        wrong.append("its own program: " + said(kept))
    for other in shared:
        if other.version.rsplit(".", 1)[0] == place.interpreter.version.rsplit(".", 1)[0] or other.version < "3":
            continue
        tried += 1
        text = said(os.path.realpath(other.path))
        if "are as in " + os.path.realpath(other.path) in text:
            wrong.append("the program of %s is believed to be the one: %s" % (other.version, text[:300]))
        if text.count(os.path.realpath(other.path)) > 3:
            wrong.append("names the file again and again: " + text[:600])
    if not tried:
        raise process.CannotTest("no other interpreter with a shared library")
    return wrong


def small_program(place):
    """A program all of whose parts would lie in the first part of the real one: it is not the one, and says nothing of what the core lacks."""
    core = elsewhere(place, "gone", 0x01)[0]
    shared = place.interpreter.shared
    files = ["--module", os.path.basename(library_of(place.interpreter)) + "=/bin/ls"] if shared else ["-e", "/bin/ls"]
    ran = process.pygc("-c", core, *files, *LEAKS)
    if ran.code not in (1, 3):
        return ["exit status %s: %s" % (ran.code, ran.tail())]
    missing = json.loads(ran.out)["missing"]
    wrong = partial(place, "-c", core, *files, *LEAKS, says="do not fit")[0]
    return wrong + ["blames the core: %s" % m for m in missing if "not in the core" in m["reason"]]


def rows(place, thorough):
    if place.gcore is None:
        yield "free-threaded, cut at every tenth percent", lambda: list(sweep(place, 0x33, range(0, 100, 10)))
        return
    for f in FILTERS:
        yield "kernel core, filter 0x%02x" % f, lambda f=f: same(place, "-c", place.kernel[f], *LEAKS)
    yield "core by gcore", lambda: same(place, "-c", place.gcore, *LEAKS)
    yield "live", lambda: same(place, "-p", str(place.program.pid), *LEAKS)
    yield "compressed, whole and cut", lambda: list(compressed(place))
    yield "segments sorted by size", lambda: same(place, "-c", place.edited("sorted", lambda c: c.order(lambda s: len(s.data))), *LEAKS)
    yield "segments in reverse order", lambda: same(place, "-c", place.edited("reversed", lambda c: c.order(lambda s: s.address, True)), *LEAKS)
    yield "segments in small pieces", lambda: same(place, "-c", place.edited("pieces", lambda c: c.split(65536)), *LEAKS)
    yield "segments twice", lambda: same(place, "-c", place.edited("twice", lambda c: c.segments.extend(c.loads())), *LEAKS)
    yield "more than 65,535 segments", lambda: same(place, "-c", place.edited("many", many_segments), *LEAKS)
    yield "PN_XNUM", lambda: same(place, "-c", place.edited("xnum", lambda c: None, extended_count=True), *LEAKS)
    yield "no NT_FILE", lambda: same(place, "-c", place.edited("no-files", lambda c: c.retag(core_editor.NT_FILE)), *named(place), *LEAKS)
    for note, name in ((core_editor.NT_AUXV, "NT_AUXV"), (core_editor.NT_PRSTATUS, "NT_PRSTATUS"), (core_editor.NT_PRPSINFO, "NT_PRPSINFO")):
        yield "no %s" % name, lambda note=note, name=name: same(place, "-c", place.edited("no-" + name, lambda c: c.retag(note)), *LEAKS)
    yield "no notes at all", lambda: unnamed(place)
    yield "files below a sysroot", lambda: (lambda core, here: same(place, "-c", core, "--sysroot", here, *LEAKS))(*elsewhere(place, "moved"))
    yield "files of other builds", lambda: (lambda core, here: partial(place, "-c", core, "--sysroot", here, *LEAKS, says="build-id")[0])(*elsewhere(place, "upgraded"))
    yield "files of other builds, no build-id in the core", \
        lambda: (lambda core, here: partial(place, "-c", core, "--sysroot", here, *LEAKS, codes=(1, 3, 4), says="build-id")[0])(*elsewhere(place, "upgraded", 0x01))
    yield "its program under another name, no build-id in the core", lambda: other_name(place)
    yield "a small program given for its own, no build-id in the core", lambda: small_program(place)
    yield "the program of another version given for its own, no build-id in the core", lambda: other_launcher(place)
    yield "FIFOs at the files' places", lambda: (lambda core, here: partial(place, "-c", core, "--sysroot", here, *LEAKS)[0])(*elsewhere(place, "fifos"))
    yield "live, its program and library deleted", lambda: deleted_files(place)
    yield "stripped", lambda: stripped(place, True)
    yield "stripped, section headers too", lambda: stripped(place, False)
    if place.interpreter.shared:
        yield "embedded, two runtimes mapped", lambda: embedded(place)
        yield "mapped, never started", lambda: never_started(place)
        yield "embedded, two runtimes used", lambda: both_used(place)
    yield "files gone", lambda: (lambda core, here: partial(place, "-c", core, *LEAKS)[0] + collector_said(place, core))(*elsewhere(place, "gone"))
    yield "files gone, all memory dumped", lambda: gone_but_whole(place)
    yield "cut at each percent", lambda: list(sweep(place, 0x33))
    yield "cut at each percent, all memory dumped", lambda: list(sweep(place, 0x7F, range(0, 100, 5)))
    yield "core by gcore, cut", lambda: list(cut_gcore(place))
    yield "cut at each segment's edge", lambda: list(edges(place))
    yield "cut within a type object", lambda: list(in_types(place))
    yield "roots lost, objects there", lambda: roots_lost(place)
    yield "reference counts, each segment left out", lambda: list(audited(place))
    if thorough:
        yield "compressed, and changed afterwards", lambda: list(changed(place))
        yield "a program that is not called python, its file gone", lambda: renamed(place)
        yield "a core through a pipe of the shell", lambda: through_pipe(place)
        if not place.interpreter.version.startswith("2"):       # which runs no finalizer in a cycle
            yield "in a collection, the stack missing", lambda: collecting(place)
        yield "files below a sysroot, in GDB", lambda: in_debugger(place, "gdb")
        yield "files below a sysroot, in LLDB", lambda: in_debugger(place, "lldb")


def renamed(place):
    """The interpreter as a program of another name, which is gone with its libraries when the core is read."""
    copy = place.path("service")
    shutil.copy(os.path.realpath(place.interpreter.executable), copy)
    with open(place.interpreter.path, "rb") as f:
        if b"ld-linux" in f.read(4096):
            return []       # started by a dynamic linker of its own: a copy would not start
    with open("/proc/%d/environ" % place.program.pid, "rb") as f:
        env = dict(v.decode().split("=", 1) for v in f.read().split(b"\0") if v.startswith(b"LD_LIBRARY_PATH="))
    env["PYTHONHOME"] = os.path.dirname(os.path.dirname(os.path.realpath(place.interpreter.executable)))
    program = process.Program(copy, "node_tree", [str(TREES)], twins=1, env=env)
    try:
        core = core_editor.Core(program.kernel_core(program.twins[0], 0x33))
        truth = len(program.truth["unreachable"])
    finally:
        program.child.kill()
    try:
        core.change_note(core_editor.NT_FILE, lambda body: below(b"/nowhere")(body).replace(b"libpython", b"librunner"))
        core.write(place.path("renamed"))
        ran = process.pygc("-c", place.path("renamed"), *LEAKS)
        if ran.code not in (1, 3):
            return ["exit status %s: %s" % (ran.code, ran.tail())]
        found, complete = json.loads(ran.out)["result"]["unreachable"], json.loads(ran.out)["complete"]
        return (["complete"] if complete else []) + (["%d unreachable of %d" % (found, truth)] if found > truth else [])
    finally:
        program.close()


COLLECTING = """
import gc, os
gc.collect()
gc.disable()
class N(object): pass
class D(object):
    def __del__(self): os.abort()
def lose(cls):
    n = cls(); n.me = n
for i in range(100): lose(N)
lose(D)
for i in range(100): lose(N)
gc.collect()
"""


def collecting(place):
    """What is being collected hangs on lists whose heads are on the stack: without the stack it is found by its links, and nothing is called complete."""
    folder = place.path("collecting")
    os.makedirs(folder, exist_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    subprocess.run([place.interpreter.path, "-c", COLLECTING], cwd=folder, env=env, preexec_fn=process._child_limits, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    core = os.path.join(folder, next(n for n in os.listdir(folder) if "core" in n))
    _, whole = place.tracked_in(core)
    edited = core_editor.Core(core)
    status = next(body for _, kind, body in edited.notes() if kind == core_editor.NT_PRSTATUS)
    stack_pointer = int.from_bytes(status[112 + 19 * 8:112 + 20 * 8], "little")
    if edited.elide(lambda s: s.address <= stack_pointer < s.end) != 1:
        raise process.CannotTest("the core has no stack")
    edited.write(core)
    code, objects = place.tracked_in(core)
    wrong = ["exit status %s" % code] if code != 3 else []
    if set(objects) - set(whole) or len(objects) < len(whole) - 8 or len(whole) < 200:
        wrong.append("%d of %d tracked objects, %d of them wrong" % (len(objects), len(whole), len(set(objects) - set(whole))))
    return wrong


def in_debugger(place, name):
    """A debugger has the core; where its files are is said to pygc."""
    core, here = elsewhere(place, "moved")
    out = place.path("report-" + name)
    words = " ".join(["pygc"] + LEAKS + ["-o", out, "--sysroot", here])
    if name == "gdb":
        command = os.path.join(os.path.dirname(os.path.dirname(process.PYGC)), "lib", "pygc_gdb.py")
        ran = process.run(["gdb", "-nx", "-batch", "-ex", "source " + command, "-ex", "core-file " + core, "-ex", words])
    else:
        if not lldb_host.versions():
            raise process.CannotTest("no lldb that loads the plugin")
        ran = lldb_host.commands(lldb_host.on_core(core) + [words])
    if not os.path.exists(out):
        return ["%s wrote no report: %s" % (name, ran.tail())]
    with open(out) as f:
        text = f.read()
    wrong = [] if json.loads(text)["complete"] else ["not complete: %s" % json.loads(text)["missing"]]
    return wrong + ([] if process.result_bytes(text) == place.whole else ["another result than the untouched core's"])


def through_pipe(place):
    ran = process.run(["bash", "-c", '"$0" -c <(cat "$1") leaks --format json', process.PYGC, place.kernel[0x33]])
    if ran.code not in (0, 1):
        return ["exit status %s: %s" % (ran.code, ran.tail())]
    return [] if process.result_bytes(ran.out) == place.whole else ["another result than the untouched core's"]


def in_types(place, names=("set", "module")):
    """Cuts within type objects of the interpreter: its instances are still known by what the module's file has of the type."""
    path = place.path("in types")
    core = core_editor.Core(place.kernel[0x33])
    ends = core.write(path)
    place.tracked_in(path)      # what an earlier row left may be of a core without any type
    con = sqlite3.connect(place.path("tracked.db"))
    types = [a for a, name in con.execute("select address, name from types where address is not null") if name in names]
    con.close()
    cuts = [end - (s.address + len(s.data) - a) + part for end, s in zip(ends, core.segments) for a in types if s.address <= a < s.address + len(s.data)
            for part in (4, 8, 100, 300, 500)]
    if not cuts:
        raise process.CannotTest("no type object among %s lies in the core" % (names,))
    return shrink(place, path, sorted(set(cuts), reverse=True))


def deleted_files(place):
    """A process whose interpreter was upgraded under it: the kernel still has the files, and /proc shows them."""
    source, copy = os.path.realpath(place.interpreter.executable), place.path("python-that-goes")
    shutil.copy(source, copy)
    prefix = os.path.dirname(os.path.dirname(source))
    env, libraries = {"PYTHONHOME": prefix}, place.path("libraries")
    os.makedirs(libraries, exist_ok=True)
    with open("/proc/%d/maps" % place.program.pid) as f:
        shared = set(line.split(None, 5)[5].strip() for line in f if "libpython" in line)
    for path in shared:
        shutil.copy(path, libraries)
    with open("/proc/%d/environ" % place.program.pid, "rb") as f:
        env["LD_LIBRARY_PATH"] = os.pathsep.join([libraries] + [v.split(b"=", 1)[1].decode() for v in f.read().split(b"\0") if v.startswith(b"LD_LIBRARY_PATH=")])
    with open(place.interpreter.path, "rb") as f:
        if f.read(2) == b"#!" and "ld-linux" in open(place.interpreter.path).read():
            return []       # started by a dynamic linker of its own: a copy would not start
    program = process.Program(copy, "node_tree", [str(TREES)], env=env)
    try:
        os.unlink(copy)
        shutil.rmtree(libraries)
        ran = process.pygc("-p", str(program.pid), *LEAKS)
        if ran.code not in (0, 1):
            return ["exit status %s: %s" % (ran.code, ran.tail())]
        report = json.loads(ran.out)
        wrong = [] if report["complete"] else ["not complete: %s" % report["missing"]]
        found, truth = report["result"]["unreachable"], len(program.truth["unreachable"])
        return wrong + ([] if found == truth else ["%d unreachable, not %d" % (found, truth)])
    finally:
        program.close()


EMBEDDING = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char** argv) {
  for (int i = 2; i < argc; ++i)
    if (!dlopen(argv[i], RTLD_NOW | RTLD_LOCAL)) return puts(dlerror());
  void* used = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
  if (!used) return puts(dlerror());
  void (*initialize)(void) = (void (*)(void))dlsym(used, "Py_Initialize");
  int (*run)(const char*) = (int (*)(const char*))dlsym(used, "PyRun_SimpleString");
  initialize();
  run("import gc, os, sys\n"
      "gc.collect()\n"
      "gc.disable()\n"
      "class N(object): pass\n"
      "for i in range(77):\n"
      "    n = N(); n.me = n\n"
      "n = None\n"
      "r, w = os.pipe()\n"
      "if os.fork() == 0:\n"
      "    os.write(w, str(gc.collect()).encode()); os._exit(0)\n"
      "sys.stdout.write('READY ' + os.read(r, 99).decode() + chr(10)); sys.stdout.flush()\n");
  pause();
}
"""


def library_of(interpreter):
    folder = os.path.join(os.path.dirname(os.path.dirname(interpreter.executable)), "lib")
    return next(os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.startswith("libpython") and ".so." in n)


def embedded(place):
    """A C program with two libpythons mapped, of which it uses one."""
    other = next(i for i in interpreters.discover() if i.kind == "default" and i.shared and i.version != place.interpreter.version)
    with open(place.path("embedding.c"), "w") as f:
        f.write(EMBEDDING)
    subprocess.run(["cc", "-o", place.path("embedding"), place.path("embedding.c"), "-ldl"], check=True)
    env = dict(os.environ, PYTHONHOME=os.path.dirname(os.path.dirname(place.interpreter.executable)))
    child = subprocess.Popen([place.path("embedding"), library_of(place.interpreter), library_of(other)], stdout=subprocess.PIPE, env=env)
    try:
        said = child.stdout.readline().decode().split()
        if not said or said[0] != "READY":
            raise process.CannotTest("the embedding program said %s" % said)
        ran = process.pygc("-p", str(child.pid), *LEAKS)
        report = json.loads(ran.out)
        wrong = [] if report["complete"] else ["not complete: %s" % report["missing"]]
        if not report["target"]["python"].startswith(place.interpreter.version):
            wrong.append("takes it for " + report["target"]["python"])
        return wrong + ([] if report["result"]["unreachable"] == int(said[1]) else ["%s unreachable, not %s" % (report["result"]["unreachable"], said[1])])
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


MAPPED_ONLY = r"""
#include <dlfcn.h>
#include <stdlib.h>
int main(int argc, char **argv) {
  if (argc < 2 || !dlopen(argv[1], RTLD_NOW | RTLD_LOCAL)) return 3;
  abort();
}
"""


def never_started(place):
    """A program that maps a libpython and never starts it. In 3.6 to 3.9 the list of interpreters is in a page of .bss that nobody touched, and no core of the kernel has."""
    wrong, program = [], place.path("mapped-only")
    with open(program + ".c", "w") as f:
        f.write(MAPPED_ONLY)
    subprocess.run(["cc", "-o", program, program + ".c", "-ldl"], check=True)
    for i in (i for i in interpreters.discover() if i.kind == "default" and i.shared):
        folder = place.path("mapped-only-" + i.version)
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["sh", "-c", 'ulimit -c unlimited; exec "$0" "$1"', program, library_of(i)], cwd=folder)
        cores = glob.glob(os.path.join(folder, "*core*"))
        if not cores:
            raise process.CannotTest("the kernel wrote no core")
        whole = process.pygc("-c", cores[0], "leaks")
        if whole.code != 4 or "no interpreter is initialised" not in whole.err:
            wrong.append("%s: exit status %s: %s" % (i.version, whole.code, whole.tail()))
        # Of a core that was cut the same page may be one that is gone.
        os.truncate(cores[0], os.path.getsize(cores[0]) - 4096)
        cut = process.pygc("-c", cores[0], "leaks")
        untouched = (3, 6) <= tuple(map(int, i.version.split(".")[:2])) < (3, 10)  # in the others something else of the page was written to
        if untouched and "no interpreter is initialised" in cut.err + cut.out and "truncated" not in cut.err + cut.out and "PARTIAL" not in cut.out:
            wrong.append("%s, cut: exit status %s: %s" % (i.version, cut.code, cut.tail()))
    return wrong


USES_BOTH = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    void *h = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
    char code[256];
    if (!h) return puts(dlerror());
    ((void (*)(int))dlsym(h, "Py_InitializeEx"))(0);
    snprintf(code, sizeof code, "import gc\ngc.disable()\ngc.collect()\nclass C%d: pass\nfor i in range(%d):\n    a = C%d()\n    a.me = a\na = None\n", i, 100 * i, i);
    ((int (*)(const char *))dlsym(h, "PyRun_SimpleString"))(code);
  }
  puts("READY");
  fflush(stdout);
  return pause();
}
"""


def wrong_choice(report, choice, used):
    """What is wrong about a report on a process with two CPythons, of which `choice` (None: either) was asked for."""
    said = report["target"]["python"]
    left = [library for version, library in used.items() if version != said]
    if choice not in (None, said) or said not in used:
        return ["takes %s, not %s" % (said, choice)]
    wrong = []
    if report["complete"] or not any(left[0] in m["what"] and m["remedy"] for m in report["missing"]):
        wrong.append("nothing said of %s: %s" % (left[0], report["missing"]))
    number = 1 + list(used).index(said)
    groups = report["result"]["groups"]
    if sum(g["objects"] for g in groups if g["type"] == "__main__.C%d" % number) < 100 * number - 1 or any(g["type"] == "__main__.C%d" % (3 - number) for g in groups):
        wrong.append("%s: %s" % (said, [(g["type"], g["objects"]) for g in groups]))
    return wrong


def each(target, lines, _):
    """Runs each line by itself, as its own process; what the last one that failed said."""
    runs = [process.pygc(*(target + line.split()), timeout=600) for line in lines]
    return next((r for r in reversed(runs) if r.code not in (0, 1, 3)), runs[-1])


def both_used(place):
    """A C program that uses two libpythons: one is analysed, the other named as not analysed, and --module chooses; in every host, from a core and live."""
    other = next((i for i in interpreters.discover() if i.kind == "default" and i.shared and i.version[:3] == "3.1" and i.version != place.interpreter.version), None)
    if other is None or place.interpreter.version[0] == "2":
        return []
    with open(place.path("both.c"), "w") as f:
        f.write(USES_BOTH)
    subprocess.run(["cc", "-o", place.path("both"), place.path("both.c"), "-ldl"], check=True)
    used = {i.version: library_of(i) for i in (place.interpreter, other)}
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    child = subprocess.Popen([place.path("both")] + list(used.values()), stdout=subprocess.PIPE, env=env)
    wrong, results = [], {}
    try:
        if child.stdout.readline() != b"READY\n":
            raise process.CannotTest("the program did not start both")
        core = process.gcore(child.pid, place.folder)
        choices = [None] + list(used)
        asked = [("standalone, live", each, ["-p", str(child.pid)]), ("standalone, core", each, ["-c", core]),
                 ("GDB, core", hosts.in_gdb, ["-c", core]), ("GDB, live", hosts.in_gdb, ["-p", str(child.pid)])]
        if lldb_host.versions():
            asked += [("LLDB, core", hosts.in_lldb, lldb_host.on_core(core)), ("LLDB, live", hosts.in_lldb, lldb_host.on_process(child.pid))]
        for host, start, target in asked:
            files = [place.path("both-%d.json" % n) for n in range(len(choices))]
            modules = ["" if c is None else "--module %s=%s " % (os.path.basename(used[c]), used[c]) for c in choices]
            ran = start(target, ["leaks --format json %s-o %s" % (m, f) for m, f in zip(modules, files)], place.folder)
            for choice, path in zip(choices, files):
                if not os.path.exists(path):
                    wrong.append("%s, %s: wrote nothing: %s" % (host, choice, ran.tail()))
                    continue
                with open(path) as f:
                    text = f.read()
                os.remove(path)
                report = json.loads(text)
                wrong += ["%s, %s: %s" % (host, choice, w) for w in wrong_choice(report, choice, used)]
                if results.setdefault(choice, process.result_bytes(text)) != process.result_bytes(text):
                    wrong.append("%s, %s: another result than in the first host" % (host, choice))
        return wrong
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def cut_gcore(place):
    """gcore writes its notes last: a cut core of it names no file. As much is found as in a cut core of the kernel, and what is there of the interpreter is."""
    path = place.path("cut-gcore")
    copy_sparse(place.gcore, path)
    size = os.path.getsize(path)
    yield from shrink(place, path, [size * percent // 100 for percent in range(95, 0, -5)])
    # Only the list of segments says where libpython was; the objects that lie before it are there.
    core, own = core_editor.Core(place.gcore), os.path.realpath(place.interpreter.executable)
    core.segments.sort(key=lambda s: s.kind == core_editor.PT_NOTE)
    with open("/proc/%d/maps" % place.program.pid) as f:
        first = min(int(line.split("-")[0], 16) for line in f if "libpython" in line or line.rstrip().endswith(own))
    ends = [e for s, e in zip(core.segments, core.write(path)) if e and s.kind == core_editor.PT_LOAD and s.address < first] if place.interpreter.shared else []
    if ends:
        os.truncate(path, max(ends))
        code, objects = place.tracked_in(path)
        if code != 3 or len(objects) * 2 < len(place.tracked):
            yield "without any byte of libpython: exit status %s, %d of %d objects" % (code, len(objects), len(place.tracked))


def stripped(place, sections):
    """The interpreter from a copy without .symtab and debug information, and without section headers either: what .dynsym and memory say must do."""
    source, copy = os.path.realpath(place.interpreter.executable), place.path("stripped-python")
    with open(place.interpreter.path, "rb") as f:
        if b"ld-linux" in f.read(4096):
            return []       # started by a dynamic linker of its own: a copy would not start
    libraries = place.path("stripped-libraries")
    os.makedirs(libraries, exist_ok=True)
    with open("/proc/%d/maps" % place.program.pid) as f:
        shared = set(line.split(None, 5)[5].strip() for line in f if "libpython" in line)
    made = []
    for path, to in [(source, copy)] + [(p, os.path.join(libraries, os.path.basename(p))) for p in shared]:
        shutil.copy(path, to)
        os.chmod(to, 0o755)
        subprocess.run(["strip", "-s", to], check=True, stderr=subprocess.DEVNULL)
        if not sections:
            with open(to, "r+b") as f:
                f.seek(40)
                f.write(b"\0" * 8)      # e_shoff
                f.seek(58)
                f.write(b"\0" * 6)      # e_shentsize, e_shnum, e_shstrndx
        made.append(to)
    env = {"PYTHONHOME": os.path.dirname(os.path.dirname(source))}
    with open("/proc/%d/environ" % place.program.pid, "rb") as f:
        env["LD_LIBRARY_PATH"] = os.pathsep.join([libraries] + [v.split(b"=", 1)[1].decode() for v in f.read().split(b"\0") if v.startswith(b"LD_LIBRARY_PATH=")])
    program = process.Program(copy, "node_tree", [str(TREES)], twins=1, env=env)
    wrong = []
    try:
        for arguments in (["-p", str(program.pid)], ["-c", program.kernel_core(program.twins[0], 0x33)]):
            ran = process.pygc(*arguments, *LEAKS)
            if ran.code not in (0, 1):
                wrong.append("exit status %s: %s" % (ran.code, ran.tail()))
                continue
            report = json.loads(ran.out)
            found, truth = report["result"]["unreachable"], len(program.truth["unreachable"])
            if not report["complete"] or found != truth:
                wrong.append("%d unreachable, not %d; missing: %s" % (found, truth, report["missing"]))
    finally:
        program.close()
    return wrong


def named(place):
    """-e for a program that nothing names: without AT_EXECFN, or started as an argument of the dynamic linker."""
    return ["-e", os.path.realpath(place.interpreter.executable)]


def unnamed(place):
    """Nothing names the main program: with -e as ever, without it partial or one line."""
    core = place.edited("no-notes", lambda c: c.set_notes([]))
    return same(place, "-c", core, *named(place), *LEAKS) + partial(place, "-c", core, *LEAKS, codes=(1, 3, 4))[0]


def many_segments(core):
    at = 0x10000
    for _ in range(70000):
        core.segments.append(core_editor.Segment(core_editor.PT_LOAD, 4, at, 4096, bytearray()))
        at += 8192


def collector_said(place, core):
    """Whether the collector is on is told as it was, or as not known: up to 3.6 the variable is one that only the file leads to."""
    truth, said = (json.loads(process.pygc("-c", c, *LEAKS).out)["result"]["interpreters"] for c in (place.kernel[0x33], core))
    text = process.pygc("-c", core, "leaks").out
    wrong = ["collector %s, not %s, as a fact" % (s["enabled"], t["enabled"]) for t, s in zip(truth, said) if s["enabled"] != t["enabled"] and s.get("enabled_known", True)]
    if any(not s.get("enabled_known", True) for s in said) != ("collector on or off (not known)" in text):
        wrong.append("the text says otherwise: " + text[:300])
    return wrong


def gone_but_whole(place):
    """With all memory in the core no file is needed. Up to 3.6 what the collector counts of each generation is in a variable that only .symtab names: it is not told."""
    core = place.edited("gone-whole", lambda c: c.change_note(core_editor.NT_FILE, below(b"/nowhere")), base=0x7F)
    if not place.interpreter.version.startswith("3.6."):
        return same(place, "-c", core, *LEAKS)
    whole, gone = (json.loads(process.pygc("-c", c, *LEAKS).out) for c in (place.kernel[0x7F], core))
    for generation in (g for i in whole["result"]["interpreters"] for g in i["generations"]):
        for counter in ("collections", "collected", "uncollectable"):
            del generation[counter]
    return [] if gone["complete"] and gone["result"] == whole["result"] else ["another result than with the files, statistics of the collector apart"]


def main():
    arguments, versions, verbose, everything = sys.argv[1:], [], False, False
    names = []
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
    found = [i for i in interpreters.discover() if i.kind in ("default", "free-threaded")]
    if versions:
        found = [i for i in found if any(i.version.startswith(v) for v in versions)]
    elif not everything:
        found = [next(i for i in found if i.shared and i.version.startswith("3.12")), next(i for i in found if not i.shared and i.kind == "default" and i.version.startswith("3.13"))] + \
            [i for i in found if i.kind == "free-threaded"]
    passed = failed = skipped = 0
    for interpreter in found:
        try:
            place = Place(interpreter, FILTERS if interpreter.kind == "default" else [0x33])
        except (process.CannotTest, OSError) as e:
            print("FAILED %s: %s" % (interpreter.path, e))
            failed += 1
            continue
        try:
            for name, check in rows(place, everything or names):
                if names and not any(n in name for n in names):
                    continue
                try:
                    wrong = check()
                except (process.CannotTest, OSError, ValueError, KeyError, subprocess.CalledProcessError) as e:
                    wrong = ["%s: %s" % (type(e).__name__, e)]
                if wrong:
                    failed += 1
                    print("FAILED %s, %s" % (interpreter.version, name))
                    for w in wrong[:6 if not verbose else None]:
                        print("    " + str(w)[:400])
                else:
                    passed += 1
                    if verbose:
                        print("passed %s, %s" % (interpreter.version, name))
                sys.stdout.flush()
        finally:
            place.close()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
