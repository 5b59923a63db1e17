#!/usr/bin/env python3
"""`pygc self-test` says what is so: under changed limits, filters and paths, and the same in every host.

usage: self_test.py
"""
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import lldb_host  # noqa: E402
import process  # noqa: E402

SCHEMA = os.path.join(process.ROOT, "core", "report", "schema", "self-test.1.schema.json")


def asked(env=None, before=None, program=None):
    """The checks by subject, of the JSON report of a process that starts with the environment `env` and after `before()`."""
    ran = subprocess.run([program or process.PYGC, "self-test", "--format", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=200,
                         env=dict(os.environ, **(env or {})), preexec_fn=before)
    if ran.returncode != 0:
        raise AssertionError("exit %d: %s" % (ran.returncode, ran.stderr.decode(errors="replace")[-300:]))
    report = json.loads(ran.stdout)
    try:
        import jsonschema
    except ImportError:
        jsonschema = None
    if jsonschema:
        with open(SCHEMA) as f:
            jsonschema.validate(report, json.load(f))
    return {c["subject"]: c for s in report["result"]["sections"] for c in s["checks"]}


def core_limit(soft):
    return lambda: resource.setrlimit(resource.RLIMIT_CORE, (soft, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def dump_filter(value):
    def write():
        with open("/proc/self/coredump_filter", "w") as f:
            f.write(value)
    return write


def limit(subject, wanted, **how):
    """Of what the machine allows: nothing on the PATH has a part in it, and need not be started for it."""
    return state(subject, wanted, env={"PATH": "/"}, **how)


def state(subject, wanted, **how):
    found = asked(**how).get(subject)
    return [] if found and found["state"] == wanted else ["%s: %s, not %s" % (subject, found, wanted)]


def each_interpreter(folder):
    """Every default build found is started by its name in a folder, and the cycle planted in it is found."""
    wrong, names = [], os.path.join(folder, "names")
    os.makedirs(names)
    for i in interpreters.discover():
        name = os.path.join(names, "python%d.%d" % (i.hexversion >> 24, i.hexversion >> 16 & 255))
        if i.kind == "default" and not os.path.exists(name) and i.source != "cache":
            os.symlink(i.path, name)
            checks = asked(env={"PATH": names})
            of = [c for s, c in checks.items() if s.startswith("CPython " + i.version)]
            if len(of) != 1 or of[0]["state"] != "works":
                wrong.append("%s: %s" % (i.version, of))
            os.unlink(name)
    return wrong


def hostile_path(folder):
    """Programs that print rubbish, hang up at once or are no programs are not taken for interpreters; nothing of them reaches the terminal raw."""
    rubbish = os.path.join(folder, "rubbish")
    for name, text in (("python3", "printf '\\033[31m PyGC-NOT\\n'"), ("python3.9", "exit 3"), ("lldb", "printf 'lldb version \\033]0;x\\007'"), ("gdb", "exit 1")):
        script(rubbish, name, text)
    wrong = state("CPython", "absent", env={"PATH": rubbish})
    ran = subprocess.run([process.PYGC, "self-test"], stdout=subprocess.PIPE, env=dict(os.environ, PATH=rubbish), timeout=200)
    return wrong + (["control bytes in the report"] if any(b < 32 and b != 10 for b in ran.stdout) else [])


def program_alone(folder):
    """Without the files for the debuggers beside it: that is what is said, not what GDB says of an empty command."""
    alone = shutil.copy(process.PYGC, os.path.join(folder, "pygc"))
    wrong = []
    for subject, check in asked(program=alone).items():
        if subject.startswith(("GDB", "LLDB")):
            name = "pygc_gdb.py" if subject.startswith("GDB") else "pygc_lldb.so"
            if check["state"] == "absent":
                continue
            if check["state"] != "fails" or not check["finding"].startswith(name + " is neither") or "package pygc-" + subject.split()[0].lower() not in check["remedy"]:
                wrong.append("%s: %s" % (subject, check))
    return wrong


def in_debuggers(folder):
    """The same states as alone; also after a command on a core, whose worker is confined, and before one, which the worker of self-test must not serve."""
    own = {s: c["state"] for s, c in asked().items() if not s.startswith("size")}
    wrong = []
    gdb_script = os.path.join(os.path.dirname(os.path.dirname(process.PYGC)), "lib", "pygc_gdb.py")
    with process.Program(sys.executable, os.path.join(HERE, "pages_target.py")) as p:
        core = p.gcore()
        for after in (False, True):
            out = {host: [os.path.join(folder, "%s.%d.%d.json" % (host, after, i)) for i in range(3)] for host in ("lldb", "gdb")}
            commands = {host: ["pygc status --format json -o " + paths[0]] * after + ["pygc self-test --format json -o " + paths[1], "pygc status --format json -o " + paths[2]]
                        for host, paths in out.items()}
            lldb_host.commands((["target create -c " + core] if after else []) + commands["lldb"][:3 if after else 1])
            process.run(["gdb", "-nx", "--batch", "-ex", "source " + gdb_script] + (["-ex", "core-file " + core] if after else []) +
                        [word for command in commands["gdb"][:3 if after else 1] for word in ("-ex", command)], 200)
            for host, paths in out.items():
                for path in paths if after else paths[1:2]:
                    if not os.path.exists(path):
                        wrong.append("%s wrote no %s" % (host, os.path.basename(path)))
                if wrong:
                    continue
                with open(paths[1]) as f:
                    report = json.load(f)
                states = {c["subject"]: c["state"] for s in report["result"]["sections"] for c in s["checks"] if not c["subject"].startswith("size")}
                if report["host"] != host or states != own:
                    wrong.append("%s%s: %s" % (host, ", after a core" if after else "", sorted(set(states.items()) ^ set(own.items()))))
                if after:
                    results = [process.result_bytes(open(path).read()) for path in (paths[0], paths[2])]
                    if results[0] != results[1]:
                        wrong.append("%s: the core has another status after self-test" % host)
    return wrong


def script(folder, name, text):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w") as f:
        f.write("#!/bin/sh\n%s\n" % text)
    os.chmod(os.path.join(folder, name), 0o755)


def programs_that_fail(folder):
    """A debugger that does not start or says nothing has its line; one that hangs is ended with all that it has started."""
    path = os.path.join(folder, "fail")
    script(path, "lldb", "echo lldb: cannot open libpython >&2; exit 127")
    script(path, "gdb", "/bin/sleep 300 & echo $! >%s/child; wait" % path)
    checks = asked(env={"PATH": path})
    wrong = ["%s: %s" % (subject, checks.get(subject)) for subject, said in (("LLDB", "says no version: lldb: cannot open libpython"), ("GDB", "says nothing"))
             if subject not in checks or checks[subject]["state"] != "fails" or said not in checks[subject]["finding"]]
    with open(os.path.join(path, "child")) as f:
        child = int(f.read())
    try:
        with open("/proc/%d/stat" % child) as f:
            if f.read().rsplit(")", 1)[1].split()[0] != "Z":     # ended, and not yet waited for by the process that inherited it
                wrong.append("what gdb had started was left running")
                os.kill(child, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass
    script(path, "gdb", "echo 'warning: no index cache directory.'; echo 'GNU gdb (X 9.1-2) 9.1'")
    return wrong + ([] if "GDB 9.1" in asked(env={"PATH": path}) else ["a warning before GDB's version"])


def few_descriptors(folder):
    """What could not be tried is said, at once, and is not absent."""
    begun = time.monotonic()
    checks = asked(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5)))
    wrong = ["%s: %s" % (subject, checks.get(subject)) for subject in ["CPython"] + ["GDB"] * bool(shutil.which("gdb")) + ["LLDB"] * bool(shutil.which("lldb"))
             if checks.get(subject, {}).get("state") != "fails" or "Too many open files" not in checks[subject]["finding"]]
    return wrong + (["%d s" % (time.monotonic() - begun)] if time.monotonic() - begun > 10 else [])


def temporary_folder(folder):
    """The folder that compressed cores are really unpacked in."""
    wrong = []
    for name, value, wanted in (("as TMPDIR says", folder, ("works", folder + ": ")), ("TMPDIR that is not there", folder + "/none", ("limited", "TMPDIR is %s/none" % folder)),
                                ("no TMPDIR", "", ("works", "/var/tmp: "))):
        found = asked(env={"TMPDIR": value, "PATH": folder})["temporary files"]
        if found["state"] != wanted[0] or not found["finding"].startswith(wanted[1]):
            wrong.append("%s: %s" % (name, found))
    return wrong


def without_proc(folder):
    """One line that says so; None where this user may not make a place without one."""
    ran = subprocess.run(["unshare", "-m", "sh", "-c", 'umount -l /proc || exit 99; exec "$0" self-test', process.PYGC], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, timeout=60)
    if ran.returncode in (1, 99):
        return None
    said = ran.stderr.decode(errors="replace")
    return [] if ran.returncode == 6 and said.startswith("pygc: there is no /proc here") and said.count("\n") == 1 else ["exit %d: %s" % (ran.returncode, said)]


def main():
    if len(sys.argv) > 1:
        print(__doc__)
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    folder, failed, skipped = tempfile.mkdtemp(prefix="pygc-self-test-"), 0, 0
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    rows = (("no cores wanted", lambda: limit("size of cores", "fails", before=core_limit(0))),
            ("cores cut", lambda: limit("size of cores", "limited", before=core_limit(1 << 20))),
            ("cores of any size", lambda: limit("size of cores", "works" if hard == resource.RLIM_INFINITY else "limited", before=core_limit(hard))),
            ("cores without private memory", lambda: limit("what cores hold", "fails", before=dump_filter("0x32"))),
            ("cores as usual", lambda: state("what cores hold", "works", before=dump_filter("0x33"))),
            ("nothing on the PATH", lambda: state("CPython", "absent", env={"PATH": folder})),
            ("each interpreter", lambda: each_interpreter(folder)),
            ("rubbish on the PATH", lambda: hostile_path(folder)),
            ("the program alone", lambda: program_alone(folder)),
            ("programs that fail", lambda: programs_that_fail(folder)),
            ("few descriptors", lambda: few_descriptors(folder)),
            ("the folder of temporary files", lambda: temporary_folder(folder)),
            ("no /proc", lambda: without_proc(folder)),
            ("in LLDB and GDB", lambda: in_debuggers(folder) if lldb_host.versions() else ["no lldb, or no plugin built"]))
    try:
        for name, check in rows:
            try:
                wrong = check()
            except (AssertionError, OSError, ValueError, LookupError, subprocess.TimeoutExpired) as e:
                wrong = ["%s: %s" % (type(e).__name__, e)]
            if wrong is None:
                skipped += 1
                print("SKIPPED %s" % name)
                continue
            failed += bool(wrong)
            for w in wrong[:4]:
                print("FAILED %s: %s" % (name, str(w)[:500]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (len(rows) - failed - skipped, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
