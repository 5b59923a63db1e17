#!/usr/bin/env python3
"""tp_traverse functions that loop, recurse, fault, visit nonsense, lie in data or in anonymous memory: each stops with its reason, the walk goes on.

usage: bad_traverse.py [-v] [--interpreter TEXT]...

For each interpreter with a GIL, live and from a core: `status` lists each type with its reason and the module that the code is in, `leaks` finds every plain cycle beside them,
`verify --traverse` compares the rest, nothing hangs or crashes. Code in anonymous memory is refused, and run with --trust-anon-code.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

EXACT = "exact"
UNTRUSTED = "untrusted-code"
# Type: the code of its reason; a label of its objects where that is worth saying.
EXPECTED = {
    "right": (EXACT, EXACT),
    "right_after_private": (EXACT, EXACT),
    "loops": ("step-limit", "approximate"),
    "visits_for_ever": ("step-limit", "approximate"),
    "recurses": ("depth-limit", "approximate"),
    "visits_small_number": ("bad-referent", None),
    "visits_misaligned": ("bad-referent", None),
    "visits_no_object": ("bad-referent", None),
    "visits_first_then_faults": ("unmapped-read", "partial"),
    "faults": ("unmapped-read", "approximate"),
    "calls_wild_pointer": ("no-code", "approximate"),
    "traps": ("trap", "approximate"),
    "divides_by_zero": ("divide-error", "approximate"),
    "says_no": ("non-zero-result", "partial"),
    "passes_another_argument": ("visit-argument", None),
    "aborts": ("stop-function", "approximate"),
    "writes_text": ("read-only-write", "approximate"),
    "writable_data": (UNTRUSTED, "approximate"),
    "code_in_rodata": (UNTRUSTED, "approximate"),
    "anonymous": (UNTRUSTED, "approximate"),
    "anonymous_writable": (UNTRUSTED, "approximate"),
    "in_the_heap": (UNTRUSTED, "approximate"),
    "nowhere": ("no-code", "approximate"),
}
TRUSTED = {"anonymous": (EXACT, EXACT), "anonymous_writable": (EXACT, EXACT)}
NO_FILE = ("anonymous", "anonymous_writable", "in_the_heap", "nowhere")
SECONDS = 60  # of one command, on a busy machine


def build(folder):
    library = os.path.join(folder, "functions.so")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise process.CannotTest("no C compiler")
    subprocess.run([compiler, "-O1", "-fno-optimize-sibling-calls", "-w", "-shared", "-fPIC", "-o", library, os.path.join(HERE, "bad_traverse", "functions.c")],
                   check=True)
    return library


def check_types(report, truth, expected):
    """What is wrong with the list of types that are not exact."""
    wrong = []
    listed = {}
    for t in report["result"]["approximate_types"]:
        listed.setdefault(t["type"].rpartition(".")[2], []).append(t)
    for name in truth["kinds"]:
        code, label = expected[name]
        rows = listed.get(name, [])
        if code == EXACT:
            if rows:
                wrong.append("%s is not exact: %s" % (name, rows))
            continue
        if sum(r["objects"] for r in rows) != truth["each"]:
            wrong.append("%s: %d of %d objects listed as not exact" % (name, sum(r["objects"] for r in rows), truth["each"]))
            continue
        for r in rows:
            if r["code"] != code:
                wrong.append("%s: reason %s (%s), expected %s" % (name, r["code"], r["reason"], code))
            if name not in NO_FILE and not r["module"].endswith("/functions.so"):
                wrong.append("%s: module %r" % (name, r["module"]))
            if label and r["quality"] != label:
                wrong.append("%s: label %s, expected %s" % (name, r["quality"], label))
    labels = report["result"]["labels"]
    if sum(labels.values()) != report["result"]["tracked"]:
        wrong.append("labels %s do not add up to %d tracked objects" % (labels, report["result"]["tracked"]))
    return wrong


def run(command, codes, wrong):
    ran = process.pygc(*command, timeout=SECONDS)
    if ran.code not in codes:
        wrong.append("%s: exit %s: %s" % (command[-3:], ran.code, ran.tail()))
        return None
    return json.loads(ran.out)


def check_target(target, truth):
    wrong = []
    for flags, expected in (([], EXPECTED), (["--trust-anon-code"], dict(EXPECTED, **TRUSTED))):
        status = run(target + flags + ["status", "--format", "json", "--limit", "0"], (0,), wrong)
        if status:
            wrong += ["%s%s" % ("".join(f + ": " for f in flags), w) for w in check_types(status, truth, expected)]
    text = process.pygc(*target, "status", "--limit", "0", timeout=SECONDS)
    for name, (code, _) in EXPECTED.items():
        lines = [l for l in text.out.splitlines() if ("." + name + " ") in l]
        if name in truth["kinds"] and bool(lines) != (code != EXACT):
            wrong.append("status, text: %s: %s" % (name, lines))
        for l in lines:
            if "its tp_traverse" not in l or (name not in NO_FILE and "(functions.so)" not in l):
                wrong.append("status, text, without a reason or a module: %s" % l)
    leaks = run(target + ["leaks", "--format", "json", "--limit", "0", "--fail-on", "pending"], (1,), wrong)
    if leaks:
        plain = sum(g["objects"] for g in leaks["result"]["groups"] if any(m["type"].endswith("Plain") for m in g["members"]))
        if plain < truth["plain"]:
            wrong.append("leaks finds %d of %d plain objects in cycles" % (plain, truth["plain"]))
        totals = dict((k, leaks["result"][k]) for k in ("certainty", "unreachable", "unreachable_upper"))
        upper = totals["unreachable_upper"]  # None, no bound: some tp_traverse was not followed to its end
        if totals["certainty"] == "exact" or (leaks["complete"] if upper is None else upper < truth["plain"] + 2 * truth["borrowed"]):
            wrong.append("leaks does not say that what guessed references alone keep may be garbage: %s" % totals)
    # What only a guess leads to is in use for nobody.
    called = run(target + ["sql", "select count(*) from objects o join types t on t.id = o.type_id where t.name like '%Borrowed' and o.state is not null", "--format", "json"], (0, 1, 3), wrong)
    if called and called["result"]["rows"] != [[0]]:
        wrong.append("state of objects that only guessed references lead to: %s" % called["result"]["rows"])
    # Which commands follow guessed references is said where there are such.
    query = "select count(*) from objects where exact = 0"
    for words, said in ((["heap"], "counted here, and not by sql and export"), (["dominators"], "counted here, and not by sql and export"), (["sql", query], "not among the objects here"), (["leaks"], None)):
        report = run(target + words + ["--format", "json"], (0, 1, 3), wrong)
        warnings = [w for w in (report or {}).get("warnings", []) if "are guessed" in w]
        if [said in w for w in warnings] != [True] if said else warnings:
            wrong.append("%s: warnings: %s" % (words[0], warnings))
    csv = process.pygc(*target, "sql", query, "--format", "csv", timeout=SECONDS)
    if "not among the objects here" not in csv.err or csv.out.count("\n") != 2:
        wrong.append("sql --format csv says nothing of guessed references: %s" % csv.tail())
    verify = run(target + ["verify", "--traverse", "--format", "json"], (0, 3), wrong)
    if verify:
        t = verify["result"]["traverse"]
        if t["different"] or not t["compared"]:
            wrong.append("verify --traverse: %d compared, %d different: %s" % (t["compared"], t["different"], t["differences"][:2]))
    return wrong


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    options = p.parse_args()
    passed = failed = skipped = 0
    folder = tempfile.mkdtemp(prefix="pygc-bad-traverse-")
    try:
        library = build(folder)
        for i in interpreters.discover():
            if i.kind != "default" or (options.interpreter and not any(i.name.startswith(t) for t in options.interpreter)):
                continue
            try:
                with process.Program(i.path, os.path.join(HERE, "bad_traverse", "program.py"), [library]) as program:
                    ways = [("live", ["-p", program.pid]), ("core", ["-c", program.gcore()])]
                    for way, target in ways:
                        wrong = check_target(target, program.truth)
                        failed += bool(wrong)
                        passed += not wrong
                        if wrong or options.verbose:
                            print("%s %s %s" % ("FAILED " if wrong else "ok     ", i.name, way))
                        for w in wrong:
                            print("        %s" % w)
            except process.CannotTest as e:
                if "No module named" in str(e) and "ctypes" in str(e):
                    skipped += 1
                    print("skipped %s: no ctypes: %s" % (i.name, e))
                else:
                    failed += 1
                    print("FAILED  %s: could not be tested: %s" % (i.name, e))
            sys.stdout.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
