#!/usr/bin/env python3
"""The same command on the same process gives the same bytes of `result` in every host, from a core and live: standalone, GDB, LLDB.

usage: hosts.py [--interpreter TEXT]... [--quick] [-v]

Every command of `pygc --help` that has JSON, and the drawings and exports, on one process for each of ten interpreters or more: stopped in a read, dumped by gcore,
then read standalone from the core and live, in GDB and in LLDB from the core and attached. --quick: one interpreter, standalone and GDB only.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc; $PYGC_LLDB names another lldb than the installed one. Last line: N passed, N failed, N skipped.
"""
import argparse
import json
import os
import re
import shutil
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import lldb_host  # noqa: E402
import process  # noqa: E402

LEAST = 10
NO_JSON = ("self-test", "report")   # looks at the machine; a page
GDB_FILE = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(process.PYGC))), "lib", "pygc_gdb.py")


def lines_of(commands, core, session, audited):
    """(name, words, suffix) of what is asked; each word list lacks its -o FILE."""
    known = {"show": session, "value": session, "referents": session, "referrers": session, "path": "app.Node", "diff": core,
             "sql": '"select t.name, count(*), sum(o.size) from objects o join types t on t.id = o.type_id group by 1 order by 1"',
             "expect": "--gone app.Session --max-count app.Node=2 --max-retained app.Cache=1K --max-unreachable 0 --no-finalizers-pending",
             "stacks": "--locals --show-values", "heap": "--waste --memory --limit 0"}
    rows = []
    for command in commands:
        if command in NO_JSON or (command == "sql" and not audited):
            continue
        if command == "export":
            rows += [("export jsonl", "export --format jsonl", "jsonl"), ("export heapsnapshot", "export --format heapsnapshot", "heapsnapshot")] if audited else []
            rows += [("export dot", "export --format dot app.Session", "dot")]
        elif command == "graph":
            rows.append(("graph", "graph app.Node", "dot"))
        else:
            rows.append((command, "%s --format json %s" % (command, known.get(command, "")), "json"))
    rows += [("leaks --limit 0", "leaks --format json --limit 0", "json"), ("path of an object", "path --format json " + session, "json"), ("verify --types", "verify --types --format json", "json"),
             ("report", "report", "html")]
    if audited:
        rows.append(("leaks --audit", "leaks --audit --format json", "json"))
    return rows


def standalone(target, lines, folder):
    script = os.path.join(folder, "script")
    with open(script, "w") as f:
        f.write("\n".join(lines) + "\n")
    return process.pygc(*(target + ["-x", script]), timeout=600)


def in_gdb(target, lines, _):
    command = ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off"] + target + ["-ex", "source " + GDB_FILE]
    for line in lines:
        command += ["-ex", "pygc " + line]
    return process.run(command, 600)


def in_lldb(target, lines, _):
    return lldb_host.session(target + ["pygc " + line for line in lines], 600)


def comparable(name, path):
    """The bytes that have to be the same."""
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        text = f.read()
    if path.endswith(".json"):
        document = json.loads(text)
        if name == "status":    # says how the memory was had; the interpreter and its collector are the same
            result = document["result"]
            return json.dumps([result.get("interpreters"), document["target"]["python"], document["target"]["build"]])
        if name == "diff":      # one of the two is told by its path and kind
            return re.sub(r'"(path|kind)":"[^"]*"', "", process.result_bytes(text))
        return process.result_bytes(text)
    if path.endswith(".jsonl"):     # the first line is the envelope
        return text.split("\n", 1)[1]
    if path.endswith(".html"):      # the name of the target, the time of day, how it was had
        body = text[text.index("<main"):] if "<main" in text else text
        body = body[:body.index('id="completeness"')] if 'id="completeness"' in body else body
        return re.sub(r"<header>.*?</header>|<h1[^>]*>.*?</h1>|<p class=\"target\">.*?</p>", "", body, flags=re.S)
    return text


def check(interpreter, quick, verbose):
    wrong = []
    commands = re.findall(r"^  ([a-z-]+) +\S", process.pygc("--help").out.split("Commands (")[1].split("\n\n")[0], re.M)
    with process.Program(interpreter.path, os.path.join(HERE, "pages_target.py")) as p:
        core = p.gcore()
        rows = lines_of(commands, core, p.truth["session"], "free-threaded" not in interpreter.kind)
        hosts = [("standalone, core", standalone, ["-c", core]), ("standalone, live", standalone, ["-p", str(p.pid)]), ("GDB, core", in_gdb, ["-c", core])]
        if not quick:
            hosts += [("GDB, live", in_gdb, ["-p", str(p.pid)])]
            if lldb_host.versions():
                hosts += [("LLDB, core", in_lldb, lldb_host.on_core(core)), ("LLDB, live", in_lldb, lldb_host.on_process(p.pid))]
        first = {}
        for host, start, target in hosts:
            folder = os.path.join(p.folder, re.sub(r"\W+", "-", host))
            os.mkdir(folder)
            files = [os.path.join(folder, "%d.%s" % (i, row[2])) for i, row in enumerate(rows)]
            ran = start(target, ["%s -o %s" % (row[1], f) for row, f in zip(rows, files)], folder)
            for row, path in zip(rows, files):
                if not os.path.exists(path):
                    wrong.append("%s: %s wrote nothing: %s" % (host, row[0], ran.tail()))
                    continue
                got = comparable(row[0], path)
                if not first.get(row[0]):
                    first[row[0]] = got
                elif got != first[row[0]]:
                    at = next((i for i, (a, b) in enumerate(zip(got, first[row[0]])) if a != b), min(len(got), len(first[row[0]])))
                    wrong.append("%s: %s differs from %s: %r, not %r" % (host, row[0], hosts[0][0], got[max(0, at - 60):at + 60], first[row[0]][max(0, at - 60):at + 60]))
            shutil.rmtree(folder, ignore_errors=True)
        if len(first) != len(rows):
            wrong.append("only %d of %d commands were compared" % (len(first), len(rows)))
        if verbose:
            print("    %d commands in %d hosts" % (len(rows), len(hosts)))
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interpreter", action="append", default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    wanted = options.interpreter or (["3.12"] if options.quick else [])
    found = [i for i in interpreters.discover() if not wanted or any(i.name.startswith(w) for w in wanted)]
    passed = failed = skipped = 0
    for interpreter in found:
        started = time.time()
        try:
            wrong = check(interpreter, options.quick, options.v)
        except process.CannotTest as e:
            skipped += 1
            print("SKIPPED  %s: %s" % (interpreter.name, e))
            continue
        failed += bool(wrong)
        passed += not wrong
        print("%s  %s  %.1f s" % ("FAILED " if wrong else "passed ", interpreter.name, time.time() - started))
        for line in wrong[:12]:
            print("    " + line[:400])
    if not wanted and passed + failed < LEAST:
        failed += 1
        print("FAILED   only %d processes, %d wanted" % (passed + failed - 1, LEAST))
    if not options.quick and not lldb_host.versions():
        skipped += 1
        print("SKIPPED  LLDB: none here, or no plugin built")
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
