#!/usr/bin/env python3
"""Questions about a whole heap, each held against what the interpreter itself says: expect, leaks --format gc-debug, export --format dot and heapsnapshot, asyncio, diff, who holds the GIL,
where objects were allocated, files, sockets and locks,
native functions between the Python ones, crashes.

usage: questions.py [--quick] [--interpreter TEXT]... [--only NAME] [-v] [--keep] [--screenshot FILE]

For each interpreter and question a fixture runs; pygc reads a core of it or the live process. --quick: three interpreters, hosts on one of them.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped. Exit 1 where one failed.
"""
import argparse
import ast
import json
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections import Counter

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import chromium  # noqa: E402
import dominance  # noqa: E402
import interpreters  # noqa: E402
import lldb_host  # noqa: E402
import process  # noqa: E402

QUICK = ["2.7.18-cache", "3.9.2", "3.14"]


class Subject:
    """A fixture that stands, its truth, and pygc's reports on it; JSON reports are kept for the schemas."""

    def __init__(self, program, interpreter):
        self.program, self.truth, self.interpreter, self.documents = program, program.truth, interpreter, []
        self.core_file = self.screenshot = None

    def run(self, *arguments):
        return process.pygc("-p", self.program.pid, *arguments)

    def report(self, *arguments, codes=(0,)):
        """(result, exit status); CannotTest where the status is another one."""
        ran = self.run(*(arguments + ("--format", "json")))
        if ran.code not in codes:
            raise process.CannotTest("%s: exit %s: %s" % (" ".join(map(str, arguments)), ran.code, ran.tail()))
        path = os.path.join(self.program.folder, "%s-%d.json" % (arguments[0], len(self.documents)))
        with open(path, "w") as f:
            f.write(ran.out)
        self.documents.append(path)
        return json.loads(ran.out)["result"], ran.code

    def ask(self, expression):
        """What the process says to an expression that gives a str."""
        self.program.child.stdin.write(expression.encode() + b"\n")
        self.program.child.stdin.flush()
        return ast.literal_eval(self.program.child.stdout.readline().decode())

    def core(self):
        self.core_file = self.core_file or self.program.gcore()
        return self.core_file


def differ(what, got, want):
    return ["%s: pygc %s, the interpreter %s" % (what, repr(got)[:200], repr(want)[:200])] if got != want else []


# ---- every question: schemas and hosts

def check_schemas(subject):
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    checked = process.run([python, os.path.join(process.TESTS, "golden", "check_schemas.py"), os.path.join(process.ROOT, "core", "report", "schema")] + subject.documents)
    return ["exit %s: %s" % (checked.code, checked.tail())] if checked.code else []


def hosts_differ(subject, command, whole=False):
    """What LLDB and GDB say otherwise than the standalone program, on one core. `whole`: the report is no JSON of pygc's, all of it is compared."""
    core, wrong, said = subject.core(), [], {}
    for host in ("standalone", "lldb", "gdb"):
        out = os.path.join(subject.program.folder, "host-" + host)
        line = "pygc %s -o %s" % (command, out)
        if host == "standalone":
            process.run([process.PYGC, "-c", core] + line.split()[1:])
        elif host == "lldb" and lldb_host.versions():
            lldb_host.commands(lldb_host.on_core(core) + [line])
        elif host == "gdb" and shutil.which("gdb"):
            process.run(["gdb", "-nx", "-batch", "-ex", "source " + os.path.join(os.path.dirname(os.path.dirname(process.PYGC)), "lib", "pygc_gdb.py"), "-ex", "core-file " + core, "-ex", line])
        else:
            wrong.append("no %s here" % host)
            continue
        if not os.path.exists(out):
            wrong.append("%s wrote nothing for: %s" % (host, command))
            continue
        with open(out) as f:
            said[host] = f.read() if whole else process.result_bytes(f.read())
        os.unlink(out)
    return wrong + ["%s: %s differs from the standalone program" % (command, host) for host in said if said[host] != said.get("standalone")]


# ---- expect (expectations.py)

def answers(subject, *assertions, code=None):
    result, status = subject.report("expect", *assertions, codes=(0, 1, 2, 3) if code is None else (code,))
    return [e["answer"] for e in result["expectations"]], status, result["expectations"]


def check_expect_figures(subject):
    """Each bound is met at the interpreter's own figure and violated one below it."""
    wrong, truth = [], subject.truth
    counts = dict(truth["counts"])
    for name, count in sorted(counts.items()):
        wrong += differ("max-count %s=%d" % (name, count), answers(subject, "--max-count", "__main__.%s=%d" % (name, count))[:2], (["met"], 0))
        wrong += differ("max-count %s=%d" % (name, count - 1), answers(subject, "--max-count", "%s=%d" % (name, count - 1))[:2], (["violated"], 1))
    wrong += [] if len(counts) >= 4 else ["the program has only %s" % counts]
    for option, figure in (("--max-unreachable %d", truth["unreachable"]), ("--max-retained __main__.Cache=%d", truth["retained"])):
        for bound, want in ((figure, (["met"], 0)), (figure - 1, (["violated"], 1))):
            got = answers(subject, *(option % bound).split())
            wrong += differ(option % bound, got[:2], want) and ["%s: %s (%s)" % (option % bound, got[0], got[2][0]["found"])]
    finalizers = answers(subject, "--no-finalizers-pending")
    wrong += differ("finalizers pending", finalizers[2][0]["found"], truth["finalizers"])
    return wrong + differ("no-finalizers-pending", finalizers[:2], (["violated"], 1) if truth["finalizers"] else (["met"], 0))


def check_expect_gone(subject):
    wrong = differ("gone Gone", answers(subject, "--gone", "__main__.Gone")[:2], (["met"], 0))
    got, status, rows = answers(subject, "--gone", "Kept")
    wrong += differ("gone Kept", (got, status), (["violated"], 1))
    wrong += differ("addresses", sorted(int(o["address"], 16) for o in rows[0]["objects"]), sorted(subject.truth["kept"]))
    wrong += differ("paths", sorted(o["path"] and o["path"]["expression"] for o in rows[0]["objects"]), ["sys.modules['__main__'].REGISTRY['sessions'][%d]" % i for i in (0, 1)])
    got, status, rows = answers(subject, "--gone", "__main__.Waiting")
    wrong += differ("gone Waiting", (got, status, rows[0]["in_use"], [o["path"] for o in rows[0]["objects"]]), (["violated"], 1, 0, [None] * 8))
    return wrong


def check_expect_together(subject):
    """Several at once; what is violated decides, then a name that is not there; --fail-on never."""
    wrong = differ("all met", answers(subject, "--gone", "__main__.Gone", "--max-count", "Kept=2", "--max-unreachable", "100000")[:2], (["met"] * 3, 0))
    got, status, rows = answers(subject, "--gone", "__main__.Keept", "--max-count", "Kept=2")
    wrong += differ("unknown type", (got, status, rows[0]["nearest_types"]), (["unknown-type", "met"], 2, ["__main__.Kept"]))
    wrong += differ("violated and unknown type", answers(subject, "--gone", "__main__.Keept", "--max-count", "Kept=1")[:2], (["unknown-type", "violated"], 1))
    wrong += differ("a GLOB that nothing is like", answers(subject, "--gone", "*Nothing*", "--max-unreachable", "100000")[:2], (["met", "met"], 0))
    wrong += differ("a GLOB like the last part", answers(subject, "--gone", "Kep*")[0], ["violated"])
    for glob, warned, nearest in (("Keept*", True, ["__main__.Kept"]), ("*Nothing*", True, []), ("Gon*", False, [])):
        document = json.loads(subject.run("expect", "--gone", glob, "--format", "json").out)
        row, text = document["result"]["expectations"][0], subject.run("expect", "--gone", glob)
        wrong += differ("--gone " + glob, (row["answer"], row["nearest_types"], text.code), ("met", nearest, 0))
        wrong += differ("warned of " + glob, (any("no class" in w for w in document["warnings"]), "no class" in text.out), (warned, warned))
    return wrong + differ("--fail-on never", answers(subject, "--gone", "Kept", "--fail-on", "never")[:2], (["violated"], 0))


