#!/usr/bin/env python3
"""The debuggers as hosts, with a worker that misbehaves on command: the prompt must survive everything.

usage: hosts_test.py BUILD_DIR [NAME...]     (NAME: only rows whose name holds it)

Uses bin/unit_worker of the build as the worker ($PYGC_WORKER): `pygc status WORD...` does what tests/unit/worker/fake_worker_test.cc says. $PYGC_LLDB names
an lldb program; else lldb-N of the plugin's version. A host that is not here is skipped with a reason. Last line: N passed, N failed, N skipped.
"""
import glob
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))), "support"))
import terminal  # noqa: E402

BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build")
FAKE = os.path.join(BUILD, "bin", "unit_worker")
PLUGIN = os.path.join(BUILD, "lib", "pygc_lldb.so")
GDB_FILE = os.path.join(BUILD, "lib", "pygc_gdb.py")
HANG = 60


class Skip(Exception):
    pass


def check(condition, text):
    if not condition:
        raise AssertionError(text[-1500:])


def lldb():
    named = os.environ.get("PYGC_LLDB")
    if named:
        return named
    if not os.path.exists(PLUGIN):
        raise Skip("the LLDB plugin was not built")
    with open(PLUGIN, "rb") as f:
        major = re.search(rb"pygc-lldb-major=(\d+)", f.read()).group(1).decode()
    found = shutil.which("lldb-" + major)
    if not found:
        raise Skip("no lldb-%s here" % major)
    return found


def need(program):
    found = shutil.which(program)
    if not found:
        raise Skip("no %s here" % program)
    return found


class World:
    """One process that sleeps, and its core."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="pygc-hosts-")
        self.processes = []
        self.sleeper = self.start()
        self.core = self.gcore(self.sleeper.pid, "core.a")

    def start(self):
        p = subprocess.Popen([sys.executable, "-c", "import time\nprint(1, flush=True)\ntime.sleep(1000)"], stdout=subprocess.PIPE)
        p.stdout.readline()
        self.processes.append(p)
        return p

    def gcore(self, pid, name):
        path = os.path.join(self.folder, name)
        subprocess.run([need("gdb"), "-nx", "-batch", "-p", str(pid), "-ex", "gcore " + path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return path

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def environment(**more):
    e = dict(os.environ, PYGC_WORKER=FAKE, PYGC_FAKE_WORKER="", TERM="xterm", **more)
    e["PATH"] = "/usr/bin:/bin:/usr/sbin:/sbin"  # the Python inside a debugger takes its home from the first python3 on the path
    # Debian's lldb-14 does not find its own Python module.
    e["PYTHONPATH"] = ":".join(glob.glob(os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(shutil.which("lldb-14") or "/"))), "lib/python3*/dist-packages")))
    return e


def run(argv, env=None):
    p = subprocess.run(argv, env=env or environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=HANG)
    return p.stdout.decode("utf-8", "replace")


def in_lldb(*lines, env=None, load=True):
    """One lldb that goes on after failing commands (source -e false), and says ALIVE at its end."""
    with tempfile.NamedTemporaryFile("w", suffix=".lldb") as f:
        f.write("\n".join((["plugin load " + PLUGIN] if load else []) + list(lines) + ["settings set prompt ALIVE", "settings show prompt"]) + "\n")
        f.flush()
        text = run([lldb(), "--no-lldbinit", "-b", "-o", "command source -e false " + f.name], env)
    check("ALIVE" in text.split("settings show prompt")[-1], "lldb did not survive:\n" + text)
    return text


def in_gdb(*lines, env=None, program=()):
    argv = [need("gdb"), "-nx", "-batch", *program, "-ex", "source " + GDB_FILE]
    for line in lines:
        argv += ["-ex", line]
    text = run(argv + ["-ex", "echo ALIVE\\n"], env)
    check("ALIVE" in text, "gdb did not survive:\n" + text)
    return text


def children(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as f:
                    if int(f.read().rsplit(")", 1)[1].split()[1]) == pid:
                        with open("/proc/%s/cmdline" % name) as f2:
                            found.append((int(name), f2.read()))
            except OSError:
                pass
    return found


# ---- rows: functions of the world; the docstring is the sentence that must hold ----

def lldb_without_process(w):
    """LLDB without a process gives one clear error line; help works all the same"""
    text = in_lldb("pygc status echo 0", "pygc --help", "pygc nonsense", "pygc status echo 0")
    check("no target is selected" not in text, text)  # the fake worker runs what has no target: the route says so
    check("route 0" in text, text)
    check(re.search(r"invalid command|not a valid", text), text)


def lldb_opens_cores_itself(w):
    """for a core the worker gets the core's own path"""
    text = in_lldb("target create -c " + w.core, "pygc status echo 0")
    check("host lldb" in text and "route 2 path " + w.core in text, text)


