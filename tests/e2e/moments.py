#!/usr/bin/env python3
"""Cores of chosen moments: each phase of a collection, each instruction of tracking and untracking an object.

usage: moments.py [--quick] [--interpreter TEXT]... [--part phases|steps]... [--function NAME]... [--kind KIND] [-j N] [-v] [--keep]

GDB stops the fixture `phases` (its truth is written by a copy just before) in the collector's functions, `steps` at every
instruction of functions that track, untrack, resize or free. pygc reads each core. Before the first finalizer runs, every figure
must equal the truth; later, what is found must be true and what is not sure must be called a lower bound.
Needs gdb and symbols of static functions (pyenv builds, -dbg interpreters; others are skipped with that reason). --quick: four phases.
Last line: N passed, N failed, N skipped. Exit 1 where one failed.
"""
import argparse
import csv
import io
import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import compare  # noqa: E402
import interpreters  # noqa: E402
import process  # noqa: E402
from run import Tally  # noqa: E402

# Before anything is cleared or finalized: the reference counts and references are those of the moment of the truth.
BEFORE = ["update_refs", "subtract_refs", "visit_decref", "move_unreachable", "visit_reachable", "untrack_tuples", "move_legacy_finalizers",
          "move_finalizers", "clear_unreachable_mask", "move_legacy_finalizer_reachable", "move_finalizer_reachable", "handle_weakrefs",
          "process_delayed_frees", "deduce_unreachable_heap", "mark_heap_visitor", "visit_decref_unreachable", "scan_heap_visitor", "clear_weakrefs",
          "find_weakref_callbacks"]
# Finalizers may have run; nothing is freed.
FINALIZING = ["call_weakref_callbacks", "finalize_garbage", "check_garbage", "handle_resurrected_objects"]
FREEING = ["delete_garbage", "subtype_clear", "list_clear", "list_dealloc", "subtype_dealloc", "dict_tp_clear", "handle_legacy_finalizers", "handle_finalizers"]
# Called in several phases: each stop has the phase of the one before.
ANYWHERE = ["gc_list_merge", "gc_list_move"]
# Stepped through instruction by instruction: tracking and untracking, growth of tables, deallocation.
STEPPED = ["PyObject_GC_Track", "PyObject_GC_UnTrack", "PyList_New", "PyDict_New", "PyTuple_New", "list_resize", "dictresize", "insertdict", "list_dealloc",
           "tupledealloc", "tuple_dealloc", "dict_dealloc", "subtype_dealloc"]
# Stopped in, where freeing goes so deep that the rest is put off.
TRASHCAN = ["_PyTrash_deposit_object", "_PyTrash_thread_deposit_object", "_PyTrash_destroy_chain", "_PyTrash_thread_destroy_chain"]
QUICK = ["subtract_refs", "move_unreachable", "handle_weakrefs", "delete_garbage"]


def cores_of(program, plan, interpreter):
    """Lets GDB stop the waiting program by `plan`; (cores, functions that the build has not)."""
    own = interpreter.shared or os.path.samefile("/proc/%d/exe" % program.pid, interpreter.executable)
    plan = dict(plan, folder=program.folder, debug_dir=interpreter.debug_dir, symbols=None if own else interpreter.executable)
    path = os.path.join(program.folder, "plan.json")
    with open(path, "w") as f:
        json.dump(plan, f)
    script = os.path.join(HERE, "gdb_stops.py")
    ran = process.run(["gdb", "-nx", "-batch", "-p", str(program.pid), "-x", script], 600, env=dict(os.environ, PYGC_PLAN=path))
    try:
        with open(os.path.join(program.folder, "cores.json")) as f:
            made = json.load(f)
    except OSError:
        raise process.CannotTest("gdb made no cores: " + ran.tail())
    return made["cores"], made["absent"]


def may_be_untracked(truth):
    """What a collection may take off its lists as it goes: tuples, and dicts, that hold nothing which is tracked."""
    tracked = {int(a): name for a, name in truth["tracked"].items()}
    free = set()
    while True:
        more = {a for a, name in tracked.items() if name in ("tuple", "dict") and a not in free and
                not any(r in tracked and r not in free for r in truth["refs"][str(a)])}
        if not more:
            return free
        free |= more


