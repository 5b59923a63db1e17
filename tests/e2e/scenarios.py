#!/usr/bin/env python3
"""The scenarios of the source documents: one small heap each, and exactly what has to be said of it.

usage: scenarios.py [--quick] [--full] [--interpreter TEXT]... [--scenario S1.1]... [-v]

--quick: those marked quick, on one interpreter of 2.7 and one of 3.12 or newer. Without: all on three interpreters. --full: all on every interpreter.
Each runs on every version that can show it. What needs a command that this build does not have is listed as NOT COVERED and counts as skipped.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped. Exit 1 where one failed.
"""
import argparse
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

SCENARIOS = []


def scenario(number, title, program, since=0, until=1 << 32, quick=False, needs=None, audits=False):
    """The decorated function gets the Heap and asserts. since, until: hexversion bounds. needs: a command or option that must be there. audits: it takes
    an audit of counts, which not every build has."""
    def add(check):
        SCENARIOS.append((number, title, program, since, until, quick, needs, audits, check))
        return check
    return add


class Heap:
    """The process, its truth, pygc's reports on it."""

    def __init__(self, program):
        self.program, self.truth = program, program.truth
        self.version = program.truth["hexversion"]

    def run(self, *arguments):
        return process.pygc("-p", self.program.pid, *arguments)

    def report(self, *arguments, codes=(0, 1)):
        ran = self.run(*arguments, "--format", "json")
        assert ran.code in codes, "%s: exit %s: %s" % (arguments[0], ran.code, ran.tail())
        return json.loads(ran.out)["result"]

    def leaks(self, *arguments):
        return self.report("leaks", *arguments)

    def group(self, type_name, *arguments):
        """The one group of leaks headed by the type."""
        groups = [g for g in self.leaks("--limit", "0", *arguments)["groups"] if g["type"] == type_name]
        equal("groups of %s" % type_name, len(groups), 1)
        return groups[0]

    def show(self, address):
        return self.report("show", hex(address), "--limit", "0")["objects"][0]

    def paths(self, query, *arguments):
        return self.report("path", query if isinstance(query, str) else hex(query), *arguments)

    @property
    def is_free_threaded(self):
        return json.loads(self.run("status", "--format", "json").out)["target"]["build"] == "free-threaded"

    @property
    def has_instance_dicts(self):
        """Up to 3.10 each instance with attributes has a dict."""
        return self.version < 0x030B0000


def equal(what, got, want):
    assert got == want, "%s: %r, not %r" % (what, got, want)


def labels(group):
    """The cycle's references, without the dict of an instance between: [".isClosed", ".__self__"]"""
    return [s["label"] for s in group["cycle"] if s["label"] != ".__dict__"]


def unreachable_is_true(heap):
    equal("unreachable objects", heap.leaks()["unreachable"], heap.truth["unreachable"])


# ---- 5.0 OsPipeHolder

@scenario("S0.1", "an object that is in use: count and holders by name", "pipe_alive", quick=True)
def _(heap):
    card = heap.show(heap.truth["pipe"])
    equal("count", card["refcount"], heap.truth["refcount"])
    said = ["%s %s %s" % (o["label"], o["type"], o["name"]) for o in card["owners"]]
    equal("holders", len(said), 2)
    assert any("['pipe']" in s for s in said), said
    assert any("method" in s and "__self__" in s for s in said), said


@scenario("S0.2", "one cycle through a bound method, and what to do", "pipe_lost", quick=True)
def _(heap):
    group = heap.group("__main__.Pipe")
    equal("cycle", labels(group), [".isClosed" if not heap.has_instance_dicts else "['isClosed']", ".__self__"])
    equal("shape", group["shape"], "bound-method-on-self")
    assert "Pipe .isClosed → bound method is_closed .__self__ → Pipe" in group["cycle_text"], group["cycle_text"]
    assert "class level" in group["fix"], group["fix"]


@scenario("S0.3", "what hangs on the cycle: files, open", "pipe_lost")
def _(heap):
    group = heap.group("__main__.Pipe")
    held = dict((h["type"], h) for h in group["held"])
    name = "file" if heap.version < 0x03000000 else "_io.FileIO"
    assert name in held and held[name]["objects"] == 2, sorted(held)
    equal("state", held[name].get("note"), "open")


