#!/usr/bin/env python3
"""End to end: real interpreters run the fixtures, pygc reads them, the interpreter's own gc module judges.

usage: run.py [--quick] [--lldb] [--slow] [--interpreter TEXT]... [--program NAME]... [-j N] [--strict] [--keep] [--list]

For each interpreter and fixture: the export of a gcore core and of the live process against the truth, exactly; `leaks` totals and
exit status; and the `result` of `leaks --format json` byte-equal by every way to the memory (gcore, kernel core with filter
0x33 and 0x7f, live; with --lldb also LLDB on the core and LLDB on the process).
--quick: the fixtures marked quick (one core with nearly all shapes for each version). --lldb: the LLDB cases only.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. A required interpreter that is missing is a failure.
Last line: N passed, N failed, N skipped. Exit 1 where one failed.
"""
import argparse
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import cases  # noqa: E402
import compare  # noqa: E402
import interpreters  # noqa: E402
import lldb_host  # noqa: E402
import process  # noqa: E402


class Tally:
    """Counts checks and prints those that fail as they come."""

    def __init__(self, verbose):
        self.passed = self.failed = self.skipped = 0
        self.verbose = verbose
        self.lock = threading.Lock()

    def check(self, name, wrong, note=""):
        with self.lock:
            if wrong:
                self.failed += 1
                print("FAILED  %s" % name)
                for w in wrong[:12]:
                    print("        %s" % w)
            else:
                self.passed += 1
                if self.verbose:
                    print("ok      %s%s" % (name, "  " + note if note else ""))
            sys.stdout.flush()

    def skip(self, name, why):
        with self.lock:
            self.skipped += 1
            print("skipped %s: %s" % (name, why), flush=True)


def export(target, folder, name, truth, kind, lower_bound):
    """([what differs], note) of one export."""
    database = os.path.join(folder, name + ".db")
    ran = process.pygc(*target, "export", "--format", "sqlite", "-o", database)
    if (ran.code not in ((0, 1, 3) if lower_bound else (0, 1)) and not process.only_stacks_missing(ran)) or not os.path.exists(database):
        return ["export: exit %s: %s" % (ran.code, ran.tail())], ""
    wrong, counts = (compare.compare_planted if kind == "planted" else compare.compare)(database, truth, lower_bound)
    os.unlink(database)
    note = "%(objects)d objects, %(unreachable)d unreachable" % counts
    if counts["missed"]:
        note += ", %d missed and labelled a lower bound" % counts["missed"]
    if counts["labelled"]:
        note += ", %d labelled approximate (%s)" % (counts["labelled"], ", ".join("%s %d" % t for t in counts["labelled_types"]))
    return wrong, "%s, %.2f s" % (note, ran.seconds)


def leaks(target, truth, kind):
    """(result bytes or None, [what is wrong], whether pygc calls it a lower bound)"""
    ran = process.pygc(*target, "leaks", "--format", "json")
    if ran.code not in (0, 1, 3):
        return None, ["leaks: exit %s: %s" % (ran.code, ran.tail())], False
    try:
        report = json.loads(ran.out)
        wrong = compare.check_counts(report, truth) if kind == "counts" else compare.check_leaks(report, ran.code, truth) if kind == "exact" else []
        return process.result_bytes(ran.out), wrong, report["result"].get("certainty") == "lower bound"
    except (ValueError, KeyError) as e:
        return None, ["leaks: no readable report: %s" % e], False


OPTIONS = {"status": [], "verify": ["--traverse"]}


def reports(target, truth, folder):
    """[what is wrong] with the other commands' reports on the same process, their schemas included."""
    wrong, files = [], []
    for command, check in sorted(compare.REPORTS.items()):
        ran = process.pygc(*target, command, "--format", "json", *OPTIONS.get(command, ["--limit", "0"]))
        if ran.code not in (0, 1, 3):
            wrong.append("%s: exit %s: %s" % (command, ran.code, ran.tail()))
            continue
        files.append(os.path.join(folder, command + ".json"))
        with open(files[-1], "w") as f:
            f.write(ran.out)
        try:
            wrong += check(json.loads(ran.out), truth)
        except (ValueError, KeyError, IndexError) as e:
            wrong.append("%s: no readable report: %s: %s" % (command, type(e).__name__, e))
    with open(os.path.join(folder, "leaks.json"), "w") as f:
        f.write(process.pygc(*target, "leaks", "--format", "json").out)
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    checked = process.run([python, os.path.join(process.TESTS, "golden", "check_schemas.py"), os.path.join(process.ROOT, "core", "report", "schema"),
                           os.path.join(folder, "leaks.json")] + files)
    if checked.code:
        wrong.append("schemas: exit %s: %s" % (checked.code, checked.tail()))
    return wrong


def same(results, name, one, other, tally):
    if results.get(one) is None or results.get(other) is None:
        tally.check(name, ["no result by %s" % ", ".join(w for w in (one, other) if results.get(w) is None)])
        return
    a, b = results[one], results[other]
    if a == b:
        tally.check(name, [])
        return
    at = next((i for i in range(min(len(a), len(b))) if a[i] != b[i]), min(len(a), len(b)))
    tally.check(name, ["results differ at byte %d: %s: ...%s... %s: ...%s..." %
                       (at, one, a[max(0, at - 60):at + 60], other, b[max(0, at - 60):at + 60])])