def read(core, where=""):
    """(exit status, report of leaks, rows of the tracked objects by address, all or those of a condition): two questions on one load"""
    ran = process.pygc("-c", core, "-x", "-", typed="leaks --format json --limit 0\nsql --format csv --limit 0 \"select o.address, t.name, o.state, o.exact, o.refcount "
                       "from objects o join types t on t.id = o.type_id where o.tracked%s\"\n" % (where and " and (" + where + ")"))
    report, header, rows = ran.out.partition("\naddress,name,state,exact,refcount\n")
    if ran.code not in (0, 1, 3) or not header:
        raise AssertionError("leaks and sql: exit %s: %s" % (ran.code, ran.tail()))
    rows = {int(r[0]): (r[1], r[2], int(r[3]), int(r[4]) if r[4] else None) for r in csv.reader(io.StringIO(rows))}
    return ran.code, json.loads(report), rows


def judge(phase, function, report, rows, truth, free):
    """[what is wrong] with one core. `free`: see may_be_untracked()."""
    wrong = []
    tracked = {int(a): name for a, name in truth["tracked"].items()}
    unreachable = set(truth["unreachable"])
    found = {a for a, r in rows.items() if r[1] in ("unreachable", "uncollectable") and a in tracked}
    result = report["result"]
    exact = report["complete"] and result["certainty"] == "exact"

    def say(what, addresses):
        if addresses:
            wrong.append("%s: %d, %s" % (what, len(addresses), compare._some("0x%x %s" % (a, tracked[a]) for a in sorted(addresses))))

    say("unreachable that is not", found - unreachable)
    say("type wrong", {a for a in set(tracked) & set(rows) if rows[a][0] != tracked[a]} if phase is not FREEING else set())
    lost = set(tracked) - set(rows) - free
    say("tracked objects not found", lost if phase is not FREEING else lost - unreachable)
    # An object at a count of 0 is named as what it is: just being freed.
    dying = {a for a in rows if rows[a][3] == 0} - found     # 0 is also what is left where only the collector holds it (free-threaded)
    missed = {a for a in unreachable - found if a in rows and a not in dying}
    if dying and not any("lost the last reference" in w for w in report["warnings"]):
        wrong.append("%d objects at a count of 0, and no warning" % len(dying))
    if phase is BEFORE or exact:
        say("unreachable missed, and the verdict exact" if exact else "unreachable missed", missed)
    elif result["unreachable_upper"] is not None and result["unreachable"] + len(missed) > result["unreachable_upper"]:
        wrong.append("upper bound %d: %d and %d being freed" % (result["unreachable_upper"], result["unreachable"], len(missed)))
    if not report["complete"]:
        wrong.append("called partial: %s" % report["missing"])
    if phase is BEFORE and not exact:
        wrong.append("called %s" % result["certainty"])
    said = report["result"]["interpreters"][0]["phase"]
    want = ("deciding", "between") if phase is BEFORE and function in BEFORE[:5] else ("deciding", "between", "freeing") if phase is BEFORE else (
        "freeing", "between")
    if said not in want:
        wrong.append("phase called %s" % said)
    return wrong


def run_phases(interpreter, options, tally):
    name = "%s phases" % interpreter.name
    program = None
    try:
        program = process.Program(interpreter.path, "phases")
        functions = options.function or (QUICK if options.quick else BEFORE + FINALIZING + FREEING + ANYWHERE)
        cores, absent = cores_of(program, {"functions": functions, "hits": 1 if options.quick else 2}, interpreter)
        if not cores:
            tally.skip(name, "no symbols of the collector's functions: %s" % " ".join(absent))
            return
        phase, free = BEFORE, may_be_untracked(program.truth)
        for function, number, core in cores:
            phase = FREEING if function in FREEING or phase is FREEING else FINALIZING if function in FINALIZING or phase is FINALIZING else BEFORE
            where = "%s %s.%d" % (name, function, number)
            try:
                code, report, rows = read(core)
                wrong = judge(phase, function, report, rows, program.truth, free)
                tally.check(where, wrong, "exit %s, %s, %s" % (code, report["result"]["certainty"], report["result"]["interpreters"][0]["phase"]))
            except AssertionError as e:
                tally.check(where, [str(e)])
            if not options.keep:
                os.unlink(core)
    except process.CannotTest as e:
        tally.check(name, ["could not be tested: %s" % e])
    finally:
        if program:
            if options.keep:
                print("kept", program.folder)
            program.close(keep=options.keep)


