#!/usr/bin/env python3
"""Compare dump_referents with what the interpreters themselves say: referents in order and number, type names, sizes.

usage: compare_referents.py --dump BUILD/bin/dump_referents [--live] [PROGRAM.py] [--python PATH ...]

Without --python: every interpreter of pyenv ($PYENV_ROOT, ~/.pyenv) and of scripts/interpreters. PROGRAM: tests/tools/every_type.py, or a fixture.
Prints one line an interpreter and, under it, what differs by type. Exit 1 when an object that is called exact differs.
"""
import argparse
import collections
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FIXTURES = os.path.join(ROOT, "fixtures", "programs")


def interpreters():
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    cache = os.environ.get("PYGC_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pygc", "interpreters")
    found = glob.glob(os.path.join(pyenv, "versions", "*", "bin", "python")) + glob.glob(os.path.join(cache, "bin", "python*"))
    return sorted(p for p in found if "-dbg" not in p)


def run(python, program, dump, live, verbose):
    tmp = tempfile.mkdtemp(prefix="compare")
    truth_file = os.path.join(tmp, "truth.json")
    env = dict(os.environ, PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=FIXTURES)
    env.pop("PYENV_VERSION", None)
    p = subprocess.Popen([python, program, truth_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=tmp)
    try:
        ready = None
        for line in p.stdout:
            if line.startswith(b"READY"):
                ready = line
                break
        if not ready:
            return "did not reach READY", 1
        pid = ready.split()[1].decode()
        truth = json.load(open(truth_file))
        if live:
            target = ["-p", pid]
        else:
            subprocess.run(["gcore", "-o", os.path.join(tmp, "core"), pid], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            target = [os.path.join(tmp, "core." + pid)]
        out = subprocess.run([dump] + target + ["--labels"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if out.returncode:
            return "dump failed: %d %s" % (out.returncode, out.stderr.decode()[-300:]), 1
        ours = {}
        for line in out.stdout.splitlines():
            o = json.loads(line)
            ours[o["a"]] = o
        return compare(truth, ours, out.stderr.decode(), verbose)
    finally:
        p.kill()
        p.wait()
        shutil.rmtree(tmp, ignore_errors=True)


def compare(truth, ours, said, verbose):
    tracked = {int(k): v for k, v in truth["tracked"].items()}
    refs = {int(k): v for k, v in truth["refs"].items()}
    sizes = {int(k): v for k, v in truth["sizes"].items()}
    own = set(truth.get("own", []))
    count = collections.Counter()
    wrong, order, approx, wrong_size, no_size, names, inexact = (collections.Counter() for _ in range(7))
    first = {}
    for a, name in tracked.items():
        o = ours.get(a)
        if o is None:
            count["missing"] += 1
            continue
        count["objects"] += 1
        if o["t"] != name:
            names["%s for %s" % (o["t"], name)] += 1
        if o.get("labels_differ"):
            wrong["labels of " + name] += 1
        exact = o.get("q", "").startswith("exact")
        if exact:
            count["exact"] += 1
        else:
            inexact["%s (%s)" % (name, o.get("q"))] += 1
        got, want = [r for r in o.get("r", []) if r not in own], [r for r in refs[a] if r not in own]
        if got != want:
            if sorted(got) != sorted(want):
                if exact:
                    wrong[name] += 1
                    first.setdefault(name, (hex(a), [hex(r) for r in want if got.count(r) != want.count(r)],
                                            [hex(r) for r in got if got.count(r) != want.count(r)], o.get("l")))
                else:
                    approx[name] += 1
            else:
                order[name] += 1
                first.setdefault(name, (hex(a), [want.index(r) for r in got], o.get("l")))
        if a in sizes:
            if o.get("s") is None:
                no_size[name] += 1
            elif o["s"] != sizes[a]:
                wrong_size[name] += 1
                first.setdefault("size of " + name, (hex(a), o["s"], sizes[a]))
    lines = ["%d objects, %d missing, %d exact" % (count["objects"], count["missing"], count["exact"])]
    for title, c in (("WRONG", wrong), ("order", order), ("name", names), ("SIZE", wrong_size), ("no size", no_size), ("labelled and different", approx),
                     ("not exact", inexact)):
        if c:
            lines.append("   %s: %s" % (title, ", ".join("%s %d" % x for x in c.most_common(12))))
    if verbose:
        for name, what in list(first.items())[:12]:
            lines.append("      %s: %s" % (name, str(what)[:600]))
        lines += ["      " + s for s in said.splitlines()[:40]]
    return "\n".join(lines), 1 if wrong or names or wrong_size else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default=os.path.join(HERE, "every_type.py"))
    parser.add_argument("--dump", required=True)
    parser.add_argument("--python", action="append")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    a = parser.parse_args()
    bad = 0
    for python in a.python or interpreters():
        text, failed = run(python, os.path.abspath(a.program), a.dump, a.live, a.verbose)
        bad |= failed
        print("%s: %s" % (python, text), flush=True)
    sys.exit(bad)


if __name__ == "__main__":
    main()