@scenario("S0.4", "the finalizer and what the collector will do", "pipe_lost")
def _(heap):
    group = heap.group("__main__.Pipe")
    equal("finalizers", [(f["type"], f["kind"], f["pending"], f["run"]) for f in group["finalizers"]], [("__main__.Pipe", "__del__", 1, 0)])
    old = heap.version < 0x03040000
    equal("severity, state", (group["severity"], group["state"]), ("definite", "uncollectable") if old else ("pending", "unreachable"))


@scenario("S0.5", "seven equal cycles are one group", "pipes_lost")
def _(heap):
    group = heap.group("__main__.Pipe")
    equal("count", group["count"], 7)
    held = dict((h["type"], h) for h in group["held"])
    name = "file" if heap.version < 0x03000000 else "_io.FileIO"
    equal("open files", held[name]["objects"], 14)


@scenario("S0.6", "the alias at class level leaks nothing", "pipe_class_alias")
def _(heap):
    equal("unreachable, groups", (heap.leaks()["unreachable"], heap.leaks()["groups"]), (0, []))


@scenario("S0.7", "every member of the cycle with its address", "pipe_lost")
def _(heap):
    group = heap.group("__main__.Pipe")
    assert hex(heap.truth["pipe"]) in [s["address"] for s in group["cycle"]], group["cycle"]
    assert all(s["address"] and s["label"] for s in group["cycle"])


# ---- 5.1 Yagot

@scenario("S1.1", "a dict that holds itself", "dict_cycle", quick=True)
def _(heap):
    unreachable_is_true(heap)
    group = heap.group("dict")
    equal("cycle", labels(group), ["['self']"])
    equal("objects", group["objects"], 1)


@scenario("S1.2", "a list that holds itself", "list_cycle")
def _(heap):
    equal("cycle", labels(heap.group("list")), ["[0]"])


@scenario("S1.3", "an attribute that is the object itself", "attribute_cycle")
def _(heap):
    group = heap.group("__main__.Thing")
    assert "Thing .ref → Thing" in group["cycle_text"], group["cycle_text"]


@scenario("S1.4", "parent and children", "node_tree", quick=True)
def _(heap):
    group = heap.group("__main__.Node")
    assert "children" in group["cycle_text"] and "parent" in group["cycle_text"], group["cycle_text"]
    equal("shape", group["shape"], "parent-pointer")
    assert "weakref" in group["fix"], group["fix"]


@scenario("S1.5", "collectable and uncollectable apart; types left out", "two_finalizers")
def _(heap):
    result = heap.leaks()
    old = heap.version < 0x03040000
    assert (result["uncollectable"] > 0) == old and (result["collectable"] > 0) == (not old), result["verdict"]
    equal("groups without the type", heap.leaks("--ignore", "WithDel")["groups"], [])


@scenario("S1.6", "untracked objects are no members of cycles", "untracked")
def _(heap):
    group = heap.group("__main__.Thing")
    members = [m["type"] for m in group["members"]]
    assert not set(members) & {"str", "bytes", "tuple", "float", "unicode"}, members
    assert {"str", "unicode"} & {h["type"] for h in group["held"]}, group["held"]


@scenario("S1.7", "a reference that a C extension has forgotten", "leaked_reference", audits=True)
def _(heap):
    equal("unreachable", heap.leaks()["unreachable"], 0)
    found = [f for f in heap.report("refcounts", "--limit", "0")["refcount_findings"] if f["object"] == hex(heap.truth["thing"])]
    equal("findings", [(f["kind"] in ("surplus", "lost"), f["recorded"] - f["found"]) for f in found], [(True, 1)])


@scenario("S1.8", "few objects, many bytes, and no collection is due", "big_payload")
def _(heap):
    group = heap.group("__main__.Thing")
    assert group["bytes_with_held"] >= 3000000, group["bytes_with_held"]
    collector = heap.leaks()["interpreters"][0]
    equal("collector on", collector["enabled"], heap.truth["enabled"])
    assert len(collector["thresholds"]) >= 1 and len(collector["counts"]) >= 1


@scenario("S1.9", "garbage that has grown old", "old_garbage")
def _(heap):
    group = heap.group("__main__.Thing")
    equal("count", group["count"], 40)
    unreachable_is_true(heap)
    if heap.version < 0x030D0000:      # later collectors have other generations, or none
        equal("generations", list(group["generations"]), ["2"])