def judge_step(core, report, rows, truth):
    """([what is wrong], whether some of it is called partial) with a core in which the program makes and frees other objects than those of the truth."""
    wrong = []
    tracked = {int(a): name for a, name in truth["tracked"].items()}
    unreachable, own = set(truth["unreachable"]), set(truth["own"])
    found = {a for a, r in rows.items() if r[1] in ("unreachable", "uncollectable")}
    exact = report["complete"] and report["result"]["certainty"] == "exact"

    def say(what, addresses):
        if addresses:
            wrong.append("%s: %d, %s" % (what, len(addresses), compare._some("0x%x %s" % (a, tracked.get(a) or rows[a][0]) for a in sorted(addresses))))

    say("unreachable that is not", found - unreachable)
    say("type wrong", {a for a in set(tracked) & set(rows) if rows[a][0] != tracked[a]})
    say("tracked objects not found", set(tracked) - set(rows) - own)
    if exact:
        say("unreachable missed", unreachable - found)
    ran = process.pygc("-c", core, "verify", "--format", "json")
    if ran.code not in (0, 3):
        wrong.append("verify: exit %s: %s" % (ran.code, "; ".join(d for c in json.loads(ran.out)["result"]["checks"] for d in c["details"]) if ran.code == 1 else ran.tail()))
    return wrong, not exact


def run_steps(interpreter, options, tally):
    """Each core of each stepped function, and a sum for each function: how many cores, how many of them called partial."""
    name = "%s steps" % interpreter.name
    try:
        for part, plan in (("step", {"functions": options.function or STEPPED, "hits": 30, "steps": 400}), ("trashcan", {"functions": TRASHCAN, "hits": 3})):
            if part == "trashcan" and options.function:
                continue
            with process.Program(interpreter.path, "steps") as program:
                cores, absent = cores_of(program, plan, interpreter)
                if not cores:
                    tally.skip("%s %s" % (name, part), "no symbols of %s" % " ".join(absent))
                sums = {}
                for function, number, core in cores:
                    total = sums.setdefault(function, [0, 0])
                    try:
                        code, report, rows = read(core)
                        wrong, partial = judge_step(core, report, rows, program.truth)
                        total[1] += partial
                    except AssertionError as e:
                        wrong = [str(e)]
                    total[0] += 1
                    if wrong:
                        tally.check("%s %s.%d" % (name, function, number), wrong)
                        if options.keep:
                            shutil.copy(core, ".")
                    os.unlink(core)
                for function, (count, partial) in sums.items():
                    tally.check("%s %s" % (name, function), [], "%d cores, %d of them called partial or a lower bound" % (count, partial))
    except process.CannotTest as e:
        tally.check(name, ["could not be tested: %s" % e])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    p.add_argument("--part", action="append", default=[], choices=["phases", "steps"])
    p.add_argument("--function", action="append", default=[], metavar="NAME")
    p.add_argument("--kind", default="default", help="default, debug or all")
    p.add_argument("-j", type=int, default=1)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--keep", action="store_true")
    options = p.parse_args()
    tally = Tally(options.verbose)
    chosen = [i for i in interpreters.discover() if (options.kind == "all" or i.kind == options.kind) and
              (not options.interpreter or any(i.name.startswith(t) for t in options.interpreter))]
    started = time.time()
    with ThreadPoolExecutor(max(1, options.j)) as pool:
        parts = [run for part, run in (("phases", run_phases), ("steps", run_steps)) if part in (options.part or (["phases"] if options.quick else ["phases", "steps"]))]
        for f in [pool.submit(run, i, options, tally) for i in chosen for run in parts]:
            f.result()
    print("%.0f s" % (time.time() - started))
    print("%d passed, %d failed, %d skipped" % (tally.passed, tally.failed, tally.skipped))
    return 1 if tally.failed or not tally.passed + tally.skipped else 0


if __name__ == "__main__":
    sys.exit(main())
