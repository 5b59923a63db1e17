#!/usr/bin/env python3
"""Instructions that each phase of `pygc leaks` executes for an object, counted by callgrind: the one figure of speed that a busy machine leaves alone.

usage: instructions.py [--update] [--size N]

Builds a heap of heaps.py (mixed, 50,000 objects asked for) with the machine's own python3, dumps it, runs bench_core on it under callgrind with one thread,
and compares with tests/bench/instructions.json, which has an entry for each compiler and python3. Fails where a phase of more than 20 instructions an object
is worse by more than 5 %, or all together. --update writes what was counted. Uses $PYGC_BUILD/bin/bench_core. Last line: N passed, N failed, N skipped."""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import bench  # noqa: E402
import process  # noqa: E402

EXPECTED = os.path.join(HERE, "instructions.json")
WORSE = 1.05
SMALL = 20.0     # instructions an object: a phase that costs less is judged with the sum only


class SystemPython:
    """Without random addresses, where that is allowed: tables that depend on the address space have another size each time."""
    path = "/usr/bin/python3"
    wrapper = ["setarch", "-R"] if shutil.which("setarch") and subprocess.run(["setarch", "-R", "true"], stderr=subprocess.DEVNULL).returncode == 0 else []


def compiler_of(folder):
    """What built the program, as its cache says."""
    with open(os.path.join(folder, "CMakeCache.txt")) as f:
        cache = dict(re.findall(r"^(CMAKE_CXX_COMPILER|CMAKE_BUILD_TYPE):[A-Z]+=(.*)$", f.read(), re.M))
    said = subprocess.run([cache["CMAKE_CXX_COMPILER"], "-dumpfullversion"], stdout=subprocess.PIPE, universal_newlines=True).stdout.strip()
    return "%s %s %s" % (os.path.basename(cache["CMAKE_CXX_COMPILER"]), said, cache["CMAKE_BUILD_TYPE"])


def count(program, heap):
    """{phase: instructions} of one run."""
    out = os.path.join(heap.folder, "callgrind.out")
    ran = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, program, heap.core, "1"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if ran.returncode != 0:
        raise process.CannotTest("valgrind: " + ran.stdout.strip()[-300:])
    found = {}
    for path in glob.glob(out + ".*"):
        with open(path) as f:
            text = f.read()
        phase = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.M)
        total = re.search(r"^(?:summary|totals): (\d+)", text, re.M)
        if phase and total:
            found[phase.group(1)] = int(total.group(1))
    if "snapshot" not in found:
        raise process.CannotTest("callgrind told no phases apart: was bench_core built where valgrind/callgrind.h is?")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--size", type=int, default=50000)
    options = parser.parse_args()
    folder = os.path.dirname(os.path.dirname(process.PYGC))
    program = os.path.join(folder, "bin", "bench_core")
    if not shutil.which("valgrind"):
        print("skipped: no valgrind here\n0 passed, 0 failed, 1 skipped")
        return 0
    passed, failed, skipped = 0, [], 0
    heap = bench.Heap(SystemPython, "mixed", options.size)
    try:
        heap.dump()
        tracked = heap.about["tracked"]
        counted = {phase: n / tracked for phase, n in sorted(count(program, heap).items()) if phase != "open" and phase != "locate"}
    except process.CannotTest as e:
        print("FAILED  %s\n0 passed, 1 failed, 0 skipped" % e)
        return 1
    finally:
        heap.close()
    counted["all"] = sum(counted.values())
    key = "%s, CPython %s, %d" % (compiler_of(folder), heap.about["version"], options.size)
    known = {}
    if os.path.exists(EXPECTED):
        with open(EXPECTED) as f:
            known = json.load(f)
    before = known.get(key, {})
    for phase, now in counted.items():
        was = before.get(phase)
        print("%-10s %8.1f instructions an object%s" % (phase, now, "" if was is None else ", were %.1f" % was))
        if was is None:
            continue
        if now > was * WORSE and (now > SMALL or phase == "all"):
            failed.append(phase)
            print("FAILED  %s: %.1f %% more" % (phase, (now / was - 1) * 100))
        else:
            passed += 1
    if options.update:
        known[key] = {phase: round(n, 1) for phase, n in counted.items()}
        with open(EXPECTED, "w") as f:
            json.dump(known, f, indent=1, sort_keys=True)
            f.write("\n")
        passed = max(passed, 1)
    elif not before:
        skipped += 1
        print("skipped: nothing is known for %s (--update)" % key)
    print("%d passed, %d failed, %d skipped" % (passed, len(failed), skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
