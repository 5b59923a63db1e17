#!/usr/bin/env python3
"""Cores of an interpreter that comes up, goes down, or has just forked, held against its own lists and its own collector.

usage: start_end.py [--quick] [--interpreter TEXT]... [--kind KIND] [-j N] [-v] [--keep]

GDB stops the interpreter inside Py_Initialize (as modules are made and imported), in each step of Py_FinalizeEx (before it, while modules are cleared, at the
last collections, as the interpreter's state is cleared, after it is gone), and in a forked child. At each stop it dumps the process, walks the lists by
debug information, and lets the process collect where it still can: what that finds is the truth. Every figure must equal it or be called a lower
bound; where no interpreter is, pygc says so in one line (exit 4).
Needs gdb and symbols (pyenv builds, -dbg interpreters; others are skipped with that reason). --quick: one build. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import compare  # noqa: E402
import interpreters  # noqa: E402
import moments  # noqa: E402
import process  # noqa: E402
from run import Tally  # noqa: E402

CYCLES = 50
PROGRAM = """
import gc, os, sys
gc.set_threshold(1000000)
class Lost(object): pass
for i in range(%d):
    lost = Lost(); lost.me = lost
lost = None
child = os.fork() if len(sys.argv) > 1 else 1
if child and len(sys.argv) > 1: os.waitpid(child, 0)
""" % CYCLES

# Which calls of which functions. Names of all releases: a build has some of them.
START = {"PyModule_NewObject": [1, 2, 3, 5, 10, 20], "PyModule_New": [1, 3, 10], "Py_InitModule4_64": [1, 2, 3, 5], "PyImport_ImportModule": [1, 2, 5, 10],
         "PyType_Ready": [1, 20, 100], "_PyGC_InitState": [1], "PyInterpreterState_New": [1], "PyThreadState_New": [1]}
END = {"Py_FinalizeEx": [1], "Py_Finalize": [1], "PyImport_Cleanup": [1], "finalize_modules": [1], "PyGC_Collect": [1, 2], "_PyGC_CollectNoFail": [1, 2, 3],
       "PyInterpreterState_Clear": [1], "interpreter_clear": [1], "finalize_interp_clear": [1], "finalize_interp_types": [1], "_PyGC_Fini": [1],
       "_PyUnicode_Fini": [1], "PyDict_Fini": [1], "PyInterpreterState_Delete": [1], "_PyRuntime_Finalize": [1], "_PyRuntimeState_Fini": [1]}
CHILD = {"PyOS_AfterFork_Child": [1], "PyOS_AfterFork": [1], "_PyInterpreterState_DeleteExceptMain": [1], "Py_FinalizeEx": [1], "Py_Finalize": [1],
         "_PyGC_CollectNoFail": [1], "PyInterpreterState_Delete": [1]}
# Where the interpreter's state may be gone, although the static lists of old releases still have objects.
GONE = ["PyDict_Fini", "_PyRuntime_Finalize", "_PyRuntimeState_Fini"]
# At whose entry the process may collect. Elsewhere objects are half made or half gone.
COLLECT = ["PyModule_NewObject", "PyModule_New", "Py_InitModule4_64", "PyImport_ImportModule", "Py_FinalizeEx", "Py_Finalize", "PyImport_Cleanup",
           "finalize_modules", "PyGC_Collect", "_PyGC_CollectNoFail"]


def starter(interpreter):
    """(command that starts the interpreter, its own file where that is another ld.so)"""
    with open(interpreter.path, "rb") as f:
        text = f.read(65536)
    if text.startswith(b"#!") and b"ld-linux" in text:
        last = [w for w in shlex.split(text.decode().strip().splitlines()[-1]) if w not in ("exec", "$@")]
        last = last[next(i for i, w in enumerate(last) if "ld-linux" in w):]
        return last, last[-1]
    return [interpreter.executable], None


def lives_of(interpreter, part, folder):
    program = os.path.join(folder, "program.py")
    with open(program, "w") as f:
        f.write(PROGRAM)
    start, loaded = starter(interpreter)
    plan = {"folder": folder, "command": start + [program] + (["fork"] if part == "child" else []), "child": part == "child", "collect": COLLECT, "loaded": loaded,
            "stops": {"start": START, "end": END, "child": CHILD}[part], "debug_dir": interpreter.debug_dir}
    path = os.path.join(folder, "plan.json")
    with open(path, "w") as f:
        json.dump(plan, f)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env.update(PYGC_PLAN=path, PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1", PYTHONNOUSERSITE="1")
    ran = process.run(["gdb", "-nx", "-batch", "-x", os.path.join(HERE, "gdb_lives.py")], 600, env=env, cwd=folder)
    try:
        with open(os.path.join(folder, "lives.json")) as f:
            return json.load(f)["lives"]
    except OSError:
        raise process.CannotTest("gdb made no cores: " + ran.tail())


def judge(life, folder):
    """([what is wrong], a word on it)"""
    core, lists = life["core"], life["tracked"]
    ran = process.pygc("-c", core, "leaks", "--format", "json")
    if ran.code == 4:
        wrong = [] if len(ran.err.strip().splitlines()) == 1 and ("no interpreter" in ran.err or "no thread state" in ran.err) else ["exit 4: " + ran.tail()]
        if lists and life["function"] not in GONE:
            wrong.append("exit 4, and the lists have %d objects" % len(lists))
        return wrong, "no interpreter"
    _, report, rows = moments.read(core)
    result, wrong = report["result"], []
    exact = report["complete"] and result["certainty"] == "exact"
    if lists is False:
        if exact or result["unreachable"]:
            wrong.append("%d unreachable, %s, where the lists are no rings" % (result["unreachable"], result["certainty"]))
    elif lists is not None:
        more, less = set(rows) - set(lists), set(lists) - set(rows)
        if more or (less and exact):
            wrong.append("%d objects that no list has, %d of %d not found: %s" % (len(more), len(less), len(lists), compare._some("0x%x" % a for a in sorted(more | less))))
    # What a collection returns counts weak references too that go with their callback. CPython: m += handle_weakrefs(), Modules/gcmodule.c, Python/gc.c.
    collected, more = life["collected"], sum(a in rows and rows[a][1] == "unreachable" for a in life["weakrefs"])
    if collected is not None and (result["unreachable"] > collected or (exact and result["unreachable"] + more < collected)):
        wrong.append("%d unreachable, a collection found %d (weak references with callbacks to %d of them)" % (result["unreachable"], collected, more))
    for w in report["warnings"]:
        if "does not look right" in w or "structure says" in w:
            wrong.append("the layout is doubted: " + w)
    return wrong, "%s tracked, %d unreachable, collected %s, %s" % (len(rows), result["unreachable"], collected, result["certainty"] if exact else "not exact: %s" % report["missing"])


def run_part(interpreter, part, options, tally):
    name = "%s %s" % (interpreter.name, part)
    folder = tempfile.mkdtemp(prefix="pygc-lives-")
    try:
        lives = lives_of(interpreter, part, folder)
        if not lives:
            tally.skip(name, "no symbols of the functions of the interpreter's life")
            return
        known = 0
        for life in lives:
            try:
                wrong, words = judge(life, folder)
            except AssertionError as e:
                wrong, words = [str(e)], ""
            known += life["collected"] is not None
            tally.check("%s %s.%d" % (name, life["function"], life["call"]), wrong, words)
            if not options.keep:
                os.unlink(life["core"])
        if not known:
            tally.check(name, ["at none of %d stops could the process collect: nothing was held against it" % len(lives)])
    except process.CannotTest as e:
        tally.check(name, ["could not be tested: %s" % e])
    finally:
        if options.keep:
            print("kept", folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    p.add_argument("--kind", default="default", help="default, debug or all")
    p.add_argument("-j", type=int, default=1)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--keep", action="store_true")
    options = p.parse_args()
    tally = Tally(options.verbose)
    chosen = [i for i in interpreters.discover() if (options.kind == "all" or i.kind == options.kind) and
              (not options.interpreter or any(i.name.startswith(t) for t in options.interpreter))]
    if options.quick:
        chosen = [i for i in chosen if i.shared][-1:]
    started = time.time()
    with ThreadPoolExecutor(max(1, options.j)) as pool:
        for f in [pool.submit(run_part, i, part, options, tally) for i in chosen for part in ("start", "end", "child")]:
            f.result()
    print("%.0f s" % (time.time() - started))
    print("%d passed, %d failed, %d skipped" % (tally.passed, tally.failed, tally.skipped))
    return 1 if tally.failed or not tally.passed + tally.skipped else 0


if __name__ == "__main__":
    sys.exit(main())
