#!/usr/bin/env python3
"""LLDB's own dump of a process (minidump, full) is read inside LLDB like the process itself: the same `result`, and complete.

usage: minidump.py [--interpreter TEXT]...

Needs an LLDB that writes minidumps of x86-64 Linux processes with all memory (19 and 22 do; 14 does not): $PYGC_LLDB and a plugin built for it.
"""
import json
import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import lldb_host  # noqa: E402
import process  # noqa: E402

PROGRAM = "node_tree"


def asked(lines, out):
    ran = lldb_host.commands(lines + ["pygc leaks --format json -o " + out])
    if not os.path.exists(out):
        return None, "exit %s: %s" % (ran.code, (ran.out + ran.err).strip()[-300:])
    with open(out) as f:
        return json.load(f), None


def check(interpreter):
    program = process.Program(interpreter.path, PROGRAM)
    try:
        dump = os.path.join(program.folder, "process.dmp")
        live, why = asked(["process attach --pid %d" % program.pid, "process save-core --plugin-name=minidump --style=full " + dump],
                          os.path.join(program.folder, "live.json"))
        if live is None:
            return ["live: " + why]
        if not os.path.exists(dump):
            return ["LLDB wrote no minidump"]
        dumped, why = asked(["target create --core " + dump], os.path.join(program.folder, "dumped.json"))
        if dumped is None:
            return ["minidump: " + why]
        wrong = [] if dumped["complete"] else ["not complete: %s" % dumped["missing"]]
        if dumped["result"] != live["result"]:
            wrong.append("another result than that of the process")
        if dumped["result"]["unreachable"] != len(program.truth["unreachable"]):
            wrong.append("%d unreachable, not %d" % (dumped["result"]["unreachable"], len(program.truth["unreachable"])))
        return wrong
    finally:
        program.close()


def main():
    arguments, names = sys.argv[1:], []
    while arguments:
        if arguments[0] != "--interpreter" or len(arguments) < 2:
            print(__doc__)
            return 0 if arguments[0] in ("-h", "--help") else 2
        names.append(arguments[1])
        arguments = arguments[2:]
    if not lldb_host.versions():
        print("skipped: no lldb, or no plugin built\n0 passed, 0 failed, 1 skipped")
        return 0
    found = [i for i in interpreters.discover() if i.kind == "default" and (not names or any(i.version.startswith(n) for n in names))]
    failed = 0
    for i in found:
        try:
            wrong = check(i)
        except process.CannotTest as e:
            wrong = [str(e)]
        failed += bool(wrong)
        for w in wrong:
            print("FAILED %s: %s" % (i.version, w))
    print("%d passed, %d failed, 0 skipped" % (len(found) - failed, failed))
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
