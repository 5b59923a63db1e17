#!/usr/bin/env python3
"""libFuzzer on every fuzz entry, with its seed corpus, under ASan and UBSan.

usage: fuzz.py [--seconds N] [--build DIR] [-j N] [NAME...]     (NAME: run only these entries)

DIR (build/fuzz) is a build by clang with -DPYGC_FUZZ=ON -DPYGC_SANITIZE=address,undefined; it is configured and built where it is not there. Each entry runs N (60)
seconds on a copy of its corpus. Fails on a crash, a leak, a sanitizer's report, an input of more than 10 seconds, and less than 1,000 runs in a second of processor
time (which what runs beside it does not take). An input that fails is left in DIR/found: make it smaller, put it into tests/fuzz/corpus
with a test, then mend the cause. Last line: N passed, N failed, N skipped."""
import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# What costs more than the run itself: a stack for every allocation, a look for leaks after every run (there is one at the end), and, where an input reaches
# thousands of places, their frequencies.
SANITIZERS = {"UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1", "ASAN_OPTIONS": "abort_on_error=1:allocator_may_return_null=1:malloc_context_size=1:quarantine_size_mb=4"}
FASTER = ["-detect_leaks=0", "-entropic=0"]
LEAST = 1000   # runs in a second of processor time
MORE = {"layout": [os.path.join(ROOT, "core", "cpython", "layouts")]}   # beside tests/fuzz/corpus/NAME


def build(folder, jobs):
    if not os.path.exists(os.path.join(folder, "CMakeCache.txt")):
        subprocess.run(["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++",
                        "-DPYGC_FUZZ=ON", "-DPYGC_SANITIZE=address,undefined"], check=True, stdout=subprocess.DEVNULL)
    names = entries()
    subprocess.run(["cmake", "--build", folder, "-j", str(jobs), "--target"] + ["fuzz_" + n for n in names], check=True, stdout=subprocess.DEVNULL)


def entries():
    return sorted(re.sub(r"^fuzz_|\.cc$", "", os.path.basename(p)) for p in glob.glob(os.path.join(HERE, "fuzz_*.cc")))


def run(name, folder, seconds):
    """What is wrong, and what libFuzzer counted."""
    found = os.path.join(folder, "found", name)
    os.makedirs(found, exist_ok=True)
    corpus = tempfile.mkdtemp(prefix="pygc-fuzz-")
    seeds = [folder for folder in [os.path.join(HERE, "corpus", name)] + MORE.get(name, []) if os.path.isdir(folder)]
    dictionary = os.path.join(HERE, "dictionaries", name + ".dict")
    environment = dict(os.environ, **SANITIZERS)
    limit = seconds * 3 + 120
    command = [os.path.join(folder, "bin", "fuzz_" + name), "-max_total_time=%d" % seconds, "-timeout=10", "-rss_limit_mb=4096", "-max_len=65536",
               "-print_final_stats=1", "-artifact_prefix=" + found + "/"] + FASTER + (["-dict=" + dictionary] if os.path.exists(dictionary) else []) + [corpus] + seeds
    try:
        with tempfile.TemporaryFile() as out:
            began = time.monotonic()
            ran = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=corpus)
            end = threading.Timer(limit, ran.kill)
            end.start()
            _, status, used = os.wait4(ran.pid, 0)
            end.cancel()
            ran.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            said = out.read().decode(errors="replace")
        runs = int(dict(re.findall(r"^stat::(\w+):\s+(\d+)", said, re.M)).get("number_of_executed_units", 0))
        rate = int(runs / max(used.ru_utime + used.ru_stime, 1))
        wrong = "" if ran.returncode == 0 else "exit %d: %s" % (ran.returncode, " | ".join(said.strip().splitlines()[-12:])[:1500])
        if time.monotonic() - began >= limit:
            wrong = "no end after %d seconds" % limit
        return wrong or ("fewer than %d" % LEAST if rate < LEAST else ""), runs, rate, int(runs / max(time.monotonic() - began, 1)), len(os.listdir(corpus))
    finally:
        shutil.rmtree(corpus, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--build", default=os.path.join(os.environ.get("PYGC_BUILD") or os.path.join(ROOT, "build"), "fuzz"))
    parser.add_argument("-j", type=int, default=os.cpu_count())
    parser.add_argument("name", nargs="*")
    options = parser.parse_args()
    if not shutil.which("clang++"):
        print("skipped: no clang++ here\n0 passed, 0 failed, 1 skipped")
        return 0
    build(options.build, options.j)
    passed = failed = 0
    names = options.name or entries()
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        for name, (wrong, runs, rate, by_clock, kept) in zip(names, pool.map(lambda n: run(n, options.build, options.seconds), names)):
            passed, failed = passed + (not wrong), failed + bool(wrong)
            print("%s %s: %d runs, %d in a second of processor time (%d by the clock), %d inputs kept%s" % (
                "FAILED " if wrong else "ok     ", name, runs, rate, by_clock, kept, "\n        " + wrong if wrong else ""), flush=True)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