def run_case(interpreter, case, options, tally):
    name = "%s %s" % (interpreter.name, " ".join([case.program] + case.args + ["%s=%s" % v for v in sorted(case.env.items())]))
    program = None
    try:
        with_kernel = case.kernel and not options.no_kernel
        program = process.Program(interpreter.path, case.program, case.args, twins=2 if with_kernel else 0, env=case.env)
        truth = program.truth
        if not options.lldb:
            tally.check(name + " [fixture]", compare.check_claim(truth))
        results = {}
        core = program.gcore()
        ways = [("gcore", ["-c", core]), ("live", ["-p", program.pid])]
        for way, target in ways:
            results[way], wrong, lower_bound = leaks(target, truth, case.kind)
            lower_bound = lower_bound and not options.strict
            if options.lldb:
                continue
            tally.check("%s [leaks %s]" % (name, way), wrong)
            if case.kind == "counts":
                continue
            wrong, note = export(target, program.folder, way, truth, case.kind, lower_bound)
            tally.check("%s [export %s]" % (name, way), wrong, note)
        if options.lldb:
            for way, command in (("lldb core", lldb_host.on_core(core, interpreter)), ("lldb live", lldb_host.on_process(program.pid))):
                results[way], wrong = lldb_host.leaks(command, program.folder)
                if wrong:
                    tally.check("%s [%s]" % (name, way), wrong)
                else:
                    same(results, "%s [%s = gcore]" % (name, way), "gcore", way, tally)
            return
        same(results, name + " [live = gcore]", "gcore", "live", tally)
        if case.kind == "exact":
            tally.check(name + " [status, cycles, garbage, finalizers, verify]", reports(["-c", core], truth, program.folder))
        if case.kind == "main":
            tally.check(name + " [interpreters told apart]", compare.check_interpreters(
                {c: json.loads(process.pygc("-c", core, c, "--format", "json", "--limit", "0").out)["result"] for c in ("leaks", "cycles", "finalizers")}, truth))
        for twin, coredump_filter in zip(program.twins, (0x33, 0x7F)):
            way = "kernel 0x%x" % coredump_filter
            path = program.kernel_core(twin, coredump_filter)
            results[way], wrong, _ = leaks(["-c", path], truth, case.kind)
            if wrong:
                tally.check("%s [leaks %s]" % (name, way), wrong)
            same(results, "%s [%s = gcore]" % (name, way), "gcore", way, tally)
            os.unlink(path)
    except process.CannotTest as e:
        tally.check(name, ["could not be tested: %s" % e])
    except Exception as e:  # a fault of the harness must not end the run
        tally.check(name, ["harness: %s: %s" % (type(e).__name__, e)])
    finally:
        if program:
            if options.keep:
                print("kept", program.folder)
            program.close(keep=options.keep)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--lldb", action="store_true")
    p.add_argument("--slow", action="store_true", help="also the cases marked slow")
    p.add_argument("--no-kernel", action="store_true", help="no kernel cores")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT", help="only interpreters whose name starts with this (3.14, 2.7.18-pyenv)")
    p.add_argument("--program", action="append", default=[], metavar="NAME")
    p.add_argument("--kind", default="release", help="default, debug, free-threaded, release (default and free-threaded) or all")
    p.add_argument("-j", type=int, default=os.cpu_count() or 2)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--strict", action="store_true", help="a verdict that calls itself a lower bound may miss nothing either")
    p.add_argument("--keep", action="store_true")
    p.add_argument("--list", action="store_true")
    options = p.parse_args()

    found = interpreters.discover()
    tally = Tally(options.verbose)
    for version in interpreters.missing(found):
        if not options.interpreter or any(version.startswith(t) or t.startswith(version) for t in options.interpreter):
            tally.check("interpreter %s" % version, ["required and not found: scripts/interpreters install %s" % version])
    chosen = [i for i in found if (options.kind == "all" or i.kind in (("default", "free-threaded") if options.kind == "release" else (options.kind,))) and
              (not options.interpreter or any(i.name.startswith(t) for t in options.interpreter))]
    jobs = []
    for i in chosen:
        for c in cases.CASES:
            if (options.program and c.program not in options.program) or (options.quick and not c.quick and not options.program):
                continue
            if not c.since <= i.hexversion < c.until or (c.slow and not options.slow) or (options.lldb and not c.lldb):
                continue
            if c.env.get("PYTHONMALLOC") == "malloc" and i.kind.startswith("free-threaded"):
                continue    # these builds have no other allocator than mimalloc
            jobs.append((i, c))
    if options.list:
        for i, c in jobs:
            print(i.name, c.program, *c.args)
        return 0
    if not os.access(process.PYGC, os.X_OK):
        print("no %s: build first" % process.PYGC)
        return 1
    if options.lldb and not lldb_host.versions():
        tally.check("lldb", ["no lldb found, or no plugin built: apt-get install lldb liblldb-dev, then build"])
        jobs = []
    started = time.time()
    print("%d interpreters, %d cases, %s" % (len(chosen), len(jobs), process.PYGC), flush=True)
    with ThreadPoolExecutor(max(1, options.j)) as pool:
        for f in [pool.submit(run_case, i, c, options, tally) for i, c in jobs]:
            f.result()
    print("%.0f s" % (time.time() - started))
    print("%d passed, %d failed, %d skipped" % (tally.passed, tally.failed, tally.skipped))
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
