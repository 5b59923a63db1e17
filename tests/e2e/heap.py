#!/usr/bin/env python3
"""What keeps the memory, what of it is not used and where it is (pygc heap), and who holds what only native memory holds (pygc path), against the process.

usage: heap.py [--quick] [--interpreter TEXT]... [-v] [--keep]    (--quick: three interpreters)

Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped. Exit 1 where one failed.
"""
import csv
import io
import json
import os
import re
import struct
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import dominance  # noqa: E402
import explain  # noqa: E402
import process  # noqa: E402
import sql  # noqa: E402
from explain import differ  # noqa: E402


def check_suspects(live):
    """The cache keeps more than a fifth: it is the place where it piles up, and the expression gives it."""
    found = [s for s in live.report("heap")["suspects"] if s["pile"] and s["pile"]["address"] == hex(live.truth["cache"])]
    if not found:
        return ["no suspect piles up in the cache"]
    wrong = differ("parts", found[0]["pile"]["parts"] >= live.truth["entries"], True)
    wrong += differ("keywords", "__main__.Entry" in found[0]["keywords"], True)
    contents = [{"type": "__main__.Entry", "objects": live.truth["entries"]}]
    wrong += differ("classes among it", found[0]["contents"], contents)
    in_triage = json.loads(process.pygc("-p", live.program.pid, "triage", "--format", "json").out)["result"]["holders"]["suspects"]
    wrong += differ("the same in triage", [s["contents"] for s in in_triage if s["pile"] and s["pile"]["address"] == hex(live.truth["cache"])], [contents])
    screen = process.pygc("-p", live.program.pid, "triage").out
    wrong += [] if "suspect " in screen and "sys.modules['__main__'].CACHE" in screen and "{:,} __main__.Entry".format(live.truth["entries"]) in screen else ["triage names no suspect: " + screen[-600:]]
    said = live.ask("(%s) is CACHE" % (found[0]["expression"] or "None").replace("sys.", "__import__('sys').", 1))
    text = process.pygc("-p", live.program.pid, "heap").out
    return wrong + differ("expression %s" % found[0]["expression"], said, "True") + ([] if "Suspect 1" in text and "keywords:" in text else ["no prose: " + text[:300]])


