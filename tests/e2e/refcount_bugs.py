#!/usr/bin/env python3
"""An extension module with one reference counting bug in each function: each is found, by the right name, and what is right beside them is not.

usage: refcount_bugs.py [-v] [--interpreter TEXT]...

Builds refcount_bugs/bugs.c against the headers of each interpreter with a GIL that has some, runs it, and audits the process live and from a core. Then
refcount_bugs/containers.cc, for interpreters without headers by the stable ABI: references in C++ containers, of which every cycle must be found.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

SECONDS = 60
HELD_BY_WORDS = 0.04  # of all cycles in memory that others gave back, over all processes: a word that these left somewhere may hold one, and is named then
BY_WORDS = 1  # of the functions' victims: counts that are too high, and that some word of native memory explains
HEADERS = "import sys, sysconfig; sys.stdout.write(sysconfig.get_paths()['include'])"
STABLE_ABI = "-DPy_LIMITED_API=0x03060000"


def headers(interpreter):
    """Where its headers lie; "": it has none."""
    include = subprocess.run([interpreter, "-c", HEADERS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60).stdout.decode()
    return include if include and os.path.exists(os.path.join(include, "Python.h")) and os.path.exists(os.path.join(include, "pyconfig.h")) else ""


def build(include, source, output, *options):
    """CannotTest where there are no headers."""
    compilers = ("c++", "g++", "clang++") if source.endswith(".cc") else ("cc", "gcc", "clang")
    compiler = next((c for c in map(shutil.which, compilers) if c), None)
    if not include:
        raise process.CannotTest("no headers")
    if compiler is None:
        raise process.CannotTest("no compiler")
    made = subprocess.run([compiler, "-O1", "-w", "-shared", "-fPIC", "-I" + include, "-o", output, os.path.join(HERE, "refcount_bugs", source)] + list(options),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode:
        raise process.CannotTest("the compiler refused: " + made.stdout.decode(errors="replace").strip()[-200:])


def check(target, truth):
    wrong = []
    ran = process.pygc(*(target + ["refcounts", "--all", "--format", "json", "--limit", "0"]), timeout=SECONDS)
    if ran.code != 1:
        return ["exit %s: %s" % (ran.code, ran.tail())]
    result = json.loads(ran.out)["result"]
    found = {f["object"]: f for f in result["refcount_findings"]}
    explained = {f["object"]: f for f in result["explained_by_words"]}
    by_words = 0
    for address, (function, kinds) in truth["wrong"].items():
        f = found.pop(address, None)
        if f is None and explained.get(address, {}).get("words") and by_words < BY_WORDS:
            by_words += 1  # a stale word somewhere holds it for all that anybody can tell; --all says which
        elif f is None:
            wrong.append("%s: not found" % function)
        elif f["kind"] not in kinds:
            wrong.append("%s: a %s, not %s" % (function, f["kind"], kinds))
        elif f["kind"] == "deficit" and not f["holders"]:
            wrong.append("%s: nobody named who uses it" % function)
    types = result["deficit_types"]
    lent = {kind: sorted(a for a, (function, kinds) in truth["wrong"].items() if function == kind) for kind in ("GreedyBox", "TwiceBox")}
    if [(t["type"], t["objects"], bool(t["visited_twice"])) for t in types] != [("bugs." + kind, len(of), kind == "TwiceBox") for kind, of in lent.items()]:
        wrong.append("deficits through one type: %s" % types)
    wrong += ["deficits through one type: not in %s" % t["module"] for t in types if not t["module"].endswith("bugs.so")]
    for kind, of in lent.items():
        through = sorted(f["object"] for f in result["refcount_findings"] if f["through"] == "bugs." + kind)
        if through != of:
            wrong.append("deficits through bugs.%s: %s, not %s" % (kind, through, of))
    for address in truth["thread_local"]:
        places = [w["place"] for w in explained.get(address, {}).get("words", [])]
        if not any(place.startswith("thread-local storage of thread ") and place.endswith(": kept_by_thread+0x0") for place in places):
            wrong.append("kept by a thread: held by words at %s" % places)
    places = [w["place"] for w in explained.get(truth["in_structure"], {}).get("words", [])]
    if not any("block of " in place and place.endswith(", to which bugs.so: kept_first+0x0 leads") for place in places):
        wrong.append("kept by a structure: held by words at %s" % places)
    for address in truth["right"]:
        if address in found:
            wrong.append("right, and reported: %s" % found[address])
    for f in found.values():
        wrong.append("a finding that nobody made: %s %s %s" % (f["kind"], f["type"], f["object"]))
    return wrong


def check_text(target, truth):
    """The text: of what is lost most bytes first, each with its own; of those that one cause lost three, and how many more there are."""
    ran = process.pygc(*(target + ["refcounts", "--type", "bytearray"]), timeout=SECONDS)
    lost = ran.out.split("\n    lost ")[1:]
    many = sum(function == "one of many" for function, kinds in truth["wrong"].values())
    if len(lost) != 3:
        return ["refcounts: %d of bytearrays shown" % len(lost)]
    wrong = [] if "; 5.2 MB of its own\n" in lost[0] else ["refcounts: not the largest first: %s" % lost[0]]
    wrong += ["refcounts: without its bytes: %s" % f for f in lost if " of its own\n" not in f]
    told = re.search("… ([0-9]+) more like it", lost[-1])
    if told is None or not many - 2 - BY_WORDS <= int(told.group(1)) <= many - 2:
        wrong.append("refcounts: not told how many are like it: %s" % lost[-1])
    return wrong


def check_leaks(target, truth, trace_refs):
    """What `leaks --audit` adds: the lost ones with what hangs on them, and the hidden cycles with the reference that is not visited."""
    wrong = []
    ran = process.pygc(*(target + ["leaks", "--audit", "--format", "json", "--limit", "0"]), timeout=SECONDS)
    if ran.code != 1:
        return ["leaks --audit: exit %s: %s" % (ran.code, ran.tail())]
    result = json.loads(ran.out)["result"]
    if result["audited"] is not True:
        wrong.append("leaks --audit says that nothing was audited")
    if trace_refs:
        return wrong
    groups = [g for g in result["groups"] if g["state"] == "lost"]
    alone = [a for a, (function, kinds) in truth["wrong"].items() if kinds == ["lost"] and function == "forgotten_structure"]
    for address in alone:
        of = [g for g in groups if address in g["addresses"]]
        if not of or of[0]["reason"] != "lost" or of[0]["severity"] != "definite":
            wrong.append("%s: no lost group of leaks --audit has it" % address)
        elif of[0]["bytes_with_held"] <= of[0]["bytes"]:
            wrong.append("%s: what hangs on it is not counted" % address)
    if not 0 < result["hidden_objects"] < result["lost_objects"] or not result["hidden_cycles"]:
        wrong.append("%d objects in hidden cycles, %d lost with them" % (result["hidden_objects"], result["lost_objects"]))
    said = process.pygc(*(target + ["leaks", "--audit"]), timeout=SECONDS).out
    if "%d objects in %d hidden cycles: " % (result["hidden_objects"], result["hidden_cycles"]) not in said.replace(",", ""):
        wrong.append("leaks --audit does not say what is in hidden cycles: %s" % said.splitlines()[:4])
    for kind, boxes in truth["hidden"].items():
        of = [g for g in groups if g["reason"] == "hidden-cycle" and g["type"] == "bugs." + kind]
        found = sum(g["count"] for g in of)
        if found < len(boxes) - BY_WORDS or found > len(boxes):  # a stale word may lead to one
            wrong.append("%s: %d hidden cycles found of %d" % (kind, found, len(boxes)))
        for g in of:
            if any(a not in boxes for a in g["addresses"]):
                wrong.append("%s: a hidden cycle that nobody made: %s" % (kind, g["addresses"]))
            if not any("not visited" in step["label"] and step["type"] == "bugs." + kind for step in g["cycle"]):
                wrong.append("%s: the reference that is not visited is not named: %s" % (kind, g["cycle_text"]))
    for g in groups:
        if g["reason"] == "hidden-cycle" and g["type"] not in ["bugs." + kind for kind in truth["hidden"]]:
            wrong.append("a hidden cycle that nobody made: %s" % g["cycle_text"])
    return wrong


def check_containers(target, truth, counted):
    """Every cycle through a C++ container is found, each by itself with the object of C++ that the collector cannot look into; and nothing else. Words of the
    process's own past lead to memory that was used before: there one or the other may be held, for all that anybody can tell. Then `refcounts --all` names the
    word, and how something that is not lost leads to it. `counted`: [cycles in such memory, those that words hold], added to."""
    ran = process.pygc(*(target + ["leaks", "--audit", "--format", "json", "--limit", "0"]), timeout=SECONDS)
    if ran.code != 1:
        return ["exit %s: %s" % (ran.code, ran.tail())]
    result = json.loads(ran.out)["result"]
    wrong = []
    left = dict((name, list(addresses)) for cycles in (truth["cycles"], truth["in_used_memory"]) for name, addresses in cycles.items())
    for g in result["groups"]:
        name = g["type"].replace("__main__.", "")
        if g["state"] != "lost":
            continue
        if g["reason"] != "hidden-cycle" or name not in left:
            wrong.append("a %s that nobody made: %s %s" % (g["reason"], g["type"], g["addresses"]))
            continue
        if g["count"] != len(g["addresses"]) or any(a not in left[name] for a in g["addresses"]):
            wrong.append("%s: %d cycles: %s, not of %s" % (name, g["count"], g["addresses"], left[name]))
        left[name] = [a for a in left[name] if a not in g["addresses"]]
        if not any("not visited" in step["label"] and (step["type"] == "containers.Pet" or step["type"] == g["type"]) for step in g["cycle"]):
            wrong.append("%s: the reference that is not visited is not named: %s" % (name, g["cycle_text"]))
    held = dict((a, name) for name in truth["in_used_memory"] for a in left[name])
    counted[0] += sum(len(addresses) for addresses in truth["in_used_memory"].values())
    counted[1] += len(held)
    if held:
        ran = process.pygc(*(target + ["refcounts", "--all", "--format", "json", "--limit", "0"]), timeout=SECONDS)
        explained = {f["object"]: f for f in json.loads(ran.out)["result"]["explained_by_words"]}
        for a in held:
            places = [w["place"] for w in explained.get(a, {}).get("words", [])]
            if not any(not place.endswith("only lost objects lead") for place in places):
                wrong.append("%s %s: not found, and no word is named that holds it: %s" % (held[a], a, places))
    return wrong + ["%s: not found: %s" % (name, left[name]) for name in sorted(truth["cycles"]) if left[name]]


def check_types(target, truth):
    """What `verify --types` says of the module's types: each bad one once, with the module and a remedy, and none of the good ones."""
    ran = process.pygc(*(target + ["verify", "--types", "--format", "json", "--limit", "0"]), timeout=SECONDS)
    if ran.code != 1:
        return ["verify --types: exit %s: %s" % (ran.code, ran.tail())]
    faults = json.loads(ran.out)["result"]["types"]["faults"]
    found = sorted((f["type"], f["rule"]) for f in faults)
    expected = [("bugs.NoGcBox", "holds-objects-without-gc"), ("bugs.NativeBox", "holds-objects-without-gc"), ("bugs.GreedyBox", "traverse-visits-owned"), ("bugs.TwiceBox", "traverse-visits-owned"), ("bugs.ClearlessBox", "gc-has-clear")] + ([("bugs.ForgetfulBox", "traverse-visits-type")] if truth["heap_types"] else [])
    expected += [("bugs.SpecBox", "holds-objects-without-gc"), ("bugs.NativeSpecBox", "holds-objects-without-gc")] if truth["spec_types"] else []
    wrong = [] if found == sorted(expected) else ["verify --types: %s, not %s" % (found, sorted(expected))]
    wrong += ["verify --types: %s" % f["what"] for f in faults if f["type"] == "bugs.TwiceBox" and "; it visits a word that its instances point to (0x" not in f["what"]]
    return wrong + ["verify --types: %s: no module or remedy" % f["type"] for f in faults if not f["module"].endswith("bugs.so") or not f["remedy"]]