@scenario("S1.10", "a weak reference makes no cycle; one to a dead object says so", "weak_loop")
def _(heap):
    equal("unreachable", heap.leaks()["unreachable"], 0)
    card = heap.show(heap.truth["dead"])
    assert "dead" in card["value"], card["value"]


@scenario("S1.11", "as a test in CI: exit 1, and 0 where there is nothing", "attribute_cycle")
def _(heap):
    equal("exit status", [heap.run("leaks", "--fail-on", s).code for s in ("pending", "definite", "never")], [1, 0, 0])
    equal("quiet", heap.run("leaks", "--quiet", "--fail-on", "definite").out, "")


@scenario("S1.11b", "the other half: nothing found", "clean")
def _(heap):
    equal("exit status", heap.run("leaks", "--fail-on", "pending").code, 0)


@scenario("S1.12", "resurrected objects", "resurrection", since=0x03040000)
def _(heap):
    rows = [g for g in heap.report("finalizers", "--limit", "0")["groups"] if g["type"] == "__main__.Rises"]
    equal("objects, run, resurrected", [(g["objects"], g["run"], g["resurrected"]) for g in rows], [(2, 2, 2)])
    equal("state of one", heap.show(heap.truth["saved"][0])["finalizer_state"], "resurrected")


# ---- 5.2 Debugging a leaky Python

@scenario("S2.1", "the lines of gc.DEBUG_LEAK from a dump", "attribute_cycle", needs=("leaks", "gc-debug"))
def _(heap):
    said = heap.run("leaks", "--format", "gc-debug").out
    # CPython: show_stats_each_generations() prints nothing in free-threaded builds, Python/gc_free_threading.c.
    equal("a line for the generations", "gc: objects in each generation: " in said, not heap.is_free_threaded)
    assert said.startswith("gc: collecting generation 2...\n") and "gc: collectable <Thing 0x" in said, said[:400]
    assert "%d unreachable, 0 uncollectable" % heap.truth["unreachable"] in said, said[-300:]


@scenario("S2.2", "gc.DEBUG_LEAK: flags, gc.garbage and why it is there", "debug_leak")
def _(heap):
    result = heap.report("garbage", "--limit", "0")
    equal("in gc.garbage", result["in_garbage"], len(heap.truth["garbage"]))
    equal("addresses", sorted(a for g in result["groups"] for a in g["addresses"]), sorted(hex(i) for i, _ in heap.truth["garbage"]))
    equal("reasons", set(g["reason"] for g in result["groups"]), {"debug-saveall"})
    flags = result["interpreters"][0]["debug_flags"]
    assert {"DEBUG_COLLECTABLE", "DEBUG_UNCOLLECTABLE", "DEBUG_SAVEALL"} <= set(flags), flags


@scenario("S2.3", "without it gc.garbage is empty and the cycle is found", "attribute_cycle")
def _(heap):
    result = heap.leaks()
    equal("in gc.garbage", result["in_garbage"], 0)
    unreachable_is_true(heap)
    equal("objects of the group", heap.group("__main__.Thing")["objects"], 2 if heap.has_instance_dicts else 1)


@scenario("S2.4", "an object that died by itself", "clean")
def _(heap):
    equal("unreachable", heap.leaks()["unreachable"], 0)


@scenario("S2.5", "the collector's statistics", "collector_state", since=0x03040000)
def _(heap):
    said = heap.report("status")["interpreters"][0]["generations"]
    rows = [[g["collections"], g["collected"], g["uncollectable"]] for g in said if g["generation"] in "012" and "collections" in g]
    if len(rows) == len(heap.truth["stats"]):       # the free-threaded collector counts everything in one row
        equal("statistics", rows, heap.truth["stats"])
    else:
        equal("collections", sum(g["collections"] for g in said if "collections" in g), sum(s[0] for s in heap.truth["stats"]))


@scenario("S2.6", "finalizers that have not run", "pending_finalizers")
def _(heap):
    rows = [g for g in heap.report("finalizers", "--limit", "0")["groups"] if g["type"] == "__main__.WithDel"]
    equal("objects, pending, unreachable", [(g["objects"], g["pending"], g["unreachable"]) for g in rows], [(12, 12, 0)])


# ---- 5.3 Garbage collection