def check_expect_partial(subject):
    """From a core cut in half nothing is ever met; what is surely violated still is."""
    cut = os.path.join(subject.program.folder, "cut")
    with open(subject.core(), "rb") as f, open(cut, "wb") as out:
        data = f.read()
        out.write(data[:len(data) - len(data) // 50])
    del data
    wrong = []
    ran = process.pygc("-c", cut, "expect", "--max-unreachable", "100000", "--gone", "__main__.Gone", "--max-retained", "Cache=1T", "--format", "json")
    result = json.loads(ran.out)
    if result["complete"]:
        return ["the cut core is complete"]
    wrong += differ("cut core", (ran.code, [e["answer"] for e in result["result"]["expectations"]]), (3, ["unknown"] * 3))
    found = [e for e in json.loads(process.pygc("-c", cut, "expect", "--max-count", "dict=0", "--format", "json").out)["result"]["expectations"]][0]["found"]
    ran = process.pygc("-c", cut, "expect", "--max-count", "dict=%d" % (found - 1), "--max-count", "dict=%d" % found)
    wrong += differ("violated in a cut core", ran.code, 1)
    return wrong + ([] if found > 0 else ["no dict in the cut core"])


def check_expect_hosts(subject):
    return hosts_differ(subject, "expect --gone Kept --max-count Waiting=3 --max-unreachable 0 --no-finalizers-pending --max-retained Cache=10 --format json")


# ---- leaks --format gc-debug (gc_debug.py)

def debug_lines(text, in_order):
    """The lines without the time that passed; those of objects sorted where their order is not looked at."""
    lines = [re.sub(r"[0-9.]+s elapsed", "T elapsed", line) for line in text.splitlines() if line.startswith("gc: ")]
    objects = [i for i, line in enumerate(lines) if re.match(r"gc: (un)?collectable <", line)]
    if not in_order:
        for i, line in zip(objects, sorted(lines[i] for i in objects)):
            lines[i] = line
    return lines


def check_gc_debug(subject):
    """Line by line what the interpreter printed. Free-threaded builds have no lists: objects in any order there."""
    with open(subject.truth["log"]) as f:
        said = f.read()
    ran = subject.run("leaks", "--format", "gc-debug", "--fail-on", "never")
    in_order = subject.interpreter.kind != "free-threaded"
    got, want = debug_lines(ran.out, in_order), debug_lines(said, in_order)
    wrong = ["line %d: pygc %s, the interpreter %s" % (i, g, w) for i, (g, w) in enumerate(zip(got, want)) if g != w]
    wrong += differ("lines", len(got), len(want)) + differ("exit status", ran.code, 0)
    wrong += differ("lines of something else", [line for line in ran.out.splitlines() if not line.startswith("gc: ")], [])
    return wrong + ([] if sum("collectable <" in line for line in want) >= 15 else ["the interpreter printed only %d lines" % len(want)])


def check_gc_debug_hosts(subject):
    return hosts_differ(subject, "leaks --format gc-debug", whole=True)


# ---- export --format dot (graph) and heapsnapshot (expectations.py)

def check_dot(subject):
    """Graphviz draws every object and reference that pygc names; the garbage is all red cycles; the reference that holds a session is there with its place."""
    if not shutil.which("dot"):
        return ["Graphviz is not installed"]
    wrong = []
    for query, depth in (("__main__.Waiting", 3), ("Kept", 4), (None, 2)):
        path = os.path.join(subject.program.folder, "drawing.dot")
        ran = subject.run(*["graph"] + ([query] if query else []) + ["--depth", str(depth), "-o", path])
        with open(path) as f:
            text = f.read()
        drawn = process.run(["dot", "-Tsvg", path], 120)
        nodes, edges = set(re.findall(r"^  ([nr][0-9]+) \[", text, re.M)), re.findall(r"^  ([nr][0-9]+) -> ([nr][0-9]+) \[label=(\".*\")[],]", text, re.M)
        wrong += differ("%s: exit of pygc and dot" % query, (ran.code, drawn.code), (0, 0))
        wrong += differ("%s: nodes and edges in the drawing" % query, (drawn.out.count('class="node"'), drawn.out.count('class="edge"')), (len(nodes), len(edges)))
        wrong += ["%s: an edge to what is not drawn" % query for e in edges if not set(e[:2]) <= nodes]
        address = dict((m.group(1), int(m.group(2), 16)) for m in re.finditer(r'^  (n[0-9]+) \[label=".*?\\n0x([0-9a-f]+)\\n', text, re.M))
        named = set((address.get(a), address.get(b)) for a, b, _ in edges)
        if query == "__main__.Waiting":
            wrong += differ("objects asked for", sorted(a for a in address.values() if a in subject.truth["waiting"]), sorted(subject.truth["waiting"]))
            others = [line for line in text.splitlines() if 'label=".other"' in line or "label=\"['other']\"" in line]
            wrong += [] if len(others) == 8 and all("color=red" in line for line in others) else ["of 8 references of cycles red: %s" % others]
        if query == "Kept":
            holder, session = subject.truth["holder"], subject.truth["kept"][0]
            wrong += [] if (holder, session) in named else ["the list that holds a session is not drawn"]
    return wrong


def check_heapsnapshot(subject):
    """As many objects of each type as there are, references as the interpreter says, and retained sizes, computed from the file, that agree with pygc's and the interpreter's."""
    path, wrong = os.path.join(subject.program.folder, "heap.heapsnapshot"), []
    ran = subject.run("export", "--format", "heapsnapshot", "-o", path)
    with open(path) as f:
        snapshot = json.load(f)
    strings, raw, flat = snapshot["strings"], snapshot["nodes"], snapshot["edges"]
    rows = [raw[i:i + 7] for i in range(0, len(raw), 7)]
    wrong += differ("exit, nodes, edges", (ran.code, len(rows), len(flat) // 3), (0, snapshot["snapshot"]["node_count"], snapshot["snapshot"]["edge_count"]))
    edges, weak, at = [], 0, 0
    for row in rows:
        mine = [flat[i:i + 3] for i in range(at, at + 3 * row[4], 3)]
        at += 3 * row[4]
        weak += sum(e[0] == 6 for e in mine)
        edges.append([(e[2] // 7, e[1] if e[0] in (1, 4) else strings[e[1]]) for e in mine if e[0] != 6])
    wrong += differ("edges that nodes have", at, len(flat))
    names = [strings[row[1]] for row in rows]
    for name, count in subject.truth["counts"].items():
        wrong += differ("nodes of " + name, names.count("__main__." + name), count)
    above, order = dominance.immediate_dominators([[to for to, _ in mine] for mine in edges])
    kept = dominance.retained([row[3] for row in rows], above, order)
    wrong += differ("nodes that the root leads to", len(order), len(rows))
    wrong += [] if weak > 0 else ["no reference of the garbage is weak"]
    wrong += differ("retained size of the cache", [kept[i] for i, name in enumerate(names) if name == "__main__.Cache"], [subject.truth["retained"]])
    holders = [sorted(label for to, label in mine if names[to] == "__main__.Kept") for mine in edges]
    wrong += differ("places of the sessions", [h for h in holders if h], [[0, 1]])
    said = sorted((d["retained"], d["objects"]) for d in subject.report("dominators", "--limit", "0")[0]["dominators"] if d["depth"] == 0)
    in_use = [i for i in range(len(rows)) if names[i] == "(unreachable)"]
    total = kept[0] - kept[in_use[0]]
    wrong += differ("bytes in use", total, sum(retained for retained, _ in said))
    subject.snapshot_file, subject.snapshot_kept = path, kept[[i for i, name in enumerate(names) if name == "__main__.Cache"][0]]
    subject.snapshot_total, subject.snapshot_all = kept[0], kept
    return wrong


def check_memlab(subject):
    """A parser that is not ours, memlab's, reads the file and finds the same retained sizes. $PYGC_NODE_MODULES says where it is."""
    modules = os.environ.get("PYGC_NODE_MODULES") or os.path.expanduser("~/.cache/pygc/memlab/node_modules")
    if not shutil.which("node") or not os.path.isdir(os.path.join(modules, "@memlab", "core")):
        return "memlab is not here: npm install --prefix ~/.cache/pygc/memlab --ignore-scripts @memlab/core"
    ran = process.run(["node", os.path.join(HERE, "heapsnapshot.js"), modules, subject.snapshot_file, "__main__.Cache"], 120)
    if ran.code:
        return ["memlab: exit %s: %s" % (ran.code, ran.tail())]
    said = json.loads(ran.out)
    wrong = differ("memlab's retained size of the cache", [o[0] for o in said["objects"]], [subject.snapshot_kept])
    return wrong + differ("memlab's retained size of everything", said["total"], subject.snapshot_total)


def check_devtools(subject):
    """Chromium's developer tools read the file: their worker retains for each node what the test's own dominators do, and the Memory panel shows it after Load profile."""
    wrong = check_heapsnapshot(subject)
    try:
        tools = chromium.DeveloperTools(subject.program.folder)
    except process.CannotTest as e:
        return str(e)
    try:
        said = tools.engine(subject.snapshot_file)
        kept = subject.snapshot_all
        wrong += differ("problems", said["problems"], []) + differ("nodes, bytes", (said["nodes"], said["total"]), (len(kept), kept[0]))
        others = [(i, got, want) for i, (got, want) in enumerate(zip(said["retained"], kept)) if got != want]
        wrong += ["retained sizes of %d of %d nodes differ, the first (node, DevTools, here): %s" % (len(others), len(kept), others[0])] if others else []
        rows = tools.panel(subject.snapshot_file)
        shown = [row for row in rows if row and row[0].startswith("__main__.Cache")]
        wrong += [] if shown and "%d" % round(subject.snapshot_kept / 1000) in " ".join(shown[0]) else ["the Memory panel shows %s for the cache of %d bytes" % (shown or rows[:5], subject.snapshot_kept)]
        if subject.screenshot:
            tools.screenshot(subject.screenshot)
    except chromium.Wrong as e:
        wrong.append(str(e))
    finally:
        tools.close()
    return wrong


def check_export_hosts(subject):
    return hosts_differ(subject, "graph Kept --depth 4", whole=True) + hosts_differ(subject, "export --format heapsnapshot", whole=True)


# ---- asyncio (asyncio_tasks.py)

def check_asyncio(subject):
    """Every pending task with its name, loop, coroutine, what it waits for, and each link of its chain with file and line, as asyncio and the coroutines themselves say."""
    said, wrong = json.loads(subject.ask("json.dumps(tasks())")), []
    result = subject.report("asyncio", "--limit", "0")[0]
    rows = dict((int(r["address"], 16), r) for r in result["tree"] if not r["repeated"])
    wrong += differ("pending tasks", sorted(rows), sorted(map(int, said)))
    wrong += differ("done tasks", result["done"] >= len(subject.truth["done"]), True)
    wrong += differ("tasks of each loop", sorted((int(x["address"], 16), x["pending"]) for x in result["loops"]), sorted(Counter(t["loop"] for t in said.values()).items()))
    for address, want in sorted(said.items()):
        row = rows.get(int(address))
        if row is None:
            continue
        what = "task %s (%s)" % (hex(int(address)), want["chain"][0][1] if want["chain"] else "running")
        wrong += differ(what + " name", row["name"], want["name"]) + differ(what + " loop", int(row["loop"], 16), want["loop"])
        wrong += differ(what + " waits for", int(row["waits_for"]["address"], 16) if row["waits_for"] else 0, want["waiter"])
        wrong += differ(what + " state", row["state"], "running" if want["running"] else "waiting" if want["waiter"] else "ready")
        steps = [[int(s["address"], 16), s["function"] or want["chain"][i][1] if i < len(want["chain"]) else s["function"], s["file"], s["line"]] for i, s in enumerate(row["steps"])]
        wrong += differ(what + " coroutine", steps[0][0], want["coroutine"])
        if want["running"]:
            continue
        wrong += differ(what + " chain", steps[:len(want["chain"])], want["chain"])
        wrong += differ(what + " get_stack()", [[row["steps"][0]["function"].split(".")[-1], row["steps"][0]["line"]]], want["stack"][:1])
        last = row["steps"][-1]
        wrong += differ(what + " ends with what it waits for", int(last["address"], 16), want["waiter"]) if want["waiter"] and last["function"] is None else []
    return wrong


def check_asyncio_timers(subject):
    """When each task's timers are due, how many each loop has and when the first one is due, what show says of each: as the loops themselves say."""
    said, wrong = json.loads(subject.ask("json.dumps(tasks())")), []
    loops, handles = json.loads(subject.ask("json.dumps(loops())"))
    result = subject.report("asyncio", "--limit", "0")[0]
    rows = dict((str(int(r["address"], 16)), r) for r in result["tree"] if not r["repeated"])
    wrong += differ("timers of loops", dict((str(int(x["address"], 16)), [x["timers"], x["next_due"]]) for x in result["loops"]), loops)
    for address, want in sorted(said.items()):
        row = rows.get(address, {})
        wrong += differ("task %#x due, timeout" % int(address), (row.get("due"), row.get("timeout")), (want["due"], want["timeout"]))
    for address, when, cancelled in handles:
        details = subject.report("show", hex(address))[0]["objects"][0]["details"]
        due = None if when == float("inf") else "%.6f by the loop's clock" % when
        wrong += differ("timer %#x" % address, (details.get("due"), details.get("is")), (due, "cancelled" if cancelled else "scheduled"))
    return wrong + ([] if len(handles) > 5 and sum(t["due"] is not None for t in said.values()) > 2 else ["only %d timers" % len(handles)])


def check_asyncio_tree(subject):
    """Who waits for whom: as the program itself noted it, and gather as its future says."""
    said, edges, above = json.loads(subject.ask("json.dumps(tasks())")), set(), []
    for row in subject.report("asyncio", "--limit", "0")[0]["tree"]:
        above[row["depth"]:] = [int(row["address"], 16)]
        if row["depth"]:
            edges.add((above[-2], above[-1]))
    want = set(tuple(e) for e in subject.truth["edges"]) | set((int(t), c) for t, d in said.items() for c in d["gathers"] if str(c) in said)
    want = set(e for e in want if str(e[0]) in said and str(e[1]) in said)
    wrong = ["not in the tree: %#x waits for %#x" % e for e in sorted(want - edges)]
    wrong += ["only in the tree: %#x waits for %#x" % e for e in sorted(edges - want) if e[0] != subject.truth["roles"]["waits_for"]]
    gathers = said[str(subject.truth["roles"]["gathers"])]["waiter"]
    labels = [r["label"] for r in subject.report("referents", hex(gathers), "--limit", "0")[0]["references"]]
    wrong += [] if "._children" in labels or ".__dict__" in labels else ["the attributes of a subclass of Future have no names: %s" % labels]
    return wrong + ([] if len(want) >= 6 else ["only %d references between tasks" % len(want)])


def check_asyncio_redacted(subject):
    """Names of tasks are texts of the program: --redact hides them and nothing else."""
    plain, hidden = [subject.report("asyncio", "--limit", "0", *extra)[0]["tree"] for extra in ((), ("--redact",))]
    return differ("rows", [dict(r, name=None) for r in plain], hidden)


def check_asyncio_hosts(subject):
    return hosts_differ(subject, "asyncio --limit 0 --format json")


# ---- diff (growth.py)

def check_diff(subject):
    """Against a core and a saved export of before: each type's growth, what is new and gone, and the list that holds it, as the interpreter counts them."""
    core, database, truth, wrong = subject.core(), os.path.join(subject.program.folder, "before.db"), subject.truth, []
    saved = process.pygc("-c", core, "export", "--format", "sqlite", "-o", database)
    same = subject.report("diff", core, "--limit", "0")[0]
    wrong += differ("growth of what stands still", [t["type"] for t in same["types"] if t["type"].startswith("__main__")], []) + differ("relation", same["relation"], "same-process")
    itself = process.pygc("-c", core, "diff", database, "--limit", "0", "--format", "json")
    itself = json.loads(itself.out)["result"]
    wrong += differ("growth of a core since its own export", [itself["types"], itself["holders"], itself["added"], itself["removed"], itself["changed"]], [[], [], 0, 0, 0])
    wrong += differ("export", saved.code, 0) + differ("grow()", subject.ask("grow()"), "grown")
    after, kept = json.loads(subject.ask("json.dumps(census())")), int(subject.ask("str(kept())"))
    for old in (core, database):
        what = os.path.basename(old).split(".")[0]
        result = subject.report("diff", old, "--limit", "0")[0]
        rows = dict((t["type"], t) for t in result["types"])
        wrong += differ(what + " relation", (result["relation"], result["by_address"]), ("same-process", True))
        for name, (objects, size) in sorted(after.items()):
            row, (objects_old, size_old) = rows.get("__main__." + name), truth["census"][name]
            if objects == objects_old:
                wrong += differ("%s %s did not grow" % (what, name), row, None)
                continue
            wrong += differ("%s %s" % (what, name), [row["objects_old"], row["objects_new"], row["bytes_old"], row["bytes_new"]], [objects_old, objects, size_old, size])
            wrong += differ("%s %s new and gone" % (what, name), [row["added"], row["removed"]], [max(0, objects - objects_old), max(0, objects_old - objects)])
        top = result["holders"][0]
        wrong += differ(what + " holder", int(top["address"], 16), truth["holder"])
        wrong += differ(what + " kept before and after", [top["retained_old"], top["retained_new"]], [truth["kept"], kept])
        wrong += differ(what + " path", top["path"]["expression"], "sys.modules['__main__'].HOLDER.rows")
        wrong += [] if result["unchanged"] > 0.9 * result["objects_old"] else ["only %d of %d unchanged" % (result["unchanged"], result["objects_old"])]
        wrong += differ(what + " sums", [result["unchanged"] + result["changed"] + result["removed"], result["unchanged"] + result["changed"] + result["added"]],
                        [result["objects_old"], result["objects_new"]])
    return wrong


def check_diff_content(subject):
    """Objects that changed in place, whose size and references are as they were: each is counted, and nothing that stood still. Against an export they cannot be told: said so."""
    wrong, slack = [], 40      # what the call itself does, in another order each time
    kinds = ["SMALL", "LARGE", "BUFFERS", "ARRAYS", "RANDOMS", "FILES", "COUNTERS"]
    before, saved = subject.program.gcore(), os.path.join(subject.program.folder, "content.db")
    process.pygc("-c", before, "export", "--format", "sqlite", "-o", saved)
    subject.ask("mutate('')")
    changed = [subject.report("diff", before)[0]["changed"]]
    for kind in kinds:
        subject.ask("mutate('%s')" % kind)
        result = subject.report("diff", before)[0]
        changed.append(result["changed"])
        # A BytesIO, and from 3.5 on the bytes object that is its buffer; from 3.15 on a bytearray's buffer is one too.
        of_two = kind == "FILES" or (kind in ("SMALL", "LARGE", "BUFFERS") and tuple(int(n) for n in subject.interpreter.version.split(".")[:2]) >= (3, 15))
        most = 200 if of_two else 100
        wrong += [] if 90 <= changed[-1] - changed[-2] <= most + slack else ["%s: 100 objects changed, pygc finds %d more than before" % (kind, changed[-1] - changed[-2])]
    wrong += differ("compared, not compared", (result["content_compared"], result["not_compared"]), (True, 0))
    wrong += [] if changed[0] <= slack else ["%d objects changed where nothing was done" % changed[0]]
    of_export, text = subject.report("diff", saved)[0], subject.run("diff", saved).out
    wrong += differ("content compared with an export", of_export["content_compared"], False)
    return wrong + ([] if "content of objects was not compared" in text else ["the text does not say that the export has no content"])


def check_diff_others(subject):
    """OLD of another process or program: said so, and only types are compared. OLD that is none: one line, exit 4 or 2."""
    wrong = []
    for fixture, relation in (("growth", "other-process"), ("expectations", "other-program")):
        with process.Program(subject.interpreter.path, fixture) as other:
            result = subject.report("diff", other.gcore())[0]
            wrong += differ("relation to another " + fixture, (result["relation"], result["by_address"], result["holders"]), (relation, False, []))
    text = os.path.join(subject.program.folder, "text")
    with open(text, "w") as f:
        f.write("no core\n")
    for path, code in ((text, 4), (os.path.join(subject.program.folder, "nothing"), 4)):
        ran = subject.run("diff", path)
        wrong += differ("exit status for " + os.path.basename(path), (ran.code, len(ran.err.splitlines())), (code, 1))
    return wrong


def check_diff_hosts(subject):
    before = subject.core()
    os.rename(before, before + ".old")
    subject.ask("grow()")
    subject.core_file = None
    return hosts_differ(subject, "diff %s --limit 0 --format json" % (before + ".old"))


# ---- stacks: who holds the GIL (holds_gil.py)

def check_gil(subject):
    """The thread that sleeps without letting go of it, and no other; in a process that waits for input nobody does."""
    wrong, truth = [], subject.truth
    threads = subject.report("stacks")[0]["threads"]
    got = dict((t["thread_id"], t["holds_gil"]) for t in threads)
    known = subject.interpreter.kind != "free-threaded" and not subject.interpreter.name.startswith(("2.7", "3.6"))
    wrong += differ("who holds it", got, dict((t, (t == truth["holder"]) if known else None) for t in truth["threads"]))
    with process.Program(subject.interpreter.path, "holds_gil", ["idle"]) as idle:
        said = json.loads(process.pygc("-p", idle.pid, "stacks", "--format", "json").out)["result"]["threads"]
        wrong += differ("who holds it in an idle process", [t["holds_gil"] for t in said], [False if known else None] * len(idle.truth["threads"]))
    return wrong


# ---- where objects were allocated (allocation_sites.py)

def check_sites_show(subject):
    """The lines that led to each object, as tracemalloc.get_object_traceback() says."""
    wrong, said = [], json.loads(subject.ask("json.dumps(tracebacks())"))
    cards = subject.report("show", *[hex(int(a)) for a in sorted(said)])[0]["objects"]
    for address, card in zip(sorted(said), cards):
        if said[address]:
            wrong += differ("%s at %s" % (card["type"], card["address"]), card.get("allocated"), said[address])
    least = 15 if subject.interpreter.name.startswith("3.11") else 25      # 3.11 looks instances up at a wrong address and finds none
    return wrong + ([] if sum(map(bool, said.values())) >= least else ["only %d objects were traced" % sum(map(bool, said.values()))])


def check_sites_heap(subject):
    """Blocks and bytes of each line as a snapshot of tracemalloc has them; objects of a type at the line that made them; what an extension module traced."""
    wrong, said = [], json.loads(subject.ask("json.dumps((statistics(), statistics())[1])"))
    result = subject.report("heap", "--by", "site", "--limit", "0")[0]
    rows = dict((r["type"], r) for r in result["types"])
    for place, figures in sorted(said.items()):
        row = rows.get(place, {"traced_blocks": 0, "traced_bytes": 0})
        wrong += differ("traced at " + place, [row["traced_blocks"], row["traced_bytes"]], figures)
    kept = subject.report("heap", "--by", "site", "--type", "__main__.Kept")[0]["types"]
    line = subject.ask("'%s:%d' % (__file__, make_kept.__code__.co_firstlineno + 1)")
    wrong += differ("where the Kept were made", [(r["type"], r["objects"]) for r in kept], [(line, subject.truth["kept"])])
    if subject.truth["foreign"]:
        wrong += [] if any(r["traced_bytes"] >= subject.truth["foreign"] and r["type"] == subject.truth["foreign_line"] for r in rows.values()) else ["a block of another domain is not there"]
    wrong += differ("sum of the blocks", [sum(r["traced_blocks"] for r in rows.values()), sum(r["traced_bytes"] for r in rows.values())], [result["traced_blocks"], result["traced_bytes"]])
    return wrong + ([] if len(said) >= 3 else ["only %d lines" % len(said)])


def check_sites_leaks(subject):
    line = subject.ask("'%s:%d' % (__file__, make_lost.__code__.co_firstlineno + 3)")       # 3.11's own get_object_traceback() knows of no instance
    places = Counter(frames[0] if frames else line for frames in subject.truth["lost"])
    groups = [g for g in subject.report("leaks")[0]["groups"] if g["type"] == "__main__.Lost"]
    return differ("where the Lost were made", [dict((s["place"], s["objects"]) for s in g["sites"]) for g in groups], [dict(places)])


def check_sites_diff(subject):
    """What each line has more than in the core of before."""
    core, before = subject.core(), json.loads(subject.ask("json.dumps((statistics(), statistics())[1])"))
    wrong = differ("grow()", subject.ask("grow()"), "grown")
    after = json.loads(subject.ask("json.dumps((statistics(), statistics())[1])"))
    rows = dict((s["place"], s) for s in subject.report("diff", core, "--limit", "0")[0]["sites"])
    for place, (blocks, size) in sorted(after.items()):
        old, row = before.get(place, [0, 0]), rows.get(place)
        got = [row["blocks_old"], row["bytes_old"], row["blocks_new"], row["bytes_new"]] if row else None
        wrong += differ("growth at " + place, got, old + [blocks, size] if old != [blocks, size] else None)
    return wrong + ([] if after != before else ["nothing grew"])


def check_sites_export(subject):
    """The tables of an export: tracebacks of single objects and figures of lines as the process says; `sql` gives the same rows; OLD may be an export."""
    core, database = subject.core(), os.path.join(subject.program.folder, "sites.db")
    saved = process.pygc("-c", core, "export", "--format", "sqlite", "-o", database)
    if saved.code != 0:
        return ["export: exit %s: %s" % (saved.code, saved.tail())]
    rows = {}
    connection = sqlite3.connect(database)
    queries = ["select * from tracebacks order by id, depth", "select count(*), sum(bytes), count(distinct object_id), sum(address) from allocations",
               "select o.address, t.file, t.line from objects o join allocations a on a.object_id = o.id join tracebacks t on t.id = a.traceback_id and t.depth = 0 "
               "where o.type_id = (select id from types where name = '__main__.Kept') order by 1"]
    wrong = []
    for query in queries:
        rows[query] = [list(r) for r in connection.execute(query)]
        got = json.loads(process.pygc("-c", core, "sql", "--limit", "0", "--format", "json", query).out)["result"]["rows"]
        wrong += differ(query, got, rows[query])
    said = dict((int(a), frames) for a, frames in json.loads(subject.ask("json.dumps(tracebacks())")).items() if frames)
    there = set(r[0] for r in connection.execute("select address from objects"))
    said = dict((a, frames) for a, frames in said.items() if a in there)      # some dicts are made by the question
    for address, frames in sorted(said.items()):
        found = connection.execute("select t.file, t.line from objects o join allocations a on a.object_id = o.id join tracebacks t on t.id = a.traceback_id where o.address = ? order by t.depth", (address,))
        wrong += differ("traceback of %#x" % address, ["%s:%d" % tuple(r) for r in found], frames)
    wrong += [] if len(rows[queries[2]]) == subject.truth["kept"] and len(said) > 10 else ["%d Kept, %d tracebacks" % (len(rows[queries[2]]), len(said))]
    connection.close()
    by_core, by_export = (subject.report("diff", old, "--limit", "0")[0] for old in (core, database))
    return wrong + differ("sites against the export", by_export["sites"], by_core["sites"]) + ([] if by_core["sites"] else ["no line differs from the core"])


def check_sites_hosts(subject):
    return hosts_differ(subject, "heap --by site --limit 0 --format json")


def check_sites_off(subject):
    """Where tracemalloc was off, or is not there: said so, and nothing is made up."""
    result = subject.report("heap", "--by", "site")[0]
    word = "has no tracemalloc" if subject.interpreter.name.startswith("2.7") else "tracemalloc was off"
    wrong = [] if word in (result["no_sites"] or "") and word in subject.run("heap", "--by", "site").out else ["says %s" % result["no_sites"]]
    wrong += differ("rows", [r["type"] for r in result["types"]], ["(not traced)"])
    return wrong + differ("show", ["allocated" in o for o in subject.report("show", hex(int(next(iter(json.loads(subject.ask("json.dumps(tracebacks())"))))))) [0]["objects"]], [False])


# ---- files, sockets, locks (resources.py)

def check_resources_show(subject):
    """Descriptor, state, owner and count of each as it says itself."""
    wrong, said = [], json.loads(subject.ask("json.dumps(state())"))
    rows = dict((r["address"], r) for r in subject.report("finalizers", "--limit", "0")[0]["resources"])
    cards = dict((o["address"], o) for o in subject.report("show", *[hex(v[0]) for v in said.values()])[0]["objects"])
    for name, (address, what) in sorted(said.items()):
        row, details = rows.get(hex(address)), cards[hex(address)]["details"]
        if name in ("FILE", "CLOSED", "SERVER"):
            wrong += differ(name, row and row["fd"], what)
            wrong += differ(name + " card", details.get("fd"), None if what is None else str(what))
        elif name in ("FREE", "TAKEN", "WANTED"):
            wrong += differ(name, row is not None and row["locked"], what)
        else:
            wrong += differ(name, [row["owner"], row["count"]] if row else [0, 0], what)
            wrong += differ(name + " card", details["lock"].startswith("locked"), what[1] > 0)
    wrong += differ("socket", rows[hex(said["SERVER"][0])]["family"], "AF_INET SOCK_DGRAM")
    expression = rows[hex(said["FILE"][0])]["path"]
    wrong += differ("who holds the file", expression, "sys.modules['__main__'].FILE")
    waiting = dict((hex(address), len(rows[hex(address)]["waiters"])) for address, _ in (said["WANTED"], said["HELD"], said["TAKEN"]))
    if not subject.interpreter.name.startswith("2.7"):    # there RLock is Python code around a lock, whose wait is a poll
        wrong += differ("waiters", waiting, {hex(said["WANTED"][0]): 2, hex(said["HELD"][0]): 1, hex(said["TAKEN"][0]): 0})
    return wrong


def check_resources_stacks(subject):
    """Each thread that waits names the lock, and for an RLock the thread that has it."""
    said, threads = json.loads(subject.ask("json.dumps(state())")), subject.truth["threads"]
    got = dict((t["thread_id"], t["waits_for"] and [int(t["waits_for"]["address"], 16), t["waits_for"]["owner"]]) for t in subject.report("stacks")[0]["threads"])
    want = {threads["wants 1"]: [said["WANTED"][0], None], threads["wants 2"]: [said["WANTED"][0], None], threads["wants held"]: [said["HELD"][0], threads["holds"]], threads["holds"]: None}
    return differ("who waits for what", dict((t, got.get(t)) for t in want), want)


def check_resources_waits(subject):
    """Locks that acquire() has taken: triage says which thread waits for which, and that nothing records who has it."""
    said, wrong = json.loads(subject.ask("crossed()")), []
    threads = dict((t["thread_id"], t) for t in subject.report("stacks", "--limit", "0")[0]["threads"])
    text = " ".join(subject.run("triage", "--limit", "0").out.split())
    for name, (thread, lock) in sorted(said.items()):
        got = threads[thread]["waits_for"] or {}
        wrong += differ(name, [got.get("address"), got.get("holder")], [hex(lock), None])
        who = threads[thread]["native_id"] or hex(thread)
        line = "thread %s waits for the %s at %s: locked by acquire(), it does not record by whom; it stands at takes() at " % (who, got.get("type"), hex(lock))
        wrong += [] if line in text else ["triage does not say %r: %s" % (line, text[:1500])]
    short = subject.run("triage").out
    return wrong + ([] if re.search(r"^waits +\d+ threads wait for \d+ locks", short, re.M) else ["triage has no row for them: %s" % short])


def check_resources_deadlock(subject):
    """Two threads inside of `with` blocks of two locks wait for each other's: named in stacks and triage, with the place; conditions; nobody where acquire() was called."""
    said, wrong = json.loads(subject.ask("deadlock()")), []
    result = subject.report("stacks", "--limit", "0")[0]
    threads = dict((t["thread_id"], t) for t in result["threads"])
    for name, (thread, lock, holder, line) in sorted(said["waits"].items()):
        got = threads[thread]["waits_for"] or {}
        wrong += differ("%s waits for, held by" % name, [got.get("address"), got.get("holder")], [hex(lock), holder])
        wrong += differ(name + ": place", (got.get("holder_place") or "").endswith(":%d" % line) if line else got.get("holder_place"), True if line else None)
    circles = [sorted(result["threads"][i]["thread_id"] for i in circle) for circle in result["deadlocks"]]
    wrong += differ("deadlocks", sorted(circles), sorted(sorted(d) for d in said["deadlocks"]))
    for command in ("stacks", "triage"):
        text = " ".join(subject.run(command).out.split())
        wrong += [] if "2 threads wait for each other" in text and "locked by thread" in text else ["%s says nothing of the deadlock: %s" % (command, text[:300])]
    return wrong


def check_resources_garbage(subject):
    """Descriptors that a lost cycle and gc.garbage keep open: those that the process says, and the lock that nobody will ever let go of."""
    wrong, truth = [], subject.truth
    listed = subject.report("finalizers", "--limit", "0")[0]["resources"]
    open_fds = set(r["fd"] for r in listed if r["kind"] in ("file", "socket"))
    wrong += differ("descriptors that are not open", sorted(open_fds - set(truth["open"])), [])
    wrong += differ("unreachable", sorted(set(r["fd"] for r in listed if r["state"] == "unreachable" and r["kind"] in ("file", "socket"))), truth["lost"])
    wrong += differ("a locked lock is lost", [r["kind"] for r in listed if r["state"] == "unreachable" and r["kind"] == "lock"], ["lock"])
    groups = subject.report("leaks", "--limit", "0", codes=(0, 1))[0]["groups"]
    fds = set(fd for g in groups if g["type"] == "__main__.Connection" for t in g["members"] + g["held"] for fd in t.get("fds", []))
    wrong += differ("leaks: descriptors", sorted(fds), truth["lost"])
    garbage = subject.report("garbage", codes=(0, 1))[0]
    wrong += differ("garbage: descriptors", sorted(set(r["fd"] for r in garbage["resources"])), truth["garbage"])
    text = subject.run("leaks", "--limit", "0").out
    return wrong + ([] if all(str(fd) in text for fd in truth["lost"]) and "fd " in text else ["leaks names no descriptor"])


def check_resources_lost_stacks(subject):
    """Where gcore left the stacks of threads as zeroes, roots are not known from 3.11 on: whatever says what is retained is partial, as heap is; what only counts is not."""
    core, said = subject.core(), {}
    for name, arguments in (("heap", ["heap"]), ("diff", ["diff", core]), ("retained", ["expect", "--max-retained", "dict=100T"]), ("count", ["expect", "--max-count", "dict=1000000"])):
        ran = process.pygc("-c", core, *(arguments + ["--format", "json"]))
        document = json.loads(ran.out)
        said[name] = ran.code, document["complete"], [m["what"] for m in document["missing"] if m["what"] != "OLD"]
    return differ("diff, expect --max-retained: as heap", [said["diff"], said["retained"]], [said["heap"]] * 2) + differ("expect --max-count", said["count"], (0, True, []))


def check_resources_hosts(subject):
    return hosts_differ(subject, "finalizers --limit 0 --format json") + hosts_differ(subject, "stacks --format json")


# ---- native functions and the crash (native_stack.py)

def check_native_merged(subject):
    """Every Python frame once and in order; sort() between the key function and its caller; the thread's first function at the end."""
    threads = dict((t["thread_id"], t) for t in subject.report("stacks", "--native", "--limit", "0")[0]["threads"])
    wrong = []
    for t in threads.values():
        numbers = [n for f in t["native"]["frames"] for n in f["python"]]
        wrong += differ("Python frames in their order", (t["native"]["merged"], numbers), (True, list(range(t["frame_count"]))))
    mine = threads[subject.truth["thread"]]
    names = [f["function"] for f in mine["frames"]]
    wrong += differ("functions", names[:4], subject.truth["names"])
    at = dict((n, i) for i, f in enumerate(mine["native"]["frames"]) for n in f["python"])
    wrong += [] if at[2] - at[1] > 1 else ["nothing native stands between outer() and key()"]
    wrong += [] if at[0] > 0 else ["nothing native stands below innermost()"]
    if interpreted_alone(subject):
        between = [f["symbol"] for f in mine["native"]["frames"][at[1] + 1:at[2]]]
        wrong += [] if any("sort" in (s or "") for s in between) else ["sort() is not among %s" % between]
    wrong += differ("complete", mine["native"]["complete"], True)
    text = subject.run("stacks", "--native", "--limit", "0").out
    order = [text.find("  " + n + "  ") for n in subject.truth["names"]]
    return wrong + ([] if -1 not in order and order == sorted(order) else ["order in the text: %s" % order])


def interpreted_alone(subject):
    """Whether the interpreter's file has symbols of its own (pyenv's have; Debian's have not)."""
    return subject.interpreter.name.endswith("pyenv")


def check_native_gdb(subject):
    """The same return addresses as gdb finds, for every thread."""
    if not interpreted_alone(subject):
        return "gdb does not find the files of interpreters that were only unpacked"
    ran = process.run(["gdb", "-nx", "-batch", "-p", str(subject.program.pid), "-ex", "set print frame-info location-and-address", "-ex", "thread apply all bt"], 120)
    want, thread = {}, None
    for line in ran.out.splitlines():
        head = re.match(r"Thread \d+ .*?\(?(?:LWP |process )(\d+)", line)
        if head:
            thread = want.setdefault(int(head.group(1)), [])
        found = re.match(r"#\d+\s+(0x[0-9a-f]+) in ", line)
        if found and thread is not None:
            thread.append(int(found.group(1), 16))
    wrong, seen = [], 0
    for t in subject.report("stacks", "--native", "--limit", "0")[0]["threads"]:
        if t["native_id"] not in want:
            continue
        seen += 1
        got = [int(f["address"], 16) for f in t["native"]["frames"]]
        missing = [hex(a) for a in dict.fromkeys(want[t["native_id"]]) if a not in got]
        wrong += ["thread %s: gdb has %s" % (t["native_id"], missing[:5])] if missing else []
    return wrong + ([] if seen or subject.interpreter.name.startswith(("2.7", "3.6", "3.7", "3.8", "3.9", "3.10")) else ["no thread in common with gdb: " + ran.out[:200]])


def check_native_hosts(subject):
    return hosts_differ(subject, "stacks --native --limit 0 --format json")


def check_crash(subject):
    """The signal, where it struck, what was touched, the Python line; objects are what lies there. In `triage` too."""
    core = crash_of(subject, "crash()")
    if core is None:
        return "the kernel wrote no core here (kernel.core_pattern)"
    result = json.loads(process.pygc("-c", core, "stacks", "--format", "json").out)["result"]
    crash, wrong = result["crash"], []
    with open(core, "rb") as f:
        notes = f.read(1 << 20)
    wrong += differ("signal", crash["signal"], 11) + differ("its address is in a register of the core", struct.pack("<Q", int(crash["address"], 16)) in notes, True)
    wrong += differ("what was touched", (crash["fault_address"], crash["fault_place"], crash["signal_code"], crash["sender"]), (hex(subject.truth["touched"]), "no memory of the process", 1, None))
    frames = result["threads"][crash["python_thread"]]["frames"]
    names = [f["function"] for f in frames]
    wrong += differ("Python line", [f["line"] for f in frames if f["function"] == "crash"], [subject.truth["line"]]) + differ("its function", "crash" in names[:2], True)
    if crash["objects"]:
        cards = json.loads(process.pygc("-c", core, "show", "--format", "json", *[o["address"] for o in crash["objects"]]).out)["result"]["objects"]
        wrong += differ("objects", [o["type"] for o in crash["objects"]], [c.get("type") for c in cards])
    text = process.pygc("-c", core, "stacks").out
    wrong += [] if "SIGSEGV in thread" in text and crash["address"] in text and "touched %#x: no memory of the process" % subject.truth["touched"] in text else ["no line for the crash: " + text[:300]]
    triage = process.pygc("-c", core, "triage", "--format", "json")
    subject.documents.append(os.path.join(subject.program.folder, "triage.json"))
    with open(subject.documents[-1], "w") as f:
        f.write(triage.out)
    of_triage = json.loads(triage.out)["result"]["crash"]
    wrong += differ("triage", [of_triage[k] for k in ("address", "fault_address", "fault_place", "signal_code", "sender")],
                    [crash[k] for k in ("address", "fault_address", "fault_place", "signal_code", "sender")])
    blamed = of_triage["program_frame"] or {}
    wrong += differ("the program's line in triage", (blamed.get("function"), blamed.get("line")), ("crash", subject.truth["line"]))
    os.unlink(core)
    return wrong + check_schemas(subject)


def crash_of(subject, how):
    """The kernel's core of the process after `how`; None: the kernel writes none here."""
    subject.program.child.stdin.write(how.encode() + b"\n")
    subject.program.child.stdin.flush()
    subject.program.child.wait(60)
    cores = [n for n in os.listdir(subject.program.folder) if n.startswith("core")]
    return os.path.join(subject.program.folder, cores[0]) if cores else None


# statement -> signal, what FaultText says
CRASHES = {
    "ctypes.string_at(0)": (11, "touched a null pointer"),
    "ctypes.string_at(0x18)": (11, "touched 0x18, a null pointer + 24"),
    "ctypes.string_at(0x0123456789abcdef)": (11, "cause an address that no process can have"),
    "ctypes.memset(ctypes.cast(ctypes.pythonapi.Py_GetVersion, ctypes.c_void_p).value, 0, 1)": (11, "mapped, but not for this use"),
    "os.abort()": (6, "cause raised by the process itself"),
    "(os.fork() or (os.kill(os.getppid(), 11), os._exit(0)), time.sleep(9))": (11, "cause sent by process "),
}


def check_crash_causes(subject):
    """Other ends than that: a null pointer, a pointer that is none, memory that may not be written, abort(), a signal that somebody sent."""
    wrong = []
    for how, (signal, words) in CRASHES.items():
        with process.Program(subject.interpreter.path, "native_stack") as program:
            core = crash_of(Subject(program, subject.interpreter), how)
            if core is None:
                return "the kernel wrote no core here (kernel.core_pattern)"
            text = process.pygc("-c", core, "stacks").out
            crash = json.loads(process.pygc("-c", core, "stacks", "--format", "json").out)["result"]["crash"]
            wrong += differ(how, crash["signal"], signal) + ([] if words in text else ["%s: not '%s' in %s" % (how, words, text[:300])])
    return wrong


# ---- addresses that are no objects, and objects that are not easy (odd_questions.py)

def where(subject, *addresses):
    cards = subject.report("show", *[hex(a) for a in addresses], codes=(0, 2))[0]["objects"]
    return [c.get("type") if c["is_object"] else c["where"] for c in cards]


def check_odd_places(subject):
    """Inside an object, a free block, a stack, a symbol, a chunk of malloc, nothing at all: each is named."""
    truth, wrong = subject.truth, []
    allocator = "mimalloc" if subject.interpreter.kind == "free-threaded" else "pymalloc"
    inside, symbol, nowhere, used, *gone = where(subject, truth["small"] + 24, truth["symbol"] + 2, 0x10, truth["chunk"] + 40, *[a + 40 for a in truth["gone"]])
    wrong += differ("+24", inside, "inside a __main__.Small at %#x, at +24" % truth["small"])
    wrong += [] if re.search(r": Py_GetVersion\+0x2$", symbol) else ["symbol: %s" % symbol]
    wrong += differ("0x10", nowhere, "no memory of the process")
    wrong += [] if re.match(r"a block of 5,0\d\d bytes of malloc, in use, at \+40", used) else ["chunk of malloc: %s" % used]
    wrong += [] if sum(bool(re.match(r"a free block of [\d,]+ bytes of malloc, at \+\d+", g)) for g in gone) >= 5 else ["free chunks: %s" % gone]
    blocks = where(subject, *[a + 64 for a in truth["freed"]])
    wrong += [] if sum(bool(re.match(r"a free block of [\d,]+ bytes of %s, at \+\d+$" % allocator, b)) for b in blocks) >= 5 else ["freed blocks: %s" % blocks]
    stacks = [int(f["address"], 16) for t in subject.report("stacks", "--native")[0]["threads"] for f in t["native"]["frames"][:1]]
    wrong += [] if stacks else ["no native frame"]
    with open("/proc/%d/syscall" % subject.program.pid) as f:
        pointer = f.read().split()
    stack = where(subject, int(pointer[-2], 16) + 8)[0] if len(pointer) > 2 else "the stack of thread %d" % subject.program.pid
    return wrong + differ("a stack", stack, "the stack of thread %d" % subject.program.pid)


def check_odd_values(subject):
    """A text of 100 MB, lists in lists, a list in itself: cut, said to be, and soon; no control character comes out."""
    truth, wrong = subject.truth, []
    for name in ("huge", "deep", "loop", "plain", "evil"):
        for command in ("show", "referents", "path", "graph"):
            ran = subject.run(command, hex(truth[name]), *(["--show-values"] if command == "show" else []))
            wrong += differ("%s %s: exit" % (command, name), ran.code, 0)
            wrong += [] if ran.seconds < 60 and len(ran.out) < 200000 else ["%s %s: %.0f s, %d characters" % (command, name, ran.seconds, len(ran.out))]
            bad = [c for c in ran.out + ran.err if (ord(c) < 32 and c not in "\n\t") or ord(c) in (0x7f, 0x202e)]
            wrong += ["%s %s: control characters %r" % (command, name, bad[:3])] if bad else []
    huge, loop = (subject.report("show", hex(truth[n]))[0]["objects"][0] for n in ("huge", "loop"))
    wrong += differ("length of the text", huge["details"].get("length"), "100000000") if "length" in huge.get("details", {}) else []
    wrong += [] if "[...]" in loop["value"] else ["a list in itself: %s" % loop["value"]]
    return wrong


def check_odd_questions(subject):
    """A type that is not there: the nearest names; an address that is no object: what lies there; numbers that are none, SQL that is none: one line and exit 2."""
    wrong = []
    for arguments, words, code in ((("path", "__main__.Smal"), "types with objects: __main__.Small", 0), (("path", "0x10"), "no memory of the process", 0), (("show", "0xzz"), "0xzz", 2),
                                   (("referents", "-1"), "-1", 2), (("sql", "select * from object"), "no such table: object", 2), (("sql", "selct"), "syntax error", 2),
                                   (("graph", "Nothing.At.All"), "Nothing.At.All", 2), (("expect", "--gone", "__main__.Smal"), "__main__.Small", 2), (("heap", "--type", "__main__.Smal"), "types with objects: __main__.Small", 0)):
        ran = subject.run(*arguments)
        wrong += differ("%s: exit" % (arguments,), ran.code, code) + ([] if words in ran.out + ran.err else ["%s: %s" % (arguments, ran.tail())])
        wrong += ["%s: %d lines" % (arguments, len(ran.err.splitlines()))] if code == 2 and ran.err.count("\n") > 1 else []
    return wrong


# question -> fixture, checks on every interpreter, checks on one
QUESTIONS = {
    "expect": ("expectations", (check_expect_figures, check_expect_gone, check_expect_together, check_schemas), (check_expect_partial, check_expect_hosts)),
    "asyncio": ("asyncio_tasks", (check_asyncio, check_asyncio_timers, check_asyncio_tree, check_asyncio_redacted, check_schemas), (check_asyncio_hosts,)),
    "diff": ("growth", (check_diff_content, check_diff, check_schemas), (check_diff_others, check_diff_hosts)),
    "export": ("expectations", (check_dot, check_heapsnapshot, check_memlab, check_schemas), (check_export_hosts,)),
    "devtools": ("expectations", (), (check_devtools,)),
    "gil": ("holds_gil", (check_gil, check_schemas), ()),
    "sites": ("allocation_sites", (check_sites_show, check_sites_heap, check_sites_leaks, check_sites_diff, check_sites_export, check_schemas), (check_sites_hosts,)),
    "resources": ("resources", (check_resources_show, check_resources_stacks, check_resources_garbage, check_resources_waits, check_resources_deadlock, check_resources_lost_stacks, check_schemas), (check_resources_hosts,)),
    "native": ("native_stack", (check_native_merged, check_native_gdb, check_schemas, check_crash), (check_crash_causes,)),
    "native-hosts": ("native_stack", (), (check_native_hosts,)),
    "sites-off": ("allocation_sites off", (check_sites_off, check_schemas), ()),
    "odd": ("odd_questions", (check_odd_places, check_odd_values, check_odd_questions, check_schemas), ()),
    "gc-debug": ("gc_debug", (check_gc_debug,), (check_gc_debug_hosts,)),
    "gc-debug-frozen": ("gc_debug frozen", (check_gc_debug,), ()),
}


FULL_ONLY = ("devtools", "odd", "native", "native-hosts", "sites-off")      # not in the quick run
ONE_IN_QUICK = ("sites", "resources")                    # there on one interpreter, without the debuggers
SINCE_3_6 = ("asyncio", "sites")     # what 2.7 does not have


def run(interpreter, question, once, options):
    """[(name, wrong)]"""
    fixture, checks, single = QUESTIONS[question]
    program = None
    try:
        name, *arguments = fixture.split()
        program = process.Program(interpreter.path, name, arguments)
        subject = Subject(program, interpreter)
        subject.screenshot = options.screenshot
        return [(check.__name__[6:], check(subject)) for check in checks + (single if once else ())]
    except (process.CannotTest, subprocess.SubprocessError, ValueError, KeyError, IndexError, OSError) as e:
        return [("run", ["%s: %s" % (type(e).__name__, e)])]
    finally:
        if program:
            if options.keep:
                print("kept", program.folder)
            program.close(keep=options.keep)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    p.add_argument("--only", choices=sorted(QUESTIONS))
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--quick", action="store_true", help="three interpreters only, of the eras that differ most")
    p.add_argument("--keep", action="store_true")
    p.add_argument("--screenshot", metavar="FILE", help="of Chromium's developer tools")
    options = p.parse_args()
    if options.quick:
        options.interpreter = options.interpreter or QUICK
    passed = failed = skipped = 0
    chosen = [i for i in interpreters.discover() if i.kind in ("default", "free-threaded") and
              (not options.interpreter or any(i.name.startswith(t) for t in options.interpreter))]
    for question in [options.only] if options.only else sorted(QUESTIONS):
        for interpreter in chosen:
            if question in SINCE_3_6 and interpreter.name.startswith("2.7"):
                continue
            if options.quick and (question in FULL_ONLY or (question in ONE_IN_QUICK and interpreter is not chosen[-1])):
                continue
            for name, wrong in run(interpreter, question, interpreter is chosen[-1] and not (options.quick and question in ONE_IN_QUICK), options):
                if isinstance(wrong, str):
                    skipped += 1
                    if skipped == 1:
                        print("SKIPPED %s [%s] %s" % (interpreter.name, name, wrong))
                elif wrong:
                    failed += 1
                    print("FAILED  %s [%s]" % (interpreter.name, name))
                    for w in wrong[:12]:
                        print("        %s" % w)
                else:
                    passed += 1
                    if options.verbose:
                        print("ok      %s [%s]" % (interpreter.name, name))
                sys.stdout.flush()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
