#!/usr/bin/env python3
"""Every reference of every tracked object against the interpreter itself: the machine alone, and the product (pygc export).

usage: run.py [--quick] [--extensions] [--stdlib] [--post] [--live] [--keep DIR] [--shard NAME] [NAME...]

--stdlib       each interpreter found (NAME: only those whose label holds it) with the heap of stdlib_types.py
--extensions   each interpreter of scripts/extension-modules with the heap of extension_types.py, in the parts of SHARDS (--shard: only that one)
--quick        one interpreter, one part of the extensions. Without any of these: everything

A case starts truth.py, takes a core with gcore, and holds two answers against the truth, as multisets, object by object:
  machine   compare_traverse: the tp_traverse of every object in the machine, also of types that have a native reader
  product   pygc export: the references of every object, and what it calls unreachable (0 missed, 0 false)
and lets pygc verify --traverse hold its native readers against the machine (verified, different).
ns: processor time of the machine for one object, of all; interpreted: the share without a native reader, which the product asks the machine for, and its ns.
An object that is wrong without a label fails the case, and so does more than 1 labelled object in 100,000. Last line: N passed, N failed, N skipped.
Needs PYGC_BUILD (or build/) with bin/pygc and bin/compare_traverse. A skipped case says why; an interpreter that does not start is a failure."""
import argparse
import collections
import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "scripts", "lib"))
import extension_modules  # noqa: E402
import interpreters  # noqa: E402

BUILD = os.environ.get("PYGC_BUILD") or os.path.join(ROOT, "build")
TOOL = os.path.join(BUILD, "bin", "compare_traverse")
PYGC = os.path.join(BUILD, "bin", "pygc")
MAX_LABELLED = 1e-5  # share of objects that may carry a label instead of an exact answer

# Parts of the installed extension modules: a process for each, so that one that kills its process costs little. The first is the quick one.
SHARDS = collections.OrderedDict([
    ("numbers", r"numpy|numexpr|gmpy2|cvxopt|kiwisolver|contourpy|iminuit|lxml"),
    ("capitals", r"[A-Z_]"),
    ("a-b", r"[ab]"),
    ("c-f", r"[c-f]"),
    ("g-l", r"[g-l]"),
    ("m-o", r"m(?!ypy)|[no]"),
    ("mypy", r"mypy"),
    ("pandas", r"pandas|psycopg2"),
    ("p", r"p(?!andas|sycopg2)"),
    ("q-s", r"[qr]|s(?!cipy|klearn|tatsmodels)"),
    ("scipy", r"scipy"),
    ("sklearn", r"sklearn|statsmodels"),
    ("t-z", r"[t-z]"),
])

# Where a case stands: python, heap module, environment; live: gcore would write out what mimalloc has only reserved
Case = collections.namedtuple("Case", "label python module environment live")


class Died(Exception):
    """The interpreter under test ended before it was READY; `step` says at what."""

    def __init__(self, why, step):
        super().__init__(why)
        self.step = step


def end_all(child):
    """Ends the interpreter under test and what its modules started (resource trackers, pools)."""
    try:
        os.killpg(child.pid, signal.SIGKILL)  # it leads a session of its own
    except ProcessLookupError:
        pass
    child.wait()


