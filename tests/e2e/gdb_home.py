#!/usr/bin/env python3
"""GDB's own ways: help, completion of commands, options, values, files and types, loading at GDB's start, a GDB without Python, a library of another version.

usage: gdb_home.py [-v]

Uses $PYGC_BUILD (or build/). A GDB without Python is Debian's gdb-minimal, unpacked by apt-get into a temporary folder; without it that one is skipped.
Last line: N passed, N failed, N skipped.
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import process  # noqa: E402

BUILD = os.environ.get("PYGC_BUILD") or os.path.join(process.ROOT, "build")
GDB_FILE = os.path.join(BUILD, "lib", "pygc_gdb.py")
START = ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set pagination off"]
OTHER_LIBRARY = """
const char *pygc_version(void) { return "0.0.7"; }
int pygc_abi(void) { return 1; }
void pygc_command(void) {} void pygc_open(void) {} void pygc_close(void) {} void pygc_is_usable(void) {}
"""


class Wrong(Exception):
    pass


def check(good, what):
    if not good:
        raise Wrong(what)


def gdb(*lines, target=(), source=GDB_FILE, program=None, env=None):
    command = [program] + START[1:] if program else list(START)
    command += list(target) + (["-ex", "source " + source] if source else [])
    for line in lines:
        command += ["-ex", line]
    ran = process.run(command + ["-ex", "echo ALIVE\\n"], 120, env=env)
    check("ALIVE" in ran.out, "GDB did not survive: " + ran.tail())
    return ran.out.replace("ALIVE\n", ""), ran.err


def completed(line, **more):
    return gdb("complete " + line, **more)[0].split("\n")[:-1]


def help_texts(_):
    """`help pygc` lists every command; `help pygc NAME` is what --help prints of it"""
    listed = gdb("help pygc")[0]
    whole = process.pygc("--help").out
    commands = [line.split()[0] for line in whole.split("Commands (")[1].split("\n\n")[0].split("\n")[1:]]
    check(len(commands) > 20, "commands: %s" % commands)
    for command in commands + ["why"]:
        check("pygc %s --" % command in listed, "help pygc does not list %s: %s" % (command, listed[-300:]))
    texts = gdb(*["help pygc " + c for c in commands])[0]
    for command in commands:
        check("usage: pygc %s " % command in texts and "Examples:" in texts, "help pygc " + command)
    check("wait for the collector" not in gdb("help pygc status")[0], "each command has its own help")


def apropos(_):
    check("pygc leaks" in gdb("apropos waits for the collector")[0], "apropos")


def words(_):
    """commands, options, what options take"""
    for line, wanted in (("pygc le", ["pygc leaks"]), ("pygc st", ["pygc stacks", "pygc status"]), ("pygc leaks --fo", ["pygc leaks --format"]),
                         ("pygc leaks --limit 3 --fail-on ", ["pygc leaks --limit 3 --fail-on " + w for w in ("definite", "never", "pending")]),
                         ("pygc heap --by m", ["pygc heap --by module"]), ("pygc export --format h", ["pygc export --format heapsnapshot"]),
                         ("pygc status --gone", []), ("pygc why --excl", ["pygc why --exclude"])):
        check(completed(line) == wanted, "%s: %s" % (line, completed(line)))
    every = completed("pygc leaks --")
    check({"pygc leaks --audit", "pygc leaks --baseline", "pygc leaks --type"} <= set(every) and "pygc leaks --core" not in every, "options: %s" % every)


def files(folder):
    open(os.path.join(folder, "known.json"), "w").close()
    found = completed("pygc leaks --baseline %s/kn" % folder)
    check(any("known.json" in f for f in found), "files: %s" % found)


def types(_):
    """names of types, of a process and of a core; without a target none, and no error"""
    with process.Program(sys.executable, os.path.join(HERE, "pages_target.py")) as p:
        core = p.gcore()
        for target in (("-p", str(p.pid)), ("-c", core)):
            for line, wanted in (("pygc path app.", ["pygc path app.Cache", "pygc path app.Node", "pygc path app.Session"]),
                                 ("pygc leaks --type app.N", ["pygc leaks --type app.Node"]), ("pygc expect --gone app.S", ["pygc expect --gone app.Session"])):
                found = [l for l in completed(line, target=target) if l.startswith("pygc ")]
                check(found == wanted, "%s %s: %s" % (target[0], line, found))
    check(completed("pygc path app.") == [], "without a target")


def at_start(folder):
    """the file of gdbinit.d finds the library of its system, says so where that is broken, and can be left out"""
    place = os.path.join(folder, "etc", "gdb", "gdbinit.d")
    lib = os.path.join(folder, "usr", "lib", "pygc")
    os.makedirs(place)
    os.makedirs(lib)
    script = shutil.copy(os.path.join(process.ROOT, "plugin", "gdb", "gdbinit.py"), os.path.join(place, "pygc.py"))
    for name in ("libpygc.so", "pygc_gdb.py"):
        shutil.copy(os.path.join(BUILD, "lib", name), lib)
    environment = dict(os.environ, PYGC_WORKER=process.PYGC)
    check("usage: pygc leaks" in gdb("help pygc leaks", source=script, env=environment)[0], "not loaded")
    out, _ = gdb("help pygc leaks", source=script, env=dict(environment, PYGC_NO_AUTOLOAD="1"))
    check("usage" not in out, "loaded in spite of PYGC_NO_AUTOLOAD")
    os.remove(os.path.join(lib, "libpygc.so"))
    out, err = gdb("echo on\\n", source=script, env=environment)
    check("on" in out and "cannot load" in out + err, "a missing library: %r %r" % (out, err))
    os.remove(os.path.join(lib, "pygc_gdb.py"))
    if not os.path.exists("/usr/lib/pygc/pygc_gdb.py"):
        out, err = gdb("echo on\\n", source=script, env=environment)
        check(out.strip() == "on" and not err.strip(), "nothing installed: %r %r" % (out, err))


def other_library(folder):
    """a library of another version beside the file: one line with both names, and GDB lives"""
    shutil.copy(GDB_FILE, folder)
    with open(os.path.join(folder, "other.c"), "w") as f:
        f.write(OTHER_LIBRARY)
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise process.CannotTest("no C compiler")
    for flags, wanted in (([], "is pygc 0.0.7 and has no"), (["-Dpygc_abi=pygc_none"], "has no pygc_abi")):
        made = process.run([compiler, "-shared", "-fPIC", "-w"] + flags + ["-o", os.path.join(folder, "libpygc.so"), os.path.join(folder, "other.c")])
        check(made.code == 0, made.tail())
        out, err = gdb("pygc leaks", source=os.path.join(folder, "pygc_gdb.py"))
        check(wanted in out + err and "Traceback" not in out + err, "%r %r" % (out, err))


def other_engine(folder):
    """a program pygc of another version: one line that names both"""
    fake = os.path.join(folder, "pygc")
    with open(fake, "w") as f:
        f.write("#!/bin/sh\nexit 0\n")
    os.chmod(fake, 0o755)
    out, err = gdb("pygc --help", env=dict(os.environ, PYGC_WORKER=fake))
    check(fake in out + err and "Traceback" not in out + err, "%r %r" % (out, err))


def without_python(folder):
    """GDB says that it has no Python; the same core is read by the program alone"""
    got = subprocess.run(["apt-get", "-q", "download", "gdb-minimal"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    packages = glob.glob(os.path.join(folder, "gdb-minimal_*.deb"))
    if got.returncode or not packages:
        raise process.CannotTest("no gdb-minimal here: " + got.stdout.decode(errors="replace").strip()[-100:])
    check(process.run(["dpkg-deb", "-x", packages[0], folder]).code == 0, "cannot unpack it")
    out, err = gdb("pygc leaks", program=os.path.join(folder, "usr", "bin", "gdb"))
    check("Python" in out + err and "not supported" in out + err, "%r %r" % (out, err))


def main():
    verbose = "-v" in sys.argv[1:]
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    passed = failed = skipped = 0
    for test in (help_texts, apropos, words, files, types, at_start, other_library, other_engine, without_python):
        folder = tempfile.mkdtemp(prefix="pygc-gdb-")
        try:
            test(folder)
            passed += 1
            if verbose:
                print("passed   " + test.__name__)
        except process.CannotTest as e:
            skipped += 1
            print("SKIPPED  %s: %s" % (test.__name__, e))
        except (Wrong, OSError, subprocess.TimeoutExpired) as e:
            failed += 1
            print("FAILED   %s: %s" % (test.__name__, str(e)[:600]))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