@scenario("S3.1", "thresholds, counts, collector off", "collector_state", quick=True)
def _(heap):
    collector = heap.report("status")["interpreters"][0]
    equal("thresholds", collector["thresholds"][:1], [1000])
    equal("enabled", collector["enabled"], False)
    assert "collector off" in heap.run("leaks").out or "collector is off" in heap.run("leaks").out
    if heap.version < 0x030C0000:
        equal("all thresholds", collector["thresholds"], [1000, 100, 10])


@scenario("S3.2", "two objects that hold each other", "two_tracks")
def _(heap):
    group = heap.group("__main__.Thing")
    equal("objects", group["objects"], 4 if heap.has_instance_dicts else 2)
    unreachable_is_true(heap)
    assert "Thing .other → Thing .other → Thing" in group["cycle_text"], group["cycle_text"]


@scenario("S3.3", "a ring of ten, and one of twenty thousand", "ring")
def _(heap):
    result = heap.leaks()
    equal("groups", result["group_count"], 1)
    equal("objects", result["groups"][0]["objects"], 20 if heap.has_instance_dicts else 10)
    assert len(heap.run("leaks").out) < 6000


@scenario("S3.3b", "the long one: folded", "long_ring")
def _(heap):
    unreachable_is_true(heap)
    ran = heap.run("leaks")
    assert "more" in ran.out and len(ran.out) < 20000, len(ran.out)


@scenario("S3.4", "two finalizers in a cycle: order undefined", "two_finalizers", quick=True)
def _(heap):
    group = heap.group("__main__.WithDel")
    equal("order undefined", group["order_undefined"], True)
    equal("finalizers pending", sum(f["pending"] for f in group["finalizers"]), 2)
    equal("severity", group["severity"], "definite" if heap.version < 0x03040000 else "pending")


@scenario("S3.5", "resurrection through a global list", "resurrection", since=0x03040000)
def _(heap):
    result = heap.paths(heap.truth["saved"][0])
    assert any("SAVED" in (p["expression"] or "") for p in result["paths"]), [p["expression"] for p in result["paths"]]


@scenario("S3.6", "a reference too few", "negative_count", audits=True)
def _(heap):
    found = [f for f in heap.report("refcounts", "--limit", "0")["refcount_findings"] if f["object"] == hex(heap.truth["thing"])]
    equal("findings", [(f["kind"], f["found"] - f["recorded"]) for f in found], [("deficit", 1)])


@scenario("S3.7", "immortal objects and small numbers are never wrong", "clean")
def _(heap):
    result = heap.report("refcounts", "--limit", "0", codes=(0, 1, 3))
    equal("findings", result["refcount_findings"], [])


@scenario("S3.8", "files: open and closed", "open_and_closed")
def _(heap):
    cards = [heap.show(a) for a in heap.truth["files"]]
    said = [json.dumps([c["value"], c["details"]]) for c in cards]
    assert "closed" not in said[0] or "open" in said[0], said[0]
    assert "closed" in said[1] or "-1" in said[1], said[1]


@scenario("S3.8b", "two names of one object", "two_names")
def _(heap):
    said = " ".join(o["label"] or "" for o in heap.show(heap.truth["thing"])["owners"])
    assert "['t']" in said and "['another_t']" in said, said


@scenario("S3.9", "dumped in the middle of a collection", None)
def _(heap):
    result = heap.report("status")
    equal("collecting", result["interpreters"][0]["collecting"], True)


@scenario("S3.10", "a count that is wrong: the object and its holders", "negative_count", audits=True)
def _(heap):
    said = [f["text"] + json.dumps(f) for f in heap.report("refcounts", "--limit", "0")["refcount_findings"] if f["object"] == hex(heap.truth["thing"])]
    assert said and hex(heap.truth["holders"][0]) in said[0], said


# ---- 5.4 This should go away

@scenario("S4.1", "why is it alive; why is it not gone", "pipe_lost")
def _(heap):
    result = heap.paths(heap.truth["pipe"])
    equal("paths, unreachable", (result["paths"], result["unreachable"]), ([], 1))


@scenario("S4.2", "a drawing for Graphviz", "node_tree_alive", needs=("export", "dot"))
def _(heap):
    path = os.path.join(heap.program.folder, "graph.dot")
    ran = heap.run("export", "--format", "dot", "-o", path, hex(heap.truth["root"]))
    equal("exit status", ran.code, 0)
    with open(path) as f:
        text = f.read()
    assert text.startswith("digraph") and "children" in text and "parent" in text, text[:300]


