#!/usr/bin/env python3
"""The machine misused on real processes: runs from random addresses of code on random objects, and runs of mutated code of real tp_traverse functions.

usage: storm.py [--runs N] [--seed S] [--max-ms MS]

One core of an interpreter with the heap of tests/traverse/stdlib_types.py, and one of Debian's with extension modules where they are installed
(scripts/extension-modules): each N runs (1,000,000) of both kinds by machine_storm. Fails on a crash, a sanitizer's report, and a run of more than MS (50)
milliseconds of processor time. Takes machine_storm of the build under ASan and UBSan where there is one: $PYGC_BUILD/asan-ubsan or a build that is itself so.
Last line: N passed, N failed, N skipped."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "traverse"))
import run as traverse  # noqa: E402


def tool():
    paths = [os.path.join(traverse.BUILD, folder, "bin", "machine_storm") for folder in ("asan-ubsan", "")]
    return next((p for p in paths if os.path.exists(p)), None)


def cases():
    found = [i for i in traverse.interpreters.discover() if i.kind == "default" and i.version.startswith("3.13")][:1]
    out = [traverse.Case("%s %s" % (i.version, i.source), i.path, "stdlib_types", {}, False) for i in found]
    return out + [traverse.Case("%s extensions numbers" % suite, path, "extension_types", {"PYGC_MODULES": traverse.SHARDS["numbers"]}, False)
                  for suite, path in traverse.extension_modules.discover()[:1]]


def storm(program, core, kind, options):
    """What is wrong, and what it printed."""
    environment = dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1", ASAN_OPTIONS="abort_on_error=1")
    ran = subprocess.run([program, core, "--runs", str(options.runs), "--seed", str(options.seed), "--max-ms", str(options.max_ms)] + kind,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, env=environment, timeout=7200)
    said = dict(line.split(" ", 1) for line in ran.stdout.splitlines() if " " in line)
    if ran.returncode == 0 and int(said.get("runs", 0)) >= options.runs and not ran.stderr:
        return "", said
    return "exit %d, longest %s ms: %s %s" % (ran.returncode, said.get("longest-ms"), said.get("longest"), ran.stderr.strip()[-1500:]), said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=1000000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-ms", type=float, default=50)
    options = parser.parse_args()
    program, passed, failed, skipped = tool(), 0, 0, 0
    if program is None:
        print("no machine_storm under %s: build first\n0 passed, 1 failed, 0 skipped" % traverse.BUILD)
        return 1
    for case in cases():
        folder = tempfile.mkdtemp(prefix="pygc-storm-")
        child = None
        try:
            child, pid, _ = traverse.start_surviving(case, folder, False)
            core = traverse.dump(pid, folder)
            for kind in ([], ["--mutate"]):
                wrong, said = storm(program, core, kind, options)
                passed, failed = passed + (not wrong), failed + bool(wrong)
                print("%s %s %s: %s runs, %s steps, %s visits, longest %s ms%s" % (
                    "FAILED " if wrong else "ok     ", case.label, "mutated code" if kind else "random addresses", said.get("runs"), said.get("steps"),
                    said.get("visits"), said.get("longest-ms"), "\n        " + wrong if wrong else ""), flush=True)
        except (RuntimeError, traverse.Died, subprocess.TimeoutExpired, OSError) as e:
            failed += 1
            print("FAILED  %s: %s" % (case.label, e))
        finally:
            if child:
                traverse.end_all(child)
            shutil.rmtree(folder, ignore_errors=True)
    if passed + failed < 4:
        skipped = 1
        print("skipped: no extension modules here (scripts/extension-modules install)")
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