def lldb_live_process(w):
    """a local process goes to the worker by number, and is not harmed"""
    text = in_lldb("process attach -p %d" % w.sleeper.pid, "pygc status copied", "process status", "pygc status copied --resume", "pygc status echo 0", "process detach")
    stopped, _, runs = text.partition("pygc status copied --resume")
    check("is running" not in stopped and "runs again, after" in text and "route 6" in runs, "--resume: " + text)
    text = in_lldb("process attach -p %d" % w.sleeper.pid, "pygc status echo 0", "process detach")
    check("route 3 path" in text, text)
    check(w.sleeper.poll() is None, "the process died")


def lldb_keeps_a_worker(w):
    """the next command on the same target goes to the same worker"""
    text = in_lldb("target create -c " + w.core, "pygc status echo 0", "pygc status echo 0")
    check("run 1 " in text and "run 2 " in text, text)


def lldb_two_targets(w):
    """two targets in one LLDB have each their worker and their path"""
    other = w.gcore(w.start().pid, "core.b")
    text = in_lldb("target create -c " + w.core, "target create -c " + other, "pygc status echo 0", "target select 0", "pygc status die 9", "pygc status echo 0",
                   "target select 1", "pygc status echo 0")
    runs = re.findall(r"run (\d) host lldb .* path (\S+)", text)
    check(runs == [("1", other), ("1", w.core), ("2", other)], text)


def lldb_two_debuggers(w):
    """two debuggers in one program do not share anything"""
    text = in_lldb("script import lldb",
                   "script d = lldb.SBDebugger.Create(); d.SetAsync(False); d.HandleCommand('plugin load %s'); d.HandleCommand('target create -c %s'); d.HandleCommand('pygc status echo 0')"
                   % (PLUGIN, w.core), "pygc status echo 0")
    if "name 'lldb' is not defined" in text or "there is no embedded script interpreter" in text:
        raise Skip("this lldb has no working Python")
    check("route 2 path " + w.core in text, text)
    check("route 0 path" in text, text)


def lldb_worker_dies(w):
    """a worker killed in the middle: one line with signal and stage, then the next command works"""
    text = in_lldb("target create -c " + w.core, "pygc status die 9", "pygc status die 11", "pygc status leave", "pygc status echo 0")
    check("SIGKILL" in text and "SIGSEGV" in text and "status 9" in text and "while dying" in text, text)
    check("run 1 host lldb" in text, text)
    check("first half" in text, text)


def lldb_other_version(w):
    """an engine of another version is refused with both versions"""
    text = in_lldb("target create -c " + w.core, "pygc status echo 0", env=dict(environment(), PYGC_FAKE_WORKER="other-version"))
    check("pygc 9.9.9" in text and "install both from one build" in text, text)


def lldb_no_worker(w):
    """a worker that is not there is one line"""
    text = in_lldb("pygc status echo 0", env=dict(environment(), PYGC_WORKER="/nonexistent/pygc"))
    check("/nonexistent/pygc" in text, text)


def lldb_minidump(w):
    """a minidump is served through LLDB"""
    dump = os.path.join(w.folder, "mini.dmp")
    in_lldb("process attach -p %d" % w.sleeper.pid, "process save-core --style full " + dump, "process save-core " + dump, "process detach")
    if not os.path.exists(dump):
        raise Skip("this lldb writes no minidump")
    text = in_lldb("target create -c " + dump, "pygc status echo 0", "pygc status read")
    check("route 4" in text, text)
    check(re.search(r"regions [1-9]\d* file", text) and re.search(r"sp 0x7f", text), text)


