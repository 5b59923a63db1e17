#!/usr/bin/env python3
"""One object, its references and why it is alive, held against the interpreter: repr, len, gc.get_referents, gc.get_referrers, eval, sys._current_frames.

usage: explain.py [--quick] [--interpreter TEXT]... [--count N] [-v] [--keep]

For each interpreter the fixtures values.py, holders.py and owned.py run; pygc reads the live process. --count: values of each kind (default 20, some 1000 values in all; 3700: at least 100,000 on every version).
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped. Exit 1 where one failed.
"""
import ast
import argparse
import collections
import glob
import hashlib
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

BATCH = 8000
Extended = collections.namedtuple("Extended", "name path")


MOST_CARDS = 500    # of one report, that are compared with its schema: the comparison of 100,000 takes as long as all else


class Live:
    """The fixture, its truth, and pygc's reports on it; every report is kept for the schemas, of thousands of cards some."""

    def __init__(self, program):
        self.program, self.truth, self.documents = program, program.truth, []

    def report(self, *arguments):
        return self.report_of("-p", self.program.pid, *arguments)

    def report_of_core(self, core, *arguments):
        return self.report_of("-c", core, *arguments)

    def report_of(self, how, target, *arguments):
        ran = process.pygc(how, target, *arguments, "--format", "json")
        if ran.code != 0:
            raise process.CannotTest("%s: exit %s: %s" % (" ".join(map(str, arguments[:2])), ran.code, ran.tail()))
        path = os.path.join(self.program.folder, "%s-%d.json" % (arguments[0], len(self.documents)))
        document = json.loads(ran.out)
        cards = document["result"].get("objects") if arguments[0] == "show" else None
        with open(path, "w") as f:
            if cards and len(cards) > MOST_CARDS:
                json.dump(dict(document, result=dict(document["result"], objects=cards[::len(cards) // MOST_CARDS])), f)
            else:
                f.write(ran.out)
        self.documents.append(path)
        return document["result"]

    def reports(self, *lines):
        """The results of the commands, on one load."""
        path = os.path.join(self.program.folder, "commands")
        with open(path, "w") as f:
            f.writelines("%s --format json\n" % line for line in lines)
        ran = process.pygc("-p", self.program.pid, "-x", path)
        if ran.code != 0:
            raise process.CannotTest("-x: exit %s: %s" % (ran.code, ran.tail()))
        decoder, at, results = json.JSONDecoder(), 0, []
        while ran.out[at:].strip():
            document, end = decoder.raw_decode(ran.out, at)
            path = os.path.join(self.program.folder, "listed-%d.json" % len(self.documents))
            with open(path, "w") as f:
                f.write(ran.out[at:end])
            self.documents.append(path)
            results.append(document["result"])
            at = end + 1
        return results

    def ask(self, expression):
        """repr() of what the process says to an expression."""
        self.program.child.stdin.write(expression.encode() + b"\n")
        self.program.child.stdin.flush()
        return self.program.child.stdout.readline().decode().strip()


def differ(what, got, want):
    return ["%s: pygc %s, the interpreter %s" % (what, repr(got)[:150], repr(want)[:150])] if got != want else []


def check_values(live):
    """(wrong, how many were the same) of repr and len of every value."""
    wrong, same, values = [], 0, live.truth["values"]
    for start in range(0, len(values), BATCH):
        some = values[start:start + BATCH]
        cards = live.report("show", "--limit", "0", *[hex(v[0]) for v in some])["objects"]
        for (address, type_name, text, length, inexact), card in zip(some, cards):
            what = "%s at %#x" % (type_name, address)
            if not card["is_object"]:
                wrong.append("%s is no object: %s" % (what, card["where"]))
                continue
            before = len(wrong)
            wrong += differ(what + " type", card["type"], type_name)
            if inexact or not card["value_exact"]:
                wrong += differ(what + " exact (%s)" % text[:50], card["value_exact"], not inexact)
            elif card["value_complete"]:
                wrong += differ(what + " repr", card["value"], text)
            else:
                wrong.append("%s: cut off: %s" % (what, card["value"][-60:]))
            if length is not None and card["length"] is not None:
                wrong += differ(what + " length", card["length"], length)
            same += len(wrong) == before
    return wrong, same


def check_referents(live):
    wrong = []
    for address, want in live.truth["referents"]:
        result = live.report("referents", hex(address), "--limit", "0")
        wrong += differ("referents of %#x" % address, [int(r["address"], 16) for r in result["references"] if r["visited"]], want)
        wrong += ["reference without a label at %#x" % address for r in result["references"] if not r["label"]]
    return wrong


def check_referrers(live):
    """All that gc.get_referrers() names, and beyond that only what it does not look at: untracked objects. Both without what came up later in the copy."""
    wrong, tracked = [], set(live.truth["tracked"])
    for address, want in live.truth["referrers"]:
        result = live.report("referrers", hex(address), "--limit", "0")
        got = {int(r["address"], 16) for r in result["references"] if r["kind"] == "object" and r["visited"]}
        for name, some in (("missed", tracked & set(want) - got), ("false", got & tracked - set(want))):
            wrong += ["referrers of %#x: %s %s" % (address, name, ", ".join(sorted(map(hex, some))))] if some else []
    return wrong


def check_labels(live):
    wrong = []
    for holder, referent, label in live.truth["references"]:
        rows = live.report("referrers", hex(referent), "--limit", "0")["references"]
        got = [r["label"] for r in rows if r["address"] == hex(holder)]
        if label not in got:
            wrong.append("%#x holds %#x by %s, pygc says %s" % (holder, referent, label, got))
    return wrong


def check_local(live):
    """The variable `local` of main() holds the node: named with function, file and line."""
    node = live.truth["referrers"][0][0]
    rows = live.report("referrers", hex(node), "--limit", "0")["references"]
    said = ["%s in %s" % (r["label"], r["name"]) for r in rows if (r["label"] or "").startswith("local local")]
    with open(os.path.join(process.PROGRAMS, "values.py"), encoding="utf-8") as f:
        line = 1 + next(i for i, text in enumerate(f) if text == "    oracle.answer(__name__)\n")
    place = "local local in main() at %s:%d" % (os.path.join(process.PROGRAMS, "values.py"), line)
    return [] if any(s.startswith(place) for s in said) else ["%s not among %s" % (place, said)]


def check_stacks(live):
    """Every thread's frames, lines and variables, as sys._current_frames() gives them in the process."""
    said = json.loads(live.ask("json.dumps(frames())")[1:-1].encode().decode("unicode_escape"))
    result, wrong = live.report("stacks", "--locals", "--limit", "0"), []
    wrong += differ("threads", sorted(str(t["thread_id"]) for t in result["threads"]), sorted(said))
    for thread in result["threads"]:
        got, want = thread["frames"], said.get(str(thread["thread_id"]), [])
        if want and want[0][1] == "frames":     # the thread that was asked: it evaluates the question in frames of its own
            want = want[[f[1] for f in want].index("answer"):]
            want[0] = got[0]["file"], got[0]["function"], got[0]["line"], dict((l["name"], int(l["address"], 16)) for l in got[0]["locals"])
        wrong += differ("frames", [(f["file"], f["function"], f["line"]) for f in got], [tuple(f[:3]) for f in want])
        for g, w in zip(got, want):
            wrong += differ("locals of %s" % g["function"], dict((l["name"], int(l["address"], 16)) for l in g["locals"]), w[3])
    return wrong


def check_later(live):
    """Where an exception was raised, where generators stand, what threads are called."""
    said = json.loads(live.ask("json.dumps(later())")[1:-1].encode().decode("unicode_escape"))
    cards = live.report("show", "--limit", "0", hex(said["failed"][0]), *[hex(g[0]) for g in said["generators"]])["objects"]
    wrong = differ("traceback", cards[0].get("traceback", []), said["failed"][1])
    for card, (_, state, line) in zip(cards[1:], said["generators"]):
        wrong += differ("a generator is, at line", (card["details"].get("is"), card["details"].get("line")), (state, None if line is None else str(line)))
    threads = dict((str(t["thread_id"]), t["name"]) for t in live.report("stacks")["threads"])
    return wrong + differ("names of threads", threads, said["threads"])


GENERATORS = ("sorted([type(g).__name__, __import__('inspect').getgeneratorstate(g) != 'GEN_CREATED' if hasattr(__import__('inspect'), 'getgeneratorstate') else g.gi_frame.f_lasti != -1, g.gi_frame.f_code.co_name, "
              "g.gi_frame.f_lineno] for g in __import__('gc').get_objects() if type(g).__name__ == 'generator' and g.gi_frame is not None and not g.gi_running)")


def check_suspended(live):
    """All generators that may go on, by where they stand."""
    want = ast.literal_eval(live.ask(GENERATORS))
    rows = [r for r in live.report("finalizers", "--limit", "0")["suspended"] if r["type"] == "generator"]
    said = sorted([r["type"], r["begun"], r["function"].split(".")[-1], r["line"]] for r in rows for _ in range(r["objects"]))
    wrong = differ("generators", said, want)
    return wrong or ([] if {True, False} <= {begun for _, begun, _, _ in want} else ["not both kinds among %d generators" % len(want)])


def check_nonobjects(live):
    node = live.truth["referrers"][0][0]
    cards = live.report("show", hex(node + 3), "0x10", hex(2 ** 64 - 1))["objects"]
    wrong = ["no object at %s, yet pygc says %s" % (c["address"], c["type"]) for c in cards if c["is_object"]]
    freed = int(live.ask("freed()"))
    card = live.report("show", hex(freed))["objects"][0]
    wrong += differ("a freed object", (card["is_object"], "free block" in str(card.get("where"))), (False, True))
    cards_freed = live.report("show", *[hex(a) for a in ast.literal_eval(live.ask("freed_together()"))])["objects"]
    wrong += ["freed with its neighbours, yet a %s: %s" % (c["type"], c) for c in cards_freed if c["is_object"] and c["type"] == "__main__.Wide"]
    return wrong or ([] if cards[0]["where"].startswith("inside a __main__.Node at %#x" % node) else ["+3: %s" % cards[0]["where"]])


def check_parts(live):
    """An address inside of a list's items, a table or a buffer is told by the object that it belongs to, and what it has there."""
    wrong, rows = [], ast.literal_eval(live.ask("parts()"))
    for (address, said), card in zip(rows, live.report("show", *[hex(a) for a, _ in rows])["objects"]):
        wrong += [] if not card["is_object"] and said in card["where"] and (said.startswith("inside a bytes") or "block of" in card["where"]) else ["%#x: %r, not %r" % (address, card.get("where"), said)]
    return wrong


def check_large(live):
    """With --limit 0 a value is whole, however long, up to the bound of the documentation."""
    wrong, rows = [], ast.literal_eval(live.ask("large()"))
    for (address, digest), card in zip(rows, live.report("show", "--limit", "0", *[hex(a) for a, _ in rows])["objects"]):
        said = card["value_complete"], hashlib.md5(card["value"].encode("utf-8")).hexdigest()
        wrong += differ("%s of %d characters: complete, md5" % (card["type"], len(card["value"])), said, (True, digest))
    return wrong


def check_files(live):
    """What open() returns says its descriptor, whatever layers lie above it."""
    wrong = []
    for address, fd in ast.literal_eval(live.ask("files()")):
        details = live.report("show", hex(address))["objects"][0]["details"]
        wrong += differ("file at %#x" % address, (details.get("file"), details.get("fd")), ("closed", None) if fd is None else ("open", str(fd)))
    return wrong


def check_sockets(live):
    """A socket, and what makefile() makes of it, says its descriptor and its family."""
    wrong = []
    for address, fd in ast.literal_eval(live.ask("sockets()")):
        details = live.report("show", hex(address))["objects"][0]["details"]
        wrong += differ("socket at %#x" % address, (details.get("socket"), details.get("fd"), details.get("family")), ("closed", None, details.get("family")) if fd is None else ("open", str(fd), "AF_INET SOCK_STREAM"))
    return wrong


def check_handles(live):
    """Files, locks, threads and C's values are written as the process writes them, or it is said that they are not."""
    wrong, rows = [], ast.literal_eval(live.ask("handles()"))
    for (address, text, exact), card in zip(rows, live.report("show", "--limit", "0", *[hex(a) for a, _, _ in rows])["objects"]):
        wrong += differ("%s at %#x" % (card["type"], address), (card["value"], card["value_exact"]) if exact else (card["value_exact"],), (text, True) if exact else (False,))
    return wrong


# ---- why it is alive (holders.py)

def paths_of(live, query):
    return live.report("path", query, "--limit", "0")


def check_places(live):
    """Each object is held by the kind of place where the program put it, and the weakly referenced cycle by none."""
    wrong = []
    for name, address in sorted(live.truth["objects"].items()):
        result = paths_of(live, hex(address))
        kinds = [p["stuck"]["kind"] for p in result["paths"]]
        if name == "unreachable":
            wrong += differ(name, (result["unreachable"], kinds), (1, []))
            continue
        wanted = live.truth["expected"][name][0]
        if not kinds or (wanted is not None and wanted not in kinds):
            wrong.append("%s at %#x: stuck in %s, not %s" % (name, address, [p["stuck"]["text"] for p in result["paths"]], wanted))
    return wrong


# What a person would say, by the name of the object.
SAID = {"signal-handler": "the signal handler of SIGUSR1: the bound method call", "task-callback": "a callback of an asyncio task (add_done_callback): the bound method call",
        "future-callback": "a callback of an asyncio Future (add_done_callback): the bound method call", "second-callback": "a callback of an asyncio Future (add_done_callback): the bound method call",
        "timer": "a callback that the event loop is to run later (asyncio TimerHandle): the bound method call",
        "timer-argument": "an argument of a callback that the event loop is to run later (asyncio TimerHandle)", "reader": "a callback of the event loop for file descriptor", "contextvar": "context variable 'VARIABLE'"}


def check_said(live):
    names = [n for n in sorted(SAID) if n in live.truth["objects"]]
    texts = [[p["stuck"]["text"] for p in r["paths"]] for r in live.reports(*["path %#x --limit 0" % live.truth["objects"][n] for n in names])]
    return ["%s: %s" % (n, t) for n, t in zip(names, texts) if not any(said.startswith(SAID[n]) for said in t)]


def check_edges(live):
    """Every reference of every path is one for gc.get_referents()."""
    paths = []
    for query in [hex(a) for a in live.truth["objects"].values()] + ["__main__.Held"]:
        result = paths_of(live, query)
        for p in result["paths"] + result["tree"]:
            if not any("elided" in s for s in p["steps"]):
                paths.append([int(s["address"], 16) for s in p["steps"]])
    said = live.ask("missing(%r)" % paths)
    return [] if said == "[]" and len(paths) > 20 else ["of %d paths no references: %s" % (len(paths), said)]


def check_lengths(live):
    wrong = []
    for name, address in live.truth["objects"].items():
        most = live.truth["distances"].get(str(address))
        got = [p["length"] for p in paths_of(live, hex(address))["paths"]]
        if most is not None and (not got or min(got) > most):
            wrong.append("%s: paths of %s references, a search from the modules finds one of %d" % (name, got, most))
    return wrong


def check_long(live):
    """A path of hundreds of references: its ends are those of the chain, and what is left out between them is counted."""
    wrong, chain = [], live.truth["chain"]
    for depth in (3, 60, 61, 62, 63, 64, 65, 66, 127, 128, 129, 130, 399):
        for path in paths_of(live, hex(chain[depth]))["paths"][:1]:
            rows = [int(s.get("address", "0"), 16) for s in path["steps"]]
            left_out = sum(s.get("elided", 0) for s in path["steps"])
            middle = [i for i, s in enumerate(path["steps"]) if "elided" in s]
            ends = (rows[:middle[0]], rows[middle[0] + 1:]) if middle else ([], rows)
            whole = [rows[0]] + chain[:depth + 1]  # the dict of the module first
            got = ends[0] == whole[:len(ends[0])] and ends[1] == whole[len(whole) - len(ends[1]):] and len(ends[0]) + len(ends[1]) + left_out == len(whole)
            wrong += [] if got and path["length"] == depth + 1 else ["list %d of the chain: length %s, %d left out, %s" % (depth, path["length"], left_out, [hex(a) for a in rows[:3] + rows[-3:]])]
    return wrong


def check_count_of_paths(live):
    """However few paths are written, it is said how many there are; --limit 0 writes all."""
    address = live.ask("id(Held)")
    every = live.report("path", address, "--limit", "0")
    wrong = differ("paths with --limit 0", len(every["paths"]), every["path_count"])
    for limit in (1, 3):
        some = live.report("path", address, "--limit", str(limit))
        wrong += differ("paths, and how many there are, with --limit %d" % limit, (len(some["paths"]), some["path_count"]), (limit, every["path_count"]))
    return wrong + ([] if every["path_count"] > 10 else ["only %d paths" % every["path_count"]])


def check_expressions(live):
    """An expression gives the object itself, wherever it is evaluated in its module."""
    wrong = []
    for name, address in sorted(live.truth["objects"].items()):
        said = [p["expression"] for p in paths_of(live, hex(address))["paths"] if p["expression"] and p["root"]["kind"] != "frame"]
        for expression in said:
            wrong += differ("%s = %s" % (name, expression), live.ask("(%s) is NAMES[%r]()" % (expression.replace("sys.", "__import__('sys').", 1), str(name))), "True")
        if live.truth["expected"][name][1] and not said:
            wrong.append("%s: no expression" % name)
    return wrong


def check_written(live):
    """Where an object can be had by an expression, it is given and leads to it; where a step has no name in Python, none is given and the text has the step in braces."""
    wrong, rows = [], live.truth["written"]
    for (address, can), result in zip(rows, live.reports(*["path %#x --limit 1" % address for address, _ in rows])):
        found = result["paths"][0]
        expression, text = found["expression"], found["text"]
        if can:
            said = "no expression" if expression is None else live.ask("id(eval(%s))" % ascii(expression.replace("sys.", "__import__('sys').", 1)))
            wrong += differ("%s, where id() is" % ascii(text), said, str(address))
        elif expression is not None or "{" not in text:
            wrong.append("%s (%s) cannot be written" % (ascii(expression), ascii(text)))
    return wrong + ([] if len(rows) > 60 else ["only %d places" % len(rows)])


def check_merged(live):
    """All objects of the type at once: as many as there are, each counted once."""
    result = paths_of(live, "__main__.Held")
    wrong = differ("objects", result["objects"], len(live.truth["objects"]))
    wrong += differ("by root, by count, unreachable", (result["by_root"], result["by_count_only"], result["unreachable"]), (len(live.truth["objects"]) - 1, 0, 1))
    return wrong + differ("sum of the tree's first branches", sum(b["objects"] for b in result["tree"] if b["depth"] == 0), result["by_root"])


def check_alike(live):
    """Branches that differ in an index or a key alone are one row that stands for all of them; names stay apart."""
    result = paths_of(live, "__main__.Alike")
    rows = sorted((b["text"].split("__main__']")[-1].split("[")[0].lstrip("."), b["objects"], b["alike"], b["leaves"]) for b in result["tree"] if b["leaves"])
    return differ("rows with leaves", rows, [("CALLBACKS", 30, 29, 30), ("FIRST", 1, 0, 1), ("SECOND", 1, 0, 1), ("TABLE", 20, 19, 20)]) + \
        differ("objects", (result["objects"], sum(b["objects"] for b in result["tree"] if b["depth"] == 0)), (52, 52))


def check_census(live):
    """Objects and bytes of the program's own types, and of all, as the interpreter counts them; what is retained is at least that and adds up."""
    rows = dict((r["type"], r) for r in live.report("heap", "--limit", "0")["types"])
    wrong, counted = [], json.loads(live.ask("json.dumps(census())")[1:-1])
    for name, (objects, size) in sorted(counted.items()):
        row = rows.get(name, {"objects": 0, "bytes": 0})
        wrong += differ("objects and bytes of " + name, [row["objects"], row["bytes"]], [objects, size])
    wrong += ["no type of the program was counted"] if len(counted) < 3 else []
    wrong += ["%s retains less than it has" % r["type"] for r in rows.values() if not r["unreachable"] and r["retained"] < r["bytes"] / max(r["objects"], 1)]
    tree = live.report("dominators", "--limit", "0")
    wrong += differ("sum of what the top dominators retain", sum(d["retained"] for d in tree["dominators"] if d["depth"] == 0), tree["bytes"])
    return wrong + check_tree(tree["dominators"], True) + check_tree(live.report("dominators", "--limit", "5")["dominators"], False)


def check_tree(rows, whole):
    """What an object retains is its own size, what its rows below retain and what is said to be left out; `whole`: nothing is, of a heap that is small enough."""
    wrong, below, above = [], {}, []
    for i, d in enumerate(rows):
        above[d["depth"]:] = [i]
        if d["depth"] > 0:
            parent = below.setdefault(above[d["depth"] - 1], [0, 0])
            parent[0], parent[1] = parent[0] + d["retained"], parent[1] + d["objects"]
    for i, d in enumerate(rows):
        retained, objects = below.get(i, (0, 0))
        if d["size"] + retained + d["hidden_bytes"] != d["retained"] or (d["hidden"] == 0) != (1 + objects == d["objects"]):
            wrong.append("%s at %s retains %d, its parts and what is left out %d" % (d["type"], d["address"], d["retained"], d["size"] + retained + d["hidden_bytes"]))
    hidden = sum(d["hidden"] for d in rows)
    return wrong[:3] + ([] if not whole or len(rows) - sum(d["depth"] == 0 for d in rows) >= 100000 or hidden == 0 else ["%d objects hidden" % hidden])


def check_dominated(live):
    """What a dominator alone keeps alive: with it cut out, the interpreter's own search from the modules no longer reaches its children."""
    said = live.report("dominators", "--limit", "40")["dominators"]
    pairs = [[int(a["address"], 16), int(b["address"], 16)] for a, b in zip(said, said[1:]) if b["depth"] == a["depth"] + 1][:6]
    return ["no pair to check"] if not pairs else differ("still reached without their dominator", live.ask("reached_without(%r)" % pairs), "[]")


def check_by_root(live):
    """The parts by root add up to all that is in use; what the program's globals alone keep is of its module."""
    result = live.report("dominators", "--limit", "0")
    parts = result["by_root"]
    wrong = differ("bytes, objects of all roots", [sum(p[k] for p in parts) for k in ("retained", "objects")], [result["bytes"], result["objects"]])
    mine = [p["retained"] for p in parts if p["name"] == "module __main__"]
    space = int(live.ask("id(globals())"))
    globals_keep = sum(d["retained"] for d in result["dominators"] if d["depth"] == 0 and int(d["address"], 16) == space)
    wrong += [] if len(mine) == 1 and mine[0] >= globals_keep > 0 else ["module __main__: %s, its globals %s" % (mine, globals_keep)]
    return wrong + ([] if any(str(p["name"]).startswith("frames of thread") for p in parts) else ["no frames: %s" % [p["name"] for p in parts][:9]])


def check_excluded(live):
    """Without its only holder's type an object has no path from a root; without frames a local variable holds nothing, in a release that has no frame object for it too."""
    address = live.truth["objects"]["slot"]
    result = live.report("path", hex(address), "--exclude", "__main__.Slotted")
    local = live.report("path", hex(live.truth["objects"]["local"]), "--exclude", "frame")["paths"]
    wrong = differ("roots of a local's object without frames", [p["root"]["name"] for p in local if p["root"]["kind"] == "frame"], [])
    return wrong + differ("paths of the slot's object without Slotted", len(result["paths"]), 0)


def check_schemas(live):
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    checked = process.run([python, os.path.join(process.TESTS, "golden", "check_schemas.py"), os.path.join(process.ROOT, "core", "report", "schema")] +
                          live.documents)
    return ["exit %s: %s" % (checked.code, checked.tail())] if checked.code else []


def check_all(live):
    """[(name, wrong, note)] of values.py"""
    wrong, same = check_values(live)
    out = [("values", wrong, "%d of %d as the interpreter's own repr" % (same, len(live.truth["values"])))]
    for check in (check_referents, check_referrers, check_labels, check_local, check_stacks, check_later, check_suspended, check_nonobjects, check_parts, check_large, check_files, check_sockets, check_handles, check_schemas):
        out.append((check.__name__[6:], check(live), ""))
    return out


def check_holders(live):
    return [(check.__name__[6:], check(live), "") for check in
            (check_places, check_said, check_edges, check_lengths, check_long, check_count_of_paths, check_expressions, check_written, check_merged, check_alike, check_census, check_dominated, check_by_root, check_excluded, check_schemas)]


# ---- what no traversal visits (owned.py)

def check_owners(live):
    """Each text is referred to by its holder, once, as a reference that gc.get_referents() names or does not; and has a path from a root, not by count alone."""
    wrong = []
    labels = {"doc": ".co_consts", "const": ".co_consts"}
    objects = live.truth["objects"]
    answers = live.reports(*[line % {"o": address, "h": holder or address} for _, address, holder, _ in objects
                             for line in ("show --limit 0 %(o)#x", "path %(o)#x", "referents --limit 0 %(h)#x")])
    for (name, address, holder, size), shown, found, referents in zip(objects, answers[::3], answers[1::3], answers[2::3]):
        card = shown["objects"][0]
        wrong += differ(name + ": in the graph, size", (card["found"], card["size"]), (True, size))
        if holder:
            rows = [r for r in card["owners"] if r["address"] == hex(holder)]
            want = live.ask("visits(%d, %d)" % (holder, address)) == "True"
            times = 2 if name == "name of a class" and live.truth["hexversion"] >= 0x03030000 else 1      # __qualname__ too
            wrong += differ("%s: references of its holder, visited" % name, [r["visited"] for r in rows], [want] * times)
            wrong += ["%s: label %s" % (name, r["label"]) for r in rows if not (r["label"] or "").startswith(("key ", "ht_name", "ht_qualname"))]
            wrong += differ("%s: among what its holder refers to" % name, [r["visited"] for r in referents["references"] if r["address"] == hex(address)], [want] * times)
        paths = found["paths"]
        wrong += [] if paths and all(p["root"]["kind"] != "count" for p in paths) else ["%s: no path from a root: %s" % (name, paths)]
        if name in labels:
            steps = [s["label"] for p in paths for s in p["steps"]]
            wrong += [] if labels[name] in steps or live.truth["hexversion"] < 0x03000000 else ["%s: path by %s, not by %s" % (name, steps, labels[name])]
        if name in ("only key", "key of two", "key beside a number"):
            which = {"only key": "ONLY_KEY", "key of two": "FIRST"}.get(name, "MIXED")
            wrong += differ("references to the " + name, str(card["references_found"]), live.ask("count(%r)" % which))
    for tuple_of in ("int.__mro__", "OSError.__bases__"):    # a static type's field is one reference: not the type's and a root's
        card = live.reports("show " + hex(int(live.ask("id(%s)" % tuple_of))))[0]["objects"][0]
        wrong += differ("references to %s" % tuple_of, [o["label"] for o in card["owners"]], ["tp_mro" if "mro" in tuple_of else "tp_bases"])
    return wrong


def check_kept(live):
    """What a dict keeps alone: its text where nobody else has it. The same by dominators and by sql, which come from two snapshots; both have the same objects."""
    rows, counted, tree, heap = live.reports("sql --limit 0 \"select o.address, d.retained from dominators d join objects o on o.id = d.object_id where d.retained > 100\"",
                                             "sql \"select count(*) from objects where state <> 'lost'\"", "dominators --limit 40", "heap")
    kept, tree = dict(rows["rows"]), tree["dominators"]
    wrong, holders = [], [o[2] for o in live.truth["objects"]]
    for name, holder in zip(("ONLY_KEY", "FIRST", "SECOND", "MIXED"), holders):
        wrong += differ("bytes that %s keeps" % name, str(kept.get(holder)), live.ask("keeps(%r)" % name))
    for d in [d for d in tree if d["retained"] > 100]:
        wrong += differ("bytes that %s keeps, by dominators" % d["address"], d["retained"], kept.get(int(d["address"], 16)))
    # Of a chain none is the deepest in any sense: the first one is told of.
    chains = [s for s in heap["suspects"] if s["type"] == "__main__.Link"]
    wrong += differ("the chain", [[int(s["address"], 16), s["nested"]] for s in chains], [live.truth["chain"]])
    wrong += differ("objects of heap, of sql", heap["objects"], counted["rows"][0][0])
    return wrong + ([] if len(tree) > 4 else ["only %d dominators" % len(tree)])


def check_owned(live):
    return [(check.__name__[6:], check(live), "") for check in (check_owners, check_kept, check_schemas)]


# ---- NumPy (numpy_arrays.py)

def check_arrays(live):
    """Size, shape, dtype, and whose memory the items are, as NumPy and sys.getsizeof() say."""
    wrong, rows = [], live.truth["arrays"]
    for (address, size, shape, dtype, _, own, base), card in zip(rows, live.report("show", *[hex(r[0]) for r in rows])["objects"]):
        details, what = card["details"], "array %s %s at %#x" % (shape, dtype, address)
        wrong += differ(what, (card["size"], details.get("shape")), (size, shape))
        wrong += differ(what + " dtype", details.get("dtype"), dtype)
        whose = "its own" if own else "of %#x, its base" % base if base else "not its own"
        wrong += [] if details.get("data", "").endswith(", " + whose) else ["%s: data %s, not %s" % (what, details.get("data"), whose)]
    return wrong


def check_numbers(live):
    rows = live.truth["numbers"]
    cards = live.report("show", *[hex(r[0]) for r in rows])["objects"]
    wrong = sum((differ("%s at %#x size" % (c["type"], a), c["size"], size) for (a, size), c in zip(rows, cards)), [])
    return wrong + differ("a value", (cards[0]["value"], cards[0]["value_exact"]), ("numpy.float64(1.5)", False))


def check_dtypes(live):
    """Each dtype as repr() writes it."""
    rows = live.truth["dtypes"]
    cards = live.report("show", *[hex(r[0]) for r in rows])["objects"]
    return sum((differ("repr of a dtype", (card["value"], card["value_exact"]), (text, True)) for (_, text), card in zip(rows, cards)), []) + ([] if len(rows) > 20 else ["only %d dtypes" % len(rows)])


def check_items(live):
    """What an array of objects holds is in the heap, by its index, and kept by the array alone; numbers' memory counts for what keeps them."""
    array, items = live.truth["texts"]
    rows = live.report("referents", hex(array), "--limit", "0")["references"]
    wrong = differ("items", [int(r["address"], 16) for r in rows if r["label"].startswith("[")], items) + differ("the 7th", [r["address"] for r in rows if r["label"] == "[7]"], [hex(items[7])])
    paths = live.report("path", hex(live.truth["held"]))["paths"]
    wrong += [] if any(p["text"] == "sys.modules['__main__'].GRID[1, 2]" for p in paths) else ["the object in GRID: %s" % [p["text"] for p in paths]]
    kept = dict((int(d["address"], 16), d["retained"]) for d in live.report("dominators", "--limit", "0")["dominators"])
    frames, least = live.truth["frames"]
    wrong += [] if least <= kept.get(frames, 0) < least * 1.2 else ["FRAMES keeps %s, at least %d" % (kept.get(frames), least)]
    heap = live.report("heap", "--limit", "0")
    ours = dict((t["type"], t) for t in heap["types"])
    floor = sum(size for _, size, _, _, _, _, _ in live.truth["arrays"])
    return wrong + ([] if ours["numpy.ndarray"]["bytes"] > floor * 0.9 and heap["objects"] > 0 else ["arrays of %s bytes, at least %d" % (ours["numpy.ndarray"]["bytes"], floor)])


def check_held_by_arrays(live):
    """What arrays of objects, structured ones and classes derived from ndarray hold: base, dtype, and each object with what Python code writes to get at it."""
    wrong, rows, count = [], live.truth["holders"], 0
    for (array, base, dtype, items), card in zip(rows, live.report("show", *[hex(r[0]) for r in rows])["objects"]):
        found = live.report("referents", hex(array), "--limit", "0")["references"]
        said = dict((r["label"], int(r["address"], 16)) for r in found if r["label"].startswith("[") or r["label"] in (".base", ".dtype"))
        wanted = dict(items, **{".dtype": dtype})
        if base:
            wanted[".base"] = base
        wrong += differ("%s at %#x" % (card["type"], array), said, wanted)
        count += len(items)
    held = live.report("path", "Held", "--limit", "0")
    everywhere = live.report("sql", "select count(*) from objects where type like '%.Held'")["rows"][0][0]
    return wrong + differ("paths to what they hold", (held["by_root"], held["objects"]), (everywhere, everywhere)) + ([] if count > 40 else ["%d items" % count])


def check_numpy(live):
    return [(check.__name__[6:], check(live), "") for check in (check_arrays, check_numbers, check_dtypes, check_items, check_held_by_arrays, check_schemas)]


def with_numpy():
    """The interpreters of scripts/extension-modules that have NumPy."""
    paths = sorted(glob.glob(os.path.join(interpreters.cache_dir(), "bin", "python*-extensions")))
    return [p for p in paths if subprocess.run([p, "-c", "import numpy"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0]


FIXTURES = (("values", check_all), ("holders", check_holders), ("owned", check_owned))


def run(interpreter, fixture, checks, options):
    """[(name, wrong, note)]"""
    program = None
    try:
        program = process.Program(interpreter.path, fixture, [str(options.count)])
        return checks(Live(program))
    except (process.CannotTest, subprocess.SubprocessError, ValueError, KeyError, OSError) as e:
        return [("run", ["%s: %s" % (type(e).__name__, e)], "")]
    finally:
        if program:
            if options.keep:
                print("kept", program.folder)
            program.close(keep=options.keep)


def main(fixtures=FIXTURES, doc=__doc__):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    p.add_argument("--count", type=int, default=20)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--quick", action="store_true", help="three interpreters only, of the eras that differ most")
    p.add_argument("--keep", action="store_true")
    options = p.parse_args()
    if options.quick:
        options.interpreter = options.interpreter or ["2.7.18-cache", "3.9.2", "3.14"]
    passed = failed = 0
    chosen = [i for i in interpreters.discover() if i.kind in ("default", "free-threaded") and
              (not options.interpreter or any(i.name.startswith(t) for t in options.interpreter))]
    work = [(i, f, c) for i in chosen for f, c in fixtures]
    if fixtures is FIXTURES:
        more = [Extended("%s with NumPy" % os.path.basename(p), p) for p in with_numpy()]
        work += [(i, "numpy_arrays", check_numpy) for i in more if not options.interpreter or any(i.name.startswith(t) for t in options.interpreter)]
    for interpreter, fixture, checks in work:
        for name, wrong, note in run(interpreter, fixture, checks, options):
            if wrong:
                failed += 1
                print("FAILED  %s %s [%s]" % (interpreter.name, fixture, name))
                for w in wrong[:12]:
                    print("        %s" % w)
            else:
                passed += 1
                if options.verbose:
                    print("ok      %s %s [%s] %s" % (interpreter.name, fixture, name, note))
            sys.stdout.flush()
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
