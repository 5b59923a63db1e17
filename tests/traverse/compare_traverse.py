#!/usr/bin/env python3
"""Machine against interpreter: the referents that the machine finds by running tp_traverse must be those of gc.get_referents, in its order.

usage: compare_traverse.py [--tool PATH] [--module NAME] [--post] [--live] [--keep DIR] [--extra PYTHON]... [NAME...]

For each interpreter found (NAME: only those whose label holds it) starts truth.py with the heap of MODULE (default stdlib_types), takes a core with gcore,
and runs the tool (default $PYGC_BUILD/bin/compare_traverse or build/bin/compare_traverse). One row for each; exit 1 where an answer that calls itself
exact is wrong, or where nothing could be compared."""
import argparse
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "scripts", "lib"))
import interpreters  # noqa: E402


def start(python, folder, module, post):
    truth = os.path.join(folder, "truth")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYENV_VERSION"))}
    environment.update(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
    stderr = open(os.path.join(folder, "stderr"), "wb")
    child = subprocess.Popen([python, os.path.join(HERE, "truth.py"), truth, module] + (["post"] if post else []), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=stderr, cwd=folder, env=environment)
    said, end = b"", time.time() + 600
    while time.time() < end and select.select([child.stdout], [], [], max(0, end - time.time()))[0]:
        chunk = os.read(child.stdout.fileno(), 65536)
        said += chunk
        ready = re.search(rb"READY (\d+)\n", said)
        if ready and os.path.exists(truth):
            return child, int(ready.group(1)), truth
        if not chunk:
            break
    child.kill()
    child.wait()
    with open(os.path.join(folder, "stderr"), errors="replace") as f:
        raise RuntimeError("did not reach READY: " + " | ".join(f.read().strip().splitlines()[-3:]))


def compare(label, python, options):
    folder = tempfile.mkdtemp(prefix="pygc-traverse-", dir=options.keep)
    child = None
    try:
        child, pid, truth = start(python, folder, options.module, options.post)
        if options.live:
            what = ["-p", str(pid)]
        else:
            run = subprocess.run(["gcore", "-o", os.path.join(folder, "core"), str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            core = os.path.join(folder, "core.%d" % pid)
            if not os.path.exists(core):
                raise RuntimeError("gcore: " + run.stdout.decode(errors="replace")[-200:])
            what = [core]
        run = subprocess.run([options.tool] + what + [truth], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=900)
        figures = dict(line.split(" ", 1) for line in run.stdout.splitlines() if re.match(r"[a-z-]+ [\d.]+$", line))
        if run.returncode not in (0, 1) or "run" not in figures:
            raise RuntimeError("tool: exit %d %s" % (run.returncode, run.stderr.strip()[-300:]))
        exact = sum(int(figures.get("label-" + q, 0)) for q in ("exact", "exact-tls", "exact-wrote"))
        print("| %s | %s | %s | %d | %s | %s | %d | %s | %s | %s |" % (
            label, figures["objects"], figures["same-sequence"], exact, figures["functions"], figures["wrong"], int(figures["run"]) - exact,
            figures["hidden-by-is-gc"], figures["steps-per-object"], figures["ns-per-object-warm"]))
        for line in run.stdout.splitlines():
            if line.startswith(("WRONG", "NOT-EXACT")):
                print("    " + line)
        sys.stdout.flush()
        return int(figures["wrong"]) == 0
    finally:
        if child:
            child.kill()
            child.wait()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", default=os.path.join(os.environ.get("PYGC_BUILD") or os.path.join(ROOT, "build"), "bin", "compare_traverse"))
    parser.add_argument("--module", default="stdlib_types")
    parser.add_argument("--post", action="store_true")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--keep")
    parser.add_argument("--extra", action="append", default=[])
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    rows = [("%s %s" % (i.version, i.source), i.path, i.kind) for i in interpreters.discover()]
    rows = [(label, path) for label, path, kind in rows if kind == "default"] + [(p, p) for p in options.extra]
    rows = [r for r in rows if not options.names or any(n in r[0] for n in options.names)]
    print("| interpreter | objects | same sequence | exact | functions | wrong | labelled not exact | hidden by tp_is_gc | insn/object | ns/object |\n" + "|---" * 10 + "|")
    ok, done = True, 0
    for label, path in rows:
        try:
            ok = compare(label, path, options) and ok
            done += 1
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            print("| %s | skipped: %s |" % (label, e))
    return 0 if ok and done else 1


if __name__ == "__main__":
    sys.exit(main())
