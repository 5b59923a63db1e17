#!/usr/bin/env python3
"""Stripped copies of real interpreters: what symbols do not say, exported accessors run in the machine do.

usage: stripped.py [-v] [--interpreter TEXT]...

For each release interpreter with a GIL before 3.13 (later ones have _Py_DebugOffsets): its executable and libpython are copied and stripped by
`strip -s` and by `eu-strip`; static executables also lose the name _PyRuntime of their dynamic symbols ("hidden"). The copy runs the fixture
`combined` (2.7 and 3.6 also `negative`); `leaks` and the export must say what the interpreter says, and `status` how the statics were found.
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
import compare  # noqa: E402
import interpreters  # noqa: E402
import process  # noqa: E402

FILES = r"""
import os, sys
print(os.path.realpath("/proc/self/exe"))
print(sys.prefix)
print(os.environ.get("LD_LIBRARY_PATH", ""))
for line in open("/proc/self/maps"):
    if "libpython" in line:
        print(line.split()[-1])
        break
"""
UNTIL = 0x030D0000


def strip(path, tool):
    command = {"strip": ["strip", "-s", path], "eu-strip": ["eu-strip", path], "hidden": ["strip", "-s", path]}[tool]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if tool == "hidden":
        # A static executable refers to its own data without names, so a name of .dynstr can be made another one.
        with open(path, "r+b") as f:
            data = f.read()
            at = data.find(b"\0_PyRuntime\0")
            if at < 0:
                return False
            f.seek(at + 1)
            f.write(b"_QyRuntime")
    sections = subprocess.run(["readelf", "-SW", path], check=True, stdout=subprocess.PIPE).stdout
    return b" .symtab " not in sections


class Copy:
    """A stripped copy of an interpreter in a folder of its own."""

    def __init__(self, interpreter, tool):
        said = process.run([interpreter.path, "-c", FILES])
        lines = said.out.splitlines()
        if said.code or len(lines) < 3:
            raise process.CannotTest("cannot ask %s for its files: %s" % (interpreter.path, said.tail()))
        executable, prefix, libraries = lines[:3]
        self.folder = tempfile.mkdtemp(prefix="pygc-stripped-")
        self.path = os.path.join(self.folder, os.path.basename(executable))
        shutil.copy2(executable, self.path)
        self.env = {"PYTHONHOME": prefix, "LD_LIBRARY_PATH": ":".join(p for p in (self.folder, libraries) if p)}
        parts = [self.path]
        if len(lines) > 3:
            parts.append(os.path.join(self.folder, os.path.basename(lines[3])))
            shutil.copy2(os.path.realpath(lines[3]), parts[1])
        # What has the interpreter in it: without libpython the executable.
        self.changed = [strip(p, tool) for p in parts][-1]
        # Old releases find their library by the executable's place.
        self.env["PYTHONPATH"] = ""

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def check(copy, program, early):
    """What is wrong, and how the statics were found."""
    wrong = []
    with process.Program(copy.path, program, env=copy.env) as running:
        target = ["-c", running.gcore()]
        ran = process.pygc(*target, "status", "--format", "json")
        if ran.code != 0:
            return ["status: exit %s: %s" % (ran.code, ran.tail())], []
        status = json.loads(ran.out)
        explanation = status["target"]["explanation"]
        how = [line for line in explanation if "accessor" in line or "structure" in line]
        wrong += compare.check_status(status, running.truth)
        wrong += [line for line in explanation if "not known" in line]
        if early and not any("accessor" in line for line in explanation):
            wrong.append("no accessor was run: %s" % explanation)
        ran = process.pygc(*target, "leaks", "--format", "json")
        if ran.code not in (0, 1):
            wrong.append("leaks: exit %s: %s" % (ran.code, ran.tail()))
        else:
            wrong += compare.check_leaks(json.loads(ran.out), ran.code, running.truth)
        database = os.path.join(running.folder, "heap.db")
        ran = process.pygc(*target, "export", "--format", "sqlite", "-o", database)
        if ran.code not in (0, 1):
            wrong.append("export: exit %s: %s" % (ran.code, ran.tail()))
        else:
            wrong += compare.compare(database, running.truth)[0]
    return wrong, how


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("--interpreter", action="append", default=[], metavar="TEXT")
    options = p.parse_args()
    passed = failed = skipped = 0
    for i in interpreters.discover():
        if i.kind != "default" or i.hexversion >= UNTIL or (options.interpreter and not any(i.name.startswith(t) for t in options.interpreter)):
            continue
        for tool in ("strip", "eu-strip", "hidden"):
            early = i.hexversion < 0x03070000
            if tool == "hidden" and (i.shared or early):
                continue    # a shared library needs its names; before 3.7 there is no _PyRuntime, and what strip -s leaves is all there is
            if tool == "eu-strip" and shutil.which(tool) is None:
                skipped += 1
                print("skipped %s %s: not installed (apt-get install elfutils)" % (i.name, tool))
                continue
            for program in ["combined"] + (["negative"] if early else []):
                name = "%s %s %s" % (i.name, tool, program)
                copy = None
                try:
                    copy = Copy(i, tool)
                    wrong, how = check(copy, program, early or tool == "hidden")
                    if not copy.changed:
                        wrong.append("the copy could not be stripped")
                except (process.CannotTest, subprocess.CalledProcessError) as e:
                    if tool == "hidden" and "undefined symbol: _PyRuntime" in str(e):
                        skipped += 1
                        print("skipped %s: an extension module of this build needs the name that was taken away" % name)
                        continue
                    wrong, how = ["could not be tested: %s" % e], []
                finally:
                    if copy:
                        copy.close()
                failed += bool(wrong)
                passed += not wrong
                if wrong or options.verbose:
                    print("%s %s%s" % ("FAILED " if wrong else "ok     ", name, "  " + "; ".join(how) if how else ""))
                for w in wrong[:8]:
                    print("        %s" % w)
                sys.stdout.flush()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