def check_waste(live):
    result, wrong = live.report("heap", "--waste", "--limit", "0", "--show-values"), []
    kinds = dict((c["kind"], c) for c in result["containers"])
    for kind in ("list", "set"):
        address, capacity, used = live.truth[kind]
        got = [l for l in kinds[kind]["largest"] if l["address"] == hex(address)]
        wrong += differ("the %s" % kind, [(l["capacity"], l["used"]) for l in got], [(capacity, used)])
    got = [l for l in kinds["dict"]["largest"] if l["address"] == hex(live.truth["dict"][0])]
    wrong += differ("entries of the dict", [l["used"] for l in got], [live.truth["dict"][1]])
    wrong += ["room in the dict: %s" % got] if not got or not 50000 <= got[0]["capacity"] <= 400000 else []
    for c in kinds.values():
        wrong += ["%s: %s" % (c["kind"], c)] if c["used"] > c["capacity"] or c["empty"] > c["objects"] or c["unused_bytes"] < max(l["unused_bytes"] for l in c["largest"]) else []
    for kind in ("text", "tuple"):
        count, length, size = live.truth[kind]
        rows = [d for d in result["duplicates"] if d["kind"] == {"text": "str", "tuple": "tuple"}[kind] and d["length"] == length and d["objects"] in (count, count + 1)]
        wrong += differ("surplus of the %s" % kind, [d["surplus_bytes"] // (d["objects"] - 1) for d in rows][:1], [size])
        if kind == "text" and rows:
            wrong += differ("its value", rows[0]["value"], ("-".join(["same text"] * 20))[:60])
    wrong += differ("sum of the surplus", result["duplicate_bytes"], sum(d["surplus_bytes"] for d in result["duplicates"]))
    hidden = live.report("heap", "--waste")["duplicates"]
    return wrong + differ("values where none were asked for", [d["value"] for d in hidden if d["value"] is not None], [])


def check_rows(live):
    """By module, by state, by size; CSV says the same as JSON."""
    modules = dict((r["type"], r) for r in live.report("heap", "--by", "module", "--limit", "0")["types"])
    types = live.report("heap", "--limit", "0")
    wrong = differ("objects of the program's own types", modules["__main__"]["objects"], live.truth["main_objects"])
    wrong += differ("sum over modules", sum(r["bytes"] for r in modules.values()), types["bytes"])
    lost = live.report("heap", "--state", "unreachable", "--type", "__main__.Lost")
    wrong += differ("unreachable objects", (lost["objects"], lost["unreachable"]), (live.truth["lost"],) * 2)
    wrong += differ("reachable ones", live.report("heap", "--state", "reachable", "--type", "__main__.Lost")["objects"], 0)
    cards = live.report("show", *[hex(address) for address, _ in live.truth["sized"]])["objects"]
    wrong += differ("sizes of Decimals, arrays, BytesIOs, buffered files, Structs, code", [c["size"] for c in cards], [size for _, size in live.truth["sized"]])
    large = live.report("heap", "--min-size", "1M", "--type", "bytearray")["types"]
    wrong += differ("large bytearrays", [(r["objects"], r["bytes"]) for r in large], [(1, live.truth["large"])])
    ran = process.pygc("-p", live.program.pid, "heap", "--limit", "0", "--format", "csv")
    rows = list(csv.reader(io.StringIO(ran.out)))
    return wrong + differ("csv", rows[1:], [[r["type"]] + [str(r[k]) for k in ("objects", "bytes", "retained", "unreachable")] for r in types["types"]])


def loaded_bytes(core, pid):
    """Sum of the sizes in the file of an ELF core's segments, without read-only pages of files and the kernel's own page."""
    of_files = []
    with open("/proc/%d/maps" % pid) as f:
        for line in f:
            words = line.split()
            if words[1][1] == "-" and words[4] != "0":
                of_files.append(tuple(int(a, 16) for a in words[0].split("-")))
    with open(core, "rb") as f:
        head = f.read(64)
        offset, count = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<H", head, 56)[0]
        f.seek(offset)
        table = f.read(56 * count)
        total, zeroes = 0, b"\0" * 4096
        for i in range(count):
            kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", table, 56 * i)
            if kind == 1 and address < 1 << 63 and not any(begin <= address < end for begin, end in of_files):
                f.seek(offset)
                total += sum(len(page) for page in iter(lambda: f.read(min(4096, size + offset - f.tell())), b"") if page != zeroes)
    return total


def touched_bytes(pid):
    """What the kernel says is in memory, or swapped out, of pages of the process's own, without those of zeroes: /proc/PID/pagemap."""
    total, zeroes = 0, b"\0" * 4096
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/pagemap" % pid, "rb") as pagemap, open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in maps:
            begin, end = (int(a, 16) for a in line.split()[0].split("-"))
            words = line.split()
            if begin >= 1 << 63 or "[v" in line or (words[4] != "0" and words[1][1] == "-"):    # constants after relocation count as the file's
                continue
            pagemap.seek(begin // 4096 * 8)
            entries = pagemap.read((end - begin) // 4096 * 8)
            for i in range(len(entries) // 8):
                entry = struct.unpack_from("<Q", entries, i * 8)[0]
                if entry >> 62 and not entry >> 61 & 1:     # present or swapped, and no page of a file
                    memory.seek(begin + i * 4096)
                    total += 4096 * (memory.read(4096) != zeroes)
    return total


def zero_bytes(core, what):
    """Of a part, what lies in pages of zeroes: the text alone says it, because a process and its core need not agree on it."""
    row = next((line for line in process.pygc("-c", core, "heap", "--memory").out.splitlines() if line.endswith("  " + what)), "")
    found = re.search(r"\+ ([\d.]+) (B|kB|MB)", row)
    return float(found.group(1)) * {"B": 1, "kB": 1e3, "MB": 1e6}[found.group(2)] if found else 0


def check_malloc(said, parts, core):
    """malloc's chunks are what glibc counts: of its heaps those in use, and those that are mappings of their own, but for the two that mallinfo2() itself may
    make or free. What lies in its thread caches is free here and used there: the programs run without."""
    if not said:
        return []
    named = [parts.get("malloc: " + what) for what in ("chunks in use", "free chunks", "heads of chunks", "large chunks, each a mapping of its own (mmap)")]
    if None in named:
        return ["malloc: of its parts only %s" % sorted(w for w in parts if w.startswith("malloc"))]
    used, mapped = named[0][0] + named[2][0] + zero_bytes(core, "malloc: chunks in use"), named[3]
    wrong = [] if 0.95 * said["uordblks"] <= used <= 1.02 * said["uordblks"] else ["%d bytes of malloc's heaps in use, mallinfo2() says %d" % (used, said["uordblks"])]
    wrong += [] if max(60, said["hblks"] - 2) <= mapped[1] <= said["hblks"] else ["%d mapped chunks, mallinfo2() says %d" % (mapped[1], said["hblks"])]
    return wrong + ([] if 60 * 400000 <= mapped[0] <= said["hblkhd"] else ["%d bytes of mapped chunks, mallinfo2() says %d" % (mapped[0], said["hblkhd"])])


def check_memory(live):
    """Every byte is in one part; the allocator's blocks are those that it counts itself."""
    core = live.program.gcore()
    memory = live.report_of_core(core, "heap", "--memory")["memory"]
    parts = dict((p["what"], p["bytes"]) for p in memory["parts"])
    wrong = differ("sum of the parts", sum(parts.values()), memory["bytes"])
    wrong += differ("bytes of the core's segments in pages that hold something", memory["bytes"], loaded_bytes(core, live.program.pid))
    # What the kernel counts, and pages of data that are as they were in the file: reserved address space is none of it.
    touched = touched_bytes(live.program.pid)
    wrong += [] if touched <= memory["bytes"] <= touched + parts.get("files: data of modules", 0) else ["%d bytes of memory, the kernel says %d" % (memory["bytes"], touched)]
    said = process.pygc("-c", core, "heap", "--memory").out
    wrong += [] if re.search(r"not in it: [\d.]+ [MG]B in pages of zeroes", said) else ["the text does not say what was left out"]
    of_live = live.report("heap", "--memory")["memory"]
    # libffi 3.5 maps a page of its code twice (trampolines): gcore leaves such pages out, and no module says that they were there.
    twice = of_live.pop("file_bytes") - memory.pop("file_bytes")
    wrong += [] if 0 <= twice <= 4 * 4096 else ["%d bytes of read-only files more in the process itself" % twice]
    wrong += differ("memory of the process itself", of_live, memory)
    wrong += check_malloc(json.loads(live.ask("json.dumps(malloc_info())")[1:-1]), dict((p["what"], (p["bytes"], p["count"])) for p in memory["parts"]), core)
    with open(os.path.join(live.program.folder, "stderr"), errors="replace") as f:
        said = re.search(r"# bytes in allocated blocks\s*=\s*([\d,]+)", f.read())
    if said is None and "free-threading" in live.truth["version"]:      # it says how many blocks there are
        got = dict((p["what"], p["count"]) for p in memory["parts"]).get("mimalloc: blocks in use", 0)
        live.note = "mimalloc %d blocks, sys.getallocatedblocks() %d" % (got, live.truth["blocks"])
        return wrong + ([] if abs(got - live.truth["blocks"]) <= live.truth["blocks"] * 0.02 else ["blocks in use: %d, sys.getallocatedblocks() says %d" % (got, live.truth["blocks"])])
    if said is None:
        return wrong + ([] if live.truth["hexversion"] < 0x03030000 or memory["notes"] else ["the interpreter says nothing of its allocator"])
    want, got = int(said.group(1).replace(",", "")), parts.get("pymalloc: blocks in use", 0)
    live.note = "pymalloc %d bytes, _debugmallocstats %d" % (got, want)
    return wrong + ([] if abs(got - want) <= want * 0.02 else ["blocks in use: %d bytes, sys._debugmallocstats() says %d" % (got, want)])


def check_retained(live):
    """What dominates each object and what each retains, from the same roots and references by a second algorithm."""
    pid = live.program.pid

    def rows(query):
        ran = process.pygc("-p", pid, "sql", "--format", "csv", "--limit", "0", query)
        if ran.code != 0:
            raise process.CannotTest("%s: exit %s: %s" % (query, ran.code, ran.tail()))
        return [[int(v) if v else None for v in line.split(",")] for line in ran.out.splitlines()[1:]]

    tree = rows("select d.object_id, d.dominator_id, d.retained, d.retained_objects, o.size from dominators d join objects o on o.id = d.object_id")
    node = dict((row[0], i + 1) for i, row in enumerate(tree))
    edges = [[] for _ in range(len(tree) + 1)]
    for source, target in rows("select src, dst from all_refs"):
        if source in node and target in node:
            edges[node[source]].append(node[target])
    edges[0] = [node[n] for n, in rows("select distinct object_id from roots where " + sql.NO_WORDS) if n in node]
    above, order = dominance.immediate_dominators(edges)
    sizes, objects = dominance.retained([0] + [row[4] or 0 for row in tree], above, order), dominance.retained([0] + [1] * len(tree), above, order)
    said = [[tree[above[i] - 1][0] if above[i] else None, sizes[i], objects[i]] if above[i] is not None else "not reached" for i in range(1, len(edges))]
    off = [(row, want) for row, want in zip(tree, said) if row[1:4] != want]
    live.note = "%d objects" % len(tree)
    return (["of %d objects: %s should be %s" % (len(off), off[0][0], off[0][1])] if off else []) + ([] if len(tree) > 100000 else ["only %d objects" % len(tree)])


def check_native(live):
    """Objects that nothing in the heap holds: the block of malloc by its address, the callbacks of atexit by name where the interpreter's structures say it."""
    result = live.report("path", hex(live.truth["native"]))
    wrong = differ("kind of the holder", [p["root"]["kind"] for p in result["paths"]][:1], ["native"])
    text = " ".join(p["root"]["place"] or "" for p in result["paths"])
    wrong += [] if hex(live.truth["block"]) in text else ["block %#x not in %s" % (live.truth["block"], text)]
    leaving = live.report("path", hex(live.truth["leaving"][0]))["paths"]
    said = " ".join("%s %s %s" % (p["root"]["name"], p["root"]["place"], p["expression"] or p["text"]) for p in leaving)
    if "free-threading" in live.truth["version"]:    # the blocks of its allocator are not known one by one
        return wrong
    return wrong + ([] if leaving and "atexit" in said else ["callback of atexit: %s" % said])


def check_all(live):
    out = []
    for check in (check_suspects, check_waste, check_rows, check_memory, check_retained, check_native, explain.check_schemas):
        live.note = ""
        wrong = check(live)
        out.append((check.__name__[6:], wrong, live.note))
    return out


if __name__ == "__main__":
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"    # see check_malloc()
    sys.exit(explain.main((("heap_use", check_all),), __doc__))