@scenario("S4.3", "two cycles in one component", "node_tree")
def _(heap):
    groups = heap.report("cycles", "--limit", "0")["groups"]
    lost = [g for g in groups if g["state"] == "unreachable"]
    equal("components", sum(g["count"] for g in lost), 1)
    members = dict((m["type"], m["objects"]) for m in lost[0]["members"])
    equal("nodes", members["__main__.Node"], 3)
    equal("lists", members["list"], 1)


@scenario("S4.4", "stuck in a traceback", "exception_local")
def _(heap):
    result = heap.paths(heap.truth["thing"])
    said = [p["stuck"] for p in result["paths"]]
    assert any(s["kind"] == "traceback" and "data_structure" in s["text"] and "fails" in s["text"] for s in said), said


@scenario("S4.5", "stuck in the arguments of a Thread", "thread_argument")
def _(heap):
    said = [p["stuck"]["kind"] for p in heap.paths(heap.truth["thing"])["paths"]]
    assert "thread-object" in said, said


@scenario("S4.6", "stuck in a closure", "closure")
def _(heap):
    result = heap.paths(heap.truth["thing"])
    equal("kind", [p["stuck"]["kind"] for p in result["paths"]], ["closure"])
    assert "cell_contents" in (result["paths"][0]["expression"] or ""), result["paths"][0]["expression"]


@scenario("S4.7", "a large object inside a cycle", "big_payload")
def _(heap):
    group = heap.group("__main__.Thing")
    assert group["bytes_with_held"] - group["bytes"] >= 3000000


@scenario("S4.8", "for types that take no weak reference", "uncounted_types")
def _(heap):
    for name, address in heap.truth["ids"].items():
        result = heap.paths(address)
        assert any("['%s']" % name in (p["expression"] or p["text"]) for p in result["paths"]), (name, result["paths"])


@scenario("S4.9", "all of a type in one pass", "many_of_a_type")
def _(heap):
    result = heap.paths("__main__.Thing", "--limit", "3", "--timeout", "60")
    equal("objects, by root", (result["objects"], result["by_root"]), (5000, 5000))


@scenario("S4.10", "short: one line for many", "many_of_a_type")
def _(heap):
    assert heap.run("path", "__main__.Thing").out.count("\n") < 20


def has(needs):
    if needs is None:
        return True
    command, word = needs
    return word in process.pygc(command, "--help").out


def run(interpreter, entry):
    number, title, program, since, until, quick, needs, audits, check = entry
    arguments = ("scenarios", [program]) if program else ("mid_collection", [])
    with process.Program(interpreter.path, *arguments) as started:
        if not since <= started.truth["hexversion"] < until or (audits and not interpreters.counts_are_audited(interpreter)):
            return False
        check(Heap(started))
    return True


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    p.add_argument("--scenario", action="append", default=[], metavar="NUMBER")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--full", action="store_true")
    p.add_argument("-v", "--verbose", action="store_true")
    options = p.parse_args()
    names = options.interpreter or ([] if options.full else ["2.7.18-cache", "3.14"] if options.quick else ["2.7.18-cache", "3.9.2", "3.14"])
    chosen = [i for i in interpreters.discover() if i.kind in ("default", "free-threaded") and (not names or any(i.name.startswith(t) for t in names))]
    passed = failed = skipped = 0
    for entry in SCENARIOS:
        number, title, _, _, _, quick, needs, _, _ = entry
        if (options.scenario and number not in options.scenario) or (options.quick and not quick and not options.scenario):
            continue
        if not has(needs):
            print("NOT COVERED %s %s: this build has no %s of %s" % (number, title, needs[1], needs[0]))
            skipped += 1
            continue
        for interpreter in chosen:
            try:
                if not run(interpreter, entry):
                    continue
                passed += 1
                if options.verbose:
                    print("ok      %s %s: %s" % (interpreter.name, number, title))
            except (AssertionError, process.CannotTest, subprocess.SubprocessError, ValueError, KeyError, IndexError, TypeError, OSError) as e:
                failed += 1
                print("FAILED  %s %s %s: %s: %s" % (interpreter.name, number, title, type(e).__name__, str(e)[:500]))
            sys.stdout.flush()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