def check_export(target, truth, trace_refs):
    """The tables that the audit fills."""
    folder = tempfile.mkdtemp(prefix="pygc-export-")
    try:
        database = os.path.join(folder, "heap.db")
        ran = process.pygc(*(target + ["export", "--format", "sqlite", "-o", database]), timeout=SECONDS)
        if ran.code != 0 and not process.only_stacks_missing(ran):
            return ["export: exit %s: %s" % (ran.code, ran.tail())]
        con = sqlite3.connect(database)
        findings = {"0x%x" % a: (kind, recorded, found, evidence, state) for a, kind, recorded, found, evidence, state in con.execute(
            "select o.address, f.kind, f.recorded, f.found, f.evidence, o.state from refcount_findings f join objects o on o.id = f.object_id")}
        wrong = []
        nameless = con.execute("select o.address from refcount_findings f join objects o on o.id = f.object_id left join types t on t.id = o.type_id where t.name is null").fetchall()
        wrong += ["export: a finding on an object without type: 0x%x" % a for (a,) in nameless]
        missed = [function for a, (function, kinds) in truth["wrong"].items() if findings.get(a, ("",))[0] not in kinds]
        if len(missed) > BY_WORDS:
            wrong.append("export: not among refcount_findings: %s" % missed)
        for a, (kind, recorded, found, evidence, state) in findings.items():
            if kind == "lost" and not trace_refs and state != "lost":
                wrong.append("export: a lost object whose state is %s" % state)
            if kind == "deficit" and "held by" not in evidence:
                wrong.append("export: evidence without holders: %s" % evidence)
        hidden = [e for kind, recorded, found, e, state in findings.values() if kind == "hidden-cycle" and "not visited" in e]
        if len(hidden) < 3 and not trace_refs:
            wrong.append("export: %d hidden cycles" % len(hidden))
        kinds = {k for k, in con.execute("select distinct kind from roots")}
        if not {"frame", "module", "static"} <= kinds:
            wrong.append("export: roots of kinds %s only" % sorted(kinds))
        if con.execute("select value from meta where key = 'audited'").fetchone() != ("1",):
            wrong.append("export: meta says that it was not audited")
        con.close()
        return wrong
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    options = p.parse_args()
    passed = failed = skipped = 0
    counted = [0, 0]
    found = [i for i in interpreters.discover() if interpreters.counts_are_audited(i)]
    stable = next((h for h in (headers(i.path) for i in found if i.name.startswith("3.") and "free-threaded" not in i.kind) if h), "")
    for i in found:
        if options.interpreter and not any(i.name.startswith(t) for t in options.interpreter):
            continue
        include = headers(i.path)
        trace_refs = "dbg" in i.name and i.name.startswith("2")
        for source, program in (("bugs.c", "program.py"), ("containers.cc", "containers_program.py")):
            if source == "containers.cc" and trace_refs:
                continue  # there all objects are linked, and nothing is hidden
            folder = tempfile.mkdtemp(prefix="pygc-bugs-")
            try:
                own = include or source == "bugs.c" or "free-threaded" in i.kind or i.name.startswith("2")
                build(include if own else stable, source, os.path.join(folder, source.replace(".cc", ".so").replace(".c", ".so")), *([] if own else [STABLE_ABI]))
                with process.Program(i.path, os.path.join(HERE, "refcount_bugs", program), [folder]) as target:
                    for way, where in (("live", ["-p", target.pid]), ("core", ["-c", target.gcore()])):
                        if source == "bugs.c":
                            wrong = check(where, target.truth) + check_leaks(where, target.truth, trace_refs)
                            wrong += check_text(where, target.truth) + check_types(where, target.truth) + check_export(where, target.truth, trace_refs)
                        else:
                            wrong = check_containers(where, target.truth, counted)
                        failed += bool(wrong)
                        passed += not wrong
                        if wrong or options.verbose:
                            print("%s %s %s %s" % ("FAILED " if wrong else "ok     ", i.name, source, way))
                        for w in wrong:
                            print("        %s" % w)
            except process.CannotTest as e:
                if "no headers" in str(e):
                    skipped += 1
                    print("skipped %s %s: %s" % (i.name, source, e))
                else:
                    failed += 1
                    print("FAILED  %s %s: could not be tested: %s" % (i.name, source, e))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            sys.stdout.flush()
    if counted[0] and not options.interpreter:  # a bound of all together
        many = counted[1] > HELD_BY_WORDS * counted[0]
        failed += many
        passed += not many
        print("%s %d of %d cycles in memory that was used before are held by words, each of them named" % ("FAILED " if many else "ok     ", counted[1], counted[0]))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