def start(case, folder, post):
    truth = os.path.join(folder, "truth")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYENV_VERSION"))}
    environment.update(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1", HOME=folder, **case.environment)
    with open(os.path.join(folder, "stderr"), "wb") as stderr:
        child = subprocess.Popen([case.python, os.path.join(HERE, "truth.py"), truth, case.module] + (["post"] if post else []), stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=stderr, cwd=folder, env=environment, start_new_session=True)
    said, end = b"", time.time() + 600
    while time.time() < end and select.select([child.stdout], [], [], max(0, end - time.time()))[0]:
        chunk = os.read(child.stdout.fileno(), 65536)
        said += chunk
        ready = re.search(rb"READY (\d+)\n", said)
        if ready and os.path.exists(truth):
            return child, int(ready.group(1)), truth
        if not chunk:
            break
    end_all(child)
    step = os.path.join(folder, "truth.step")
    step = open(step).read() if os.path.exists(step) else None
    with open(os.path.join(folder, "stderr"), errors="replace") as f:
        raise Died("exit %s at %s: %s" % (child.returncode, step, " | ".join(f.read().strip().splitlines()[-2:])[-300:]), step)


def start_surviving(case, folder, post):
    """start(), once more without each step that killed the process."""
    skip = []
    while True:
        try:
            return start(case._replace(environment=dict(case.environment, PYGC_SKIP=",".join(skip))), folder, post)
        except Died as e:
            if not e.step or e.step in skip or e.step == "the truth" or len(skip) >= 12:
                raise
            skip.append(e.step)
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


def dump(pid, folder):
    run = subprocess.run(["gcore", "-o", os.path.join(folder, "core"), str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    core = os.path.join(folder, "core.%d" % pid)
    if not os.path.exists(core):
        raise RuntimeError("gcore: " + run.stdout.decode(errors="replace")[-200:])
    return core


def numbers(path):
    with open(path) as f:
        return {int(line) for line in f}


def machine(target, truth):
    """What compare_traverse says: (figures, lines to show, functions)."""
    run = subprocess.run([TOOL] + target + [truth, "--repeat", "5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=900)
    figures = dict(line.split(" ", 1) for line in run.stdout.splitlines() if re.match(r"[a-z-]+ [\d.]+$", line))
    if run.returncode not in (0, 1) or "run" not in figures:
        raise RuntimeError("compare_traverse: exit %d %s" % (run.returncode, run.stderr.strip()[-300:]))
    functions = {tuple(line.split()[1:3]) for line in run.stdout.splitlines() if line.startswith("FUNCTION")}
    return figures, [line for line in run.stdout.splitlines() if line.startswith(("WRONG", "NOT-EXACT"))], functions


def product(target, truth, folder):
    """What pygc export says: a dict of counts, and lines to show."""
    db = os.path.join(folder, "export.db")
    run = subprocess.run([PYGC] + target + ["export", "--format", "sqlite", "-o", db], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    if run.returncode not in (0, 1):
        raise RuntimeError("pygc export: exit %d %s" % (run.returncode, run.stdout.decode(errors="replace").strip()[-300:]))
    con = sqlite3.connect(db)
    rows = {a: (t, exact, label, state) for a, t, exact, label, state in con.execute(
        "select o.address, t.name, o.exact, o.label, o.state from objects o join types t on t.id = o.type_id where o.tracked")}
    have = collections.defaultdict(list)
    for src, dst in con.execute("select s.address, d.address from refs join objects s on s.id = refs.src join objects d on d.id = refs.dst where s.tracked"):
        have[src].append(dst)
    out, lines, by = collections.Counter(), [], collections.Counter()
    known = set()
    with open(truth) as f:
        for line in f:
            address, *want = map(int, line.split())
            known.add(address)
            out["objects"] += 1
            if address not in rows:
                out["missing"] += 1
                lines.append("MISSING %#x" % address)
                continue
            name, exact, label, _ = rows[address]
            same = sorted(have.get(address, ())) == sorted(want)
            if exact:
                out["exact" if same else "wrong"] += 1
                if not same:
                    lines.append("WRONG %#x %s: %d references, truth has %d" % (address, name, len(have.get(address, ())), len(want)))
            else:
                out["labelled"] += 1
                by[name, label, "same" if same else "differs"] += 1
    unreachable = numbers(truth + ".unreachable") & known
    said = {a for a, row in rows.items() if row[3] in ("unreachable", "uncollectable") and a in known}
    out["unreachable"] = len(unreachable)
    out["missed"], out["false"] = len(unreachable - said), len(said - unreachable)
    lines += ["MISSED %#x %s" % (a, rows[a][0]) for a in sorted(unreachable - said) if a in rows][:5]
    lines += ["FALSE %#x %s" % (a, rows[a][0]) for a in sorted(said - unreachable)][:5]
    lines += ["LABELLED %d %s: %s (%s)" % (n, name, label, same) for (name, label, same), n in by.most_common()]
    return out, lines


def verify(target):
    """What pygc verify --traverse says: (objects that both readers read, how many of them differently)."""
    run = subprocess.run([PYGC] + target + ["verify", "--traverse", "--format", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    if run.returncode not in (0, 1):
        raise RuntimeError("pygc verify: exit %d %s" % (run.returncode, run.stdout.decode(errors="replace").strip()[-300:]))
    result = json.loads(run.stdout.decode())["result"]["traverse"]
    return result["compared"], result["different"]


Row = collections.namedtuple("Row", "label objects modules functions machine_exact machine_labelled machine_wrong exact labelled wrong missing unreachable missed "
                                    "false verified different ns interpreted interpreted_ns")


def compare(case, options, totals):
    folder = tempfile.mkdtemp(prefix="pygc-traverse-", dir=options.keep)
    child = None
    try:
        child, pid, truth = start_surviving(case, folder, options.post)
        live = options.live or case.live
        target = ["-p", str(pid)] if live else ["-c", dump(pid, folder)]
        figures, lines, functions = machine(target if live else target[1:], truth)
        counts, more = product(target, truth, folder)
        modules = [m for m in open(truth + ".modules").read().splitlines()]
        totals["modules"].update(modules)
        totals["functions"].update(functions)
        exact = sum(int(figures.get("label-" + q, 0)) for q in ("exact", "exact-tls", "exact-wrote"))
        verified, different = verify(target)
        row = Row(case.label, counts["objects"], len(modules), len(functions), exact, int(figures["run"]) - exact, int(figures["wrong"]), counts["exact"],
                  counts["labelled"], counts["wrong"], counts["missing"], counts["unreachable"], counts["missed"], counts["false"], verified, different,
                  figures["ns-per-object-warm"], "%.1f %%" % (100.0 * int(figures["no-native-reader"]) / max(int(figures["run"]), 1)), figures["ns-per-object-without"])
        totals["rows"].append(row)
        print("| " + " | ".join(str(x) for x in row) + " |")
        notes = open(truth + ".notes").read().splitlines() if os.path.exists(truth + ".notes") else []
        for line in ["machine: " + x for x in lines] + ["product: " + x for x in more[:options.show]] + [
                "note: " + n for n in notes if options.verbose or n.startswith(("native-traverse-died", "step-died"))]:
            print("    " + line)
        sys.stdout.flush()
        bad = [name for name in ("machine_wrong", "wrong", "missing", "missed", "false", "different") if getattr(row, name)]
        if row.labelled > row.objects * MAX_LABELLED:
            bad.append("labelled")
        if row.machine_labelled > row.objects * MAX_LABELLED:
            bad.append("machine_labelled")
        if not row.verified:
            bad.append("verify --traverse compared nothing")
        if int(figures["run"]) < 0.9 * row.objects:
            bad.append("the machine ran on %s of %d objects only" % (figures["run"], row.objects))
        if bad:
            print("    FAILED: " + ", ".join(bad))
        return not bad
    finally:
        if child:
            end_all(child)
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def cases(options):
    """The cases, and what is skipped."""
    out, skipped = [], []
    every = not (options.stdlib or options.extensions or options.quick)
    if options.stdlib or every or options.quick:
        found = [i for i in interpreters.discover() if i.kind in ("default", "debug", "free-threaded")]
        if options.quick:
            found = [i for i in found if i.version.startswith("3.13") and i.kind != "free-threaded"][:1] or found[-1:]
        out += [Case("%s %s%s" % (i.version, i.source, "" if i.kind == "default" else " " + i.kind), i.path, "stdlib_types", {}, i.kind == "free-threaded") for i in found]
    if options.extensions or every or options.quick:
        found = extension_modules.discover()
        if not found:
            skipped.append("extension modules: none here (scripts/extension-modules install)")
        shards = list(SHARDS.items())[:1] if options.quick else [(n, r) for n, r in SHARDS.items() if not options.shard or n in options.shard]
        out += [Case("%s extensions %s" % (suite, name), path, "extension_types", {"PYGC_MODULES": pattern}, False)
                for suite, path in (found[:1] if options.quick else found) for name, pattern in shards]
    return [c for c in out if not options.names or any(n in c.label for n in options.names)], skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    for name in ("--quick", "--stdlib", "--extensions", "--post", "--live", "--verbose"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--keep")
    parser.add_argument("--show", type=int, default=20)
    parser.add_argument("--shard", action="append", choices=list(SHARDS))
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    totals = collections.OrderedDict()  # by heap module
    passed = failed = 0
    todo, skipped = cases(options)
    print("| " + " | ".join(name.replace("_", " ") for name in Row._fields) + " |\n" + "|---" * len(Row._fields) + "|", flush=True)
    for case in todo:
        try:
            ok = compare(case, options, totals.setdefault(case.module, {"modules": set(), "functions": set(), "rows": []}))
        except (RuntimeError, Died, subprocess.TimeoutExpired, OSError, sqlite3.Error) as e:
            print("    FAILED: %s: could not compare: %s" % (case.label, e), flush=True)
            ok = False
        passed, failed = passed + ok, failed + (not ok)
    for module, group in totals.items():
        total = lambda name: sum(getattr(r, name) for r in group["rows"])
        print("sum, %s: %d processes, %d extension modules, %d distinct tp_traverse functions, %d objects" % (
            module, len(group["rows"]), len(group["modules"]), len(group["functions"]), total("objects")))
        print("  machine: %d exact, %d labelled, %d wrong" % (total("machine_exact"), total("machine_labelled"), total("machine_wrong")))
        print("  product: %d exact (%.4f %%), %d labelled, %d wrong, %d missing; unreachable %d, %d missed, %d false" % (
            total("exact"), 100.0 * total("exact") / max(total("objects"), 1), total("labelled"), total("wrong"), total("missing"), total("unreachable"), total("missed"), total("false")))
        print("  verify --traverse: %d objects read both ways, %d different" % (total("verified"), total("different")))
    for why in skipped:
        print("skipped: " + why)
    print("%d passed, %d failed, %d skipped" % (passed, failed, len(skipped)))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
