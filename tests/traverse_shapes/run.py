#!/usr/bin/env python3
"""The compiler matrix: shapes.c with every compiler and flag set below, each function in the machine against itself on the processor.

usage: run.py [--tool PATH] [-v]      (tool: $PYGC_BUILD/bin/traverse_shapes or build/bin/traverse_shapes)

One row for each flag set. Exit 1 where an answer that calls itself exact is wrong, where a shape that has to be exact is refused under flags that do not
stand in REFUSALS, or where fewer than 20 flag sets could be tried."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

BOTH = ["-O0", "-O1", "-O2", "-O3", "-Os", "-Og", "-O2 -fcf-protection=full", "-O2 -fstack-protector-all", "-O0 -fstack-protector-all", "-O2 -fno-plt",
        "-O2 -fno-jump-tables", "-O2 -fomit-frame-pointer", "-O2 -fno-omit-frame-pointer -mno-red-zone", "-O3 -funroll-loops", "-O2 -flto",
        "-O2 -Wl,-z,now", "-O2 -D_FORTIFY_SOURCE=2 -fstack-clash-protection", "-O2 -ftls-model=initial-exec", "-O2 -fno-builtin",
        "-O3 -march=x86-64-v2", "-O2 -march=x86-64-v3", "-O3 -march=x86-64-v3", "-O0 -march=x86-64-v3", "-O2 -march=x86-64-v4", "-O3 -march=x86-64-v4",
        "-O3 -march=x86-64-v4 -mprefer-vector-width=512", "-O3 -mavx"]
GCC = ["-O2 -mindirect-branch=thunk -mfunction-return=thunk", "-O2 -mindirect-branch=thunk-inline", "-O1 -fsanitize=undefined -fsanitize-undefined-trap-on-error",
       "-O2 -mtls-dialect=gnu2", "-O3 -mstringop-strategy=rep_8byte", "-Os -minline-all-stringops", "-O2 -mcmodel=large"]
CLANG = ["-O2 -mretpoline", "-Oz", "-O1 -fsanitize=undefined -fsanitize-trap=undefined", "-O2 -mllvm -x86-speculative-load-hardening"]

# Flag sets under which some of the shapes may be refused (never wrong): what they use is not executed by the machine, and they say so.
REFUSALS = {"-O3 -march=x86-64-v4": "masked AVX-512 lanes", "-O3 -march=x86-64-v4 -mprefer-vector-width=512": "masked AVX-512 lanes",
            "-O2 -march=x86-64-v4": "masked AVX-512 lanes",
            "-O2 -mllvm -x86-speculative-load-hardening": "looks for its return address below the stack pointer after a call"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", default=os.path.join(os.environ.get("PYGC_BUILD") or os.path.join(ROOT, "build"), "bin", "traverse_shapes"))
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="pygc-shapes-")
    ok, tried, total_exact, total_refused = True, 0, 0, 0
    try:
        for compiler, sets in (("gcc", BOTH + GCC), ("clang", BOTH + CLANG)):
            if not shutil.which(compiler):
                print("%s: skipped, not installed" % compiler)
                continue
            for k, flags in enumerate(sets):
                library = os.path.join(folder, "%s-%d.so" % (compiler, k))
                built = subprocess.run([compiler, "-fPIC", "-shared", "-w", "-o", library, os.path.join(HERE, "shapes.c")] + flags.split(),
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
                if built.returncode != 0:
                    print("%-6s %-60s skipped: %s" % (compiler, flags, built.stdout.strip().splitlines()[-1][:100]))
                    continue
                run = subprocess.run([options.tool, library], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
                if run.returncode == -4 and "-m" in flags:
                    print("%-6s %-60s skipped: this processor cannot run it (signal %d)" % (compiler, flags, -run.returncode))
                    continue
                lines = run.stdout.splitlines()
                last = lines[-1].split() if lines else ["bad"]
                refused = [line for line in lines if line.startswith("REFUSED")]
                good = run.returncode == 0 and last[0] == "ok" and (not refused or flags in REFUSALS)
                tried += 1
                if len(last) >= 3:
                    total_exact += int(last[1])
                    total_refused += int(last[2])
                print("%-6s %-60s %s %s%s" % (compiler, flags, "ok " if good else "BAD", " ".join(last[1:3]), " (%d refused: %s)" % (len(refused), REFUSALS.get(flags, "not expected")) if refused else ""))
                if options.v or not good:
                    for line in lines[:-1]:
                        print("       " + line)
                ok = ok and good
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%d flag sets: %d runs exact, %d refused, %s" % (tried, total_exact, total_refused, "no wrong answer" if ok else "FAILED"))
    return 0 if ok and tried >= 20 else 1


if __name__ == "__main__":
    sys.exit(main())
