#!/usr/bin/env python3
"""References of an extension type by their names: tp_members first, then what its C code calls them (DWARF), else their place.

usage: member_labels.py [-v] [--interpreter TEXT]...

For each release interpreter with a GIL that has its headers: member_labels/owner.c is built twice, with and without debug information, and the labels of the
export are compared with what the program says which object lies where: in the object, in a struct and an array of it, in nodes and an array that it owns.
Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

LABELS = {
    "owner_named": [".public_name", "hidden", "pair.left", "pair.right", "slots[0]", "slots[1]", "slots[2]", "first->value", "first->next->value",
                    "items[0]", "items[1]", "items[2]"],
    "owner_bare": [".public_name", "+0x18", "+0x20", "+0x28", "+0x30", "+0x38", "+0x40", "[+0x48]->+0x8", "[+0x48]->[+0x0]->+0x8",
                   "[+0x50]->+0x0", "[+0x50]->+0x8", "[+0x50]->+0x10"],
}
INCLUDE = "import sysconfig; print(sysconfig.get_paths()['include']); print(sysconfig.get_paths().get('platinclude', ''))"


def build(interpreter, folder):
    """Builds both modules; False where the interpreter has no headers here."""
    said = process.run([interpreter.path, "-c", INCLUDE])
    includes = [p for p in said.out.split() if os.path.isfile(os.path.join(p, "Python.h"))]
    if said.code or not includes:
        return False
    for module, flag in (("owner_named", "-g"), ("owner_bare", "-g0")):
        subprocess.run(["cc", "-O2", flag, "-w", "-shared", "-fPIC", "-DMODULE=" + module, "-I" + includes[0], "-o", os.path.join(folder, module + ".so"),
                        os.path.join(HERE, "member_labels", "owner.c")], check=True)
    return True


def check(target, truth, folder):
    database = os.path.join(folder, "heap.db")
    ran = process.pygc(*target, "export", "--format", "sqlite", "-o", database)
    if ran.code not in (0, 1) and not process.only_stacks_missing(ran):
        return ["export: exit %s: %s" % (ran.code, ran.tail())]
    wrong = []
    con = sqlite3.connect(database)
    for module, (owner, lists) in truth.items():
        rows = con.execute("select d.address, r.label from refs r join objects s on s.id = r.src join objects d on d.id = r.dst where s.address = ?", (owner,)).fetchall()
        have = {a: label for a, label in rows if a in lists}
        for address, label in zip(lists, LABELS[module]):
            if have.get(address) != label:
                wrong.append("%s: %r is labelled %r" % (module, label, have.get(address)))
    con.close()
    os.unlink(database)
    return wrong


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    options = p.parse_args()
    passed = failed = skipped = 0
    for i in interpreters.discover():
        if i.kind != "default" or (options.interpreter and not any(i.name.startswith(t) for t in options.interpreter)):
            continue
        folder = tempfile.mkdtemp(prefix="pygc-labels-")
        try:
            if not build(i, folder):
                skipped += 1
                print("skipped %s: no Python.h" % i.name)
                continue
            with process.Program(i.path, os.path.join(HERE, "member_labels", "program.py"), [folder]) as program:
                for way, target in (("live", ["-p", program.pid]), ("core", ["-c", program.gcore()])):
                    wrong = check(target, program.truth, folder)
                    failed += bool(wrong)
                    passed += not wrong
                    if wrong or options.verbose:
                        print("%s %s %s" % ("FAILED " if wrong else "ok     ", i.name, way))
                    for w in wrong:
                        print("        %s" % w)
        except (process.CannotTest, subprocess.CalledProcessError) as e:
            failed += 1
            print("FAILED  %s: could not be tested: %s" % (i.name, e))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