def lldb_remote(w):
    """behind lldb-server LLDB serves the memory; behind a gdbserver, which does not tell what memory there is, one line says so"""
    real = os.path.dirname(os.path.realpath(lldb()))
    for name, argv, expected in (("lldb-server", [os.path.join(real, "lldb-server"), "gdbserver", "127.0.0.1:PORT", "--attach"], r"read [1-9]\d* sum [1-9]"),
                                 ("gdbserver", ["gdbserver", "--attach", "127.0.0.1:PORT"], "no regions")):
        if not shutil.which(argv[0]):
            raise Skip("no %s here" % name)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = str(s.getsockname()[1])
        server = subprocess.Popen([a.replace("PORT", port) for a in argv] + [str(w.start().pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            text = in_lldb("gdb-remote 127.0.0.1:" + port, "pygc status echo 0", "pygc status read", "process detach")
            check("route 4" in text and re.search(expected, text), name + ": " + text)
        finally:
            server.kill()
            server.wait()


def interrupt(argv, load, prompt, w):
    t = terminal.Terminal(argv, environment())
    try:
        t.wait_for(prompt)
        for line in load:
            t.send(line + "\n")
            t.wait_for(r"(?s)\n.*" + prompt)
        t.send("pygc status loop\n")
        time.sleep(1.5)
        t.send("\x03")
        text = t.wait_for(prompt, 20)
        check("what is known" in text and "interrupted" in text, text)
        t.send("pygc status deaf\n")
        time.sleep(1.5)
        t.send("\x03")
        text = t.wait_for(prompt, 20)
        check("was ended" in text or "interrupted" in text, text)
        t.send("pygc status echo 0\n")
        t.wait_for("host (lldb|gdb) columns [1-9]")
        t.wait_for(prompt)
        t.send("pygc status deaf\n")
        time.sleep(1)
        workers = [c for c in children(t.pid) if "--worker" in c[1]]
        check(len(workers) == 1, "workers: %r" % workers)
        t.close()
        time.sleep(12)
        check(not os.path.exists("/proc/%d/exe" % workers[0][0]) or not os.path.realpath("/proc/%d/exe" % workers[0][0]).endswith("unit_worker"),
              "the worker outlived its host")
    finally:
        try:
            t.close()
        except OSError:
            pass


def lldb_interrupt(w):
    """Ctrl-C in LLDB stops a command with what is known, a deaf worker too; the prompt comes back; no worker is left behind"""
    interrupt([lldb(), "--no-lldbinit", "--no-use-colors"], ["plugin load " + PLUGIN, "target create -c " + w.core], r"\(lldb\) $", w)


def gdb_interrupt(w):
    """Ctrl-C in GDB stops a command with what is known, a deaf worker too; the prompt comes back; no worker is left behind"""
    interrupt([need("gdb"), "-nx", "-q", "-iex", "set style enabled off"], ["source " + GDB_FILE, "core-file " + w.core], r"\(gdb\) $", w)


def gdb_core_and_errors(w):
    """GDB: help and errors without a process, a core by its path, one worker for it, a worker that dies"""
    text = in_gdb("pygc status echo 0", "help pygc", "core-file " + w.core, "pygc status echo 0", "pygc status echo 0", "pygc status die 9", "pygc status echo 0")
    check("route 0 path" in text, text)
    check("run 3 host gdb columns 0 route 2 path " + w.core in text, text)
    check("while dying" in text and "run 1 host gdb columns 0 route 2" in text, text)
    check("pygc leaks --" in text, text)


def gdb_live_process(w):
    """GDB: a local process goes to the worker by number and its memory can be served; it is not harmed"""
    for target in (["-p", str(w.sleeper.pid)], []):
        remote = [] if target else ["target remote | %s --attach - %d" % (need("gdbserver"), w.start().pid)]
        text = in_gdb(*remote + ["pygc status copied", "pygc status echo 0", "pygc status copied --resume", "pygc status echo 0"], program=target)
        check("runs again, after" in text and "Traceback" not in text and re.findall(r"route (\d)", text) == ["3" if target else "4", "6"], "--resume: " + text)
    text = in_gdb("pygc status echo 0", "pygc status read", program=["-p", str(w.sleeper.pid)])
    check("route 3 path" in text and re.search(r"read [1-9]\d* sum [1-9]", text), text)
    check(w.sleeper.poll() is None, "the process died")


def gdb_remote(w):
    """GDB behind a gdbserver serves the memory"""
    text = in_gdb("target remote | %s --attach - %d" % (need("gdbserver"), w.start().pid), "pygc status echo 0", "pygc status read")
    check("route 4" in text and re.search(r"read [1-9]\d* sum [1-9]", text), text)


def gdb_other_version(w):
    """GDB: an engine of another version, and one that is not there, are one line each"""
    text = in_gdb("pygc status echo 0", env=dict(environment(), PYGC_FAKE_WORKER="other-version"))
    check("pygc 9.9.9" in text and "Traceback" not in text, text)
    text = in_gdb("pygc status echo 0", env=dict(environment(), PYGC_WORKER="/nonexistent/pygc"))
    check("/nonexistent/pygc" in text and "Traceback" not in text, text)


def lldb_wrong_lldb(w):
    """an LLDB that the plugin was not built for gets one line with both versions, and lives"""
    own = os.path.realpath(lldb())
    cache = os.environ.get("PYGC_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pygc")
    unpacked = glob.glob(os.path.join(cache, "lldb", "*", "lldb"))      # scripts/lldb-versions
    built = subprocess.run(["grep", "-ao", "pygc-lldb-major=[0-9]*", PLUGIN], stdout=subprocess.PIPE).stdout.decode().split("=")[1].split()[0]
    tried = 0
    for path in sorted(glob.glob("/usr/bin/lldb-[0-9]*")) + sorted(unpacked):
        version = run([path, "--version"]).partition("lldb version ")[2].split(".")[0]
        if not re.search(r"/lldb(-\d+)?$", path) or os.path.realpath(path) == own or version in ("", built):
            continue
        text = run([path, "--no-lldbinit", "-b", "-o", "plugin load " + PLUGIN, "-o", "version"])
        lines = [line for line in text.splitlines() if line.startswith("pygc: ")]
        check(len(lines) == 1 and "built for LLDB %s," % built in lines[0] and "lldb version %s." % version in lines[0] and "PYGC_LLDB_VERSION=%s" % version in lines[0], text)
        tried += 1
    if not tried:
        raise Skip("only one lldb here")


def lldb_without_version(w):
    """a host that tells no version, as a program that is no LLDB, gets one line, and no advice to build for version 0"""
    lldb()
    text = run([sys.executable, "-c", "import ctypes, os, sys; plugin = ctypes.CDLL(sys.argv[1], mode=os.RTLD_LAZY); start = plugin._ZN4lldb16PluginInitializeENS_10SBDebuggerE; "
                "start.restype = ctypes.c_bool; print(start(ctypes.byref(ctypes.create_string_buffer(64))))", PLUGIN])
    check("False" in text and text.count("pygc: ") == 1 and "does not tell its version: use lldb-" in text, text)


# ---- the standalone program: PYGC_FAKE_COMMAND says what its worker does ----

def pygc():
    path = os.path.join(BUILD, "bin", "pygc")
    if not os.path.exists(path):
        raise Skip("pygc was not built")
    return path


def alone(command, shell="\"$PYGC\" -c x status", **more):
    """(exit status, standard output, standard error) of a shell line."""
    p = subprocess.run(["bash", "-c", shell], env=environment(PYGC_FAKE_COMMAND=command, PYGC=pygc(), **more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=HANG)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def alone_status_and_streams(w):
    """report, diagnostics and exit status come through; no progress where it is no terminal"""
    code, out, err = alone("echo 3")
    check((code, out[:7], err) == (3, "echo\n3\n", "a warning\n"), repr((code, out, err)))
    code, out, err = alone("die 9")
    check(code == 6 and out == "first half\n" and "SIGKILL" in err and err.count("\n") == 1, repr((code, out, err)))


def alone_closed_pipe(w):
    """a closed pipe is quiet and does not change the exit status; output is not produced for ever"""
    code, out, err = alone("flood", "\"$PYGC\" -c x status | head -c 5; exit ${PIPESTATUS[0]}")
    check((code, out, err) == (3, "xxxxx", "ended\n"), repr((code, out, err)))


def alone_output_that_fails(w):
    """a full disk and a closed standard output are exit 2 with a line"""
    for redirection in (">/dev/full", ">&-"):
        code, out, err = alone("echo 0", "\"$PYGC\" -c x status " + redirection)
        check(code == 2 and "cannot be written" in err, repr((redirection, code, out, err)))
    code, out, err = alone("echo 0", "\"$PYGC\" -c x status <&- 2>&-")
    check(code == 0 and out.startswith("echo\n"), repr((code, out, err)))


def alone_worker_problems(w):
    """an engine of another version, and none at all, are one line"""
    p = subprocess.run([pygc(), "-c", "x", "status"], env=dict(environment(), PYGC_FAKE_WORKER="other-version"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(p.returncode == 6 and b"pygc 9.9.9" in p.stderr and not p.stdout, repr(p))
    p = subprocess.run([pygc(), "-c", "x", "status"], env=dict(environment(), PYGC_WORKER="/nonexistent/pygc"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(p.returncode == 6 and b"/nonexistent/pygc" in p.stderr, repr(p))


def alone_interrupt(w):
    """Ctrl-C: what is known and 130; twice: at once; and the progress line is wiped"""
    for command, presses, expected in (("loop", 1, "what is known"), ("deaf", 2, "was ended")):
        t = terminal.Terminal([pygc(), "-c", "x", "status"], environment(PYGC_FAKE_COMMAND=command))
        t.wait_for("turning  [0-9]+" if command == "loop" else "", 20)
        time.sleep(1)
        for _ in range(presses):
            os.write(t.fd, b"\x03")
            time.sleep(0.3)
        end = time.monotonic() + 10
        status = None
        while time.monotonic() < end and status is None:
            if select.select([t.fd], [], [], 0.1)[0]:
                try:
                    t.text += os.read(t.fd, 65536).decode("utf-8", "replace")
                except OSError:
                    pass
            pid, code = os.waitpid(t.pid, os.WNOHANG)
            status = code if pid else None
        os.close(t.fd)
        check(status is not None and os.waitstatus_to_exitcode(status) == 130, "%s: status %r: %s" % (command, status, t.text))
        check(expected in t.text, t.text)
        check(command != "loop" or "\r\x1b[K" in t.text, repr(t.text))


def alone_killed(w):
    """kill -9 of pygc takes the worker with it, a deaf one too"""
    p = subprocess.Popen([pygc(), "-c", "x", "status"], env=environment(PYGC_FAKE_COMMAND="deaf"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    workers = [c[0] for c in children(p.pid)]
    check(len(workers) == 1, repr(workers))
    p.kill()
    p.wait()
    time.sleep(0.3)
    try:
        with open("/proc/%d/stat" % workers[0]) as f:
            check(f.read().rsplit(")", 1)[1].split()[0] == "Z", "the worker lives on")
    except OSError:
        pass


ROWS = [alone_status_and_streams, alone_closed_pipe, alone_output_that_fails, alone_worker_problems, alone_interrupt, alone_killed,
        lldb_without_process, lldb_opens_cores_itself, lldb_live_process, lldb_keeps_a_worker, lldb_two_targets, lldb_two_debuggers, lldb_worker_dies,
        lldb_other_version, lldb_no_worker, lldb_minidump, lldb_remote, lldb_interrupt, lldb_wrong_lldb, lldb_without_version,
        gdb_core_and_errors, gdb_live_process, gdb_remote, gdb_other_version, gdb_interrupt]


def main():
    passed = failed = skipped = 0
    world = World()
    try:
        for row in ROWS:
            if len(sys.argv) > 2 and not any(word in row.__name__ for word in sys.argv[2:]):
                continue
            try:
                row(world)
                passed += 1
            except Skip as e:
                skipped += 1
                print("skipped  %s: %s" % (row.__name__, e))
            except (AssertionError, subprocess.TimeoutExpired) as e:
                failed += 1
                print("FAILED   %s: %s\n%s" % (row.__name__, row.__doc__, e))
    finally:
        world.close()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
