#!/usr/bin/env python3
"""The release build under valgrind's memcheck: the unit tests, and whole and damaged cores through the engine.

usage: valgrind.py [--runs N] [NAME...]      (NAME: only these unit tests, or `cores`)

Every unit_* of $PYGC_BUILD/bin, without its cases of millions of objects (an emulator takes an hour for each and sees nothing new in them), but unit_machine (which
runs millions of instructions of its own making) and unit_worker (whose children leave valgrind), then core_storm with N (30) damaged cores of a small heap each of 2.7 and 3.13. Fails on a test that fails, an invalid read or write, a use of what was never written, a definite leak.
Last line: N passed, N failed, N skipped."""
import argparse
import glob
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

LEFT_OUT = ("unit_machine", "unit_worker")
# Cases whose outcome an emulator changes: it has no openat2, maps no 200 GB, is itself the program of a live process, and keeps thread pointers of its own. They are
# run by themselves, and what memcheck says of them counts, not what they say.
EMULATED = {
    "unit_elf": ["links cannot lead out of a root directory"],
    "unit_target": ["a file that is gone is missing*", "opening does not read the memory in the core", "a live process is copied with all its threads and goes on",
                    "a process that another one traces is refused*", "a stopped process stays stopped*", "memory that only a debugger can fetch*"],
}
COMMAND = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite", "--num-callers=20"]


def run(command, folder, memory_alone=False):
    """What is wrong."""
    log = os.path.join(folder, "valgrind.log")
    try:
        ran = subprocess.run(COMMAND + ["--log-file=" + log] + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3600)
    except subprocess.TimeoutExpired:
        return "no end after an hour"
    with open(log, errors="replace") as f:
        said = f.read()
    if ran.returncode == 99:
        return said[:3000]
    return "" if ran.returncode in ((0, 1) if memory_alone else (0,)) else "exit %d: %s" % (ran.returncode, (said or ran.stdout.decode(errors="replace"))[-1500:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("name", nargs="*")
    options = parser.parse_args()
    build = os.path.dirname(process.PYGC)
    passed = failed = 0

    def note(name, wrong):
        nonlocal passed, failed
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print("%s %s%s" % ("FAILED" if wrong else "ok    ", name, ":\n" + wrong if wrong else ""), flush=True)

    with tempfile.TemporaryDirectory(prefix="pygc-valgrind-") as folder:
        for path in sorted(glob.glob(os.path.join(build, "unit_*"))):
            name = os.path.basename(path)
            if name not in LEFT_OUT and (not options.name or name in options.name):
                emulated = ",".join(c.replace(",", "?") for c in EMULATED.get(name, []))
                wrong = run([path, "--test-case-exclude=" + ",".join(["*million*"] + ([emulated] if emulated else []))], folder)
                note(name, wrong or (run([path, "--test-case=" + emulated], folder, memory_alone=True) if emulated else ""))
        for version in ("2.7", "3.13") if not options.name or "cores" in options.name else ():
            found = next((i for i in interpreters.discover() if i.kind == "default" and i.version.startswith(version)), None)
            if found is None:
                note("cores of " + version, "no such interpreter (scripts/interpreters install)")
                continue
            with process.Program(found.path, "node_tree", ["5"], twins=1) as p:
                note("%d damaged cores of %s" % (options.runs, found.version), run([os.path.join(build, "core_storm"), p.kernel_core(p.twins[0], 0x33), "--runs", str(options.runs)], folder))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
