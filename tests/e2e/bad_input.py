#!/usr/bin/env python3
"""Bad input, as a table: each with the exit status of the contract and one clear line; no crash, no hang.

usage: bad_input.py [-v] [NAME...]      (NAME: run only rows whose name holds it)

Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import gzip
import os
import re
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import core_editor  # noqa: E402
import interpreters  # noqa: E402
import lldb_host  # noqa: E402
import process  # noqa: E402

HANG = 60           # seconds after which a command counts as hung
SKIP = "skip: "     # a row's function may return this and a reason

# What no message for a user may hold: the traces of a crash, of an unhandled exception, or of raw bytes of the terminal.
NEVER = re.compile(r"terminate called|Traceback|Assertion|core dumped|std::|\x1b|AddressSanitizer|runtime error:|Segmentation")


class World:
    """What the rows share: a folder, one blocked Python process with its core, one blocked C process with its core."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="pygc-bad-")
        os.chmod(self.folder, 0o755)
        self.started = []
        found = [i for i in interpreters.discover() if i.kind == "default"]
        self.shared = next((i for i in found if i.shared), None)
        self.static = next((i for i in reversed(found) if not i.shared and i.source == "cache" and i.hexversion < 0x030B0000), None) or \
            next((i for i in found if not i.shared), None)
        if self.static is None:
            raise process.CannotTest("no interpreter: scripts/interpreters install")
        self.python = self.program(self.static, "node_tree", twins=2)
        self.core = self.python.gcore()
        # gcore writes the notes last, so that a cut takes them first; the kernel writes them first.
        self.kernel_core = self.python.kernel_core(self.python.twins[0], 0x33)
        self.full_core = self.python.kernel_core(self.python.twins[1], 0x7F)
        self.c = self.c_process()

    def program(self, interpreter, name, *args, **more):
        p = process.Program(interpreter if isinstance(interpreter, str) else interpreter.path, name, args, **more)
        self.started.append(p)
        return p

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def c_process(self):
        source = self.file("idle.c", b"#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts(\"READY\"); fflush(stdout); pause(); return 0; }\n")
        subprocess.run(["cc", "-o", self.path("idle"), source], check=True)
        child = subprocess.Popen([self.path("idle")], stdout=subprocess.PIPE, cwd=self.folder)
        child.stdout.readline()
        return child

    def gcore_of(self, pid, name):
        subprocess.run(["gcore", "-o", self.path(name), str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        return self.path("%s.%d" % (name, pid))

    def truncated(self, core, part):
        to = self.path("truncated-%s-%d" % (os.path.basename(core), part))
        if not os.path.exists(to):
            shutil.copy(core, to)
            os.truncate(to, os.path.getsize(core) * part // 100)
        return to

    def close(self):
        self.c.kill()
        self.c.wait()
        for p in self.started:
            p.close()
        shutil.rmtree(self.folder, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------------------------
# The rows: (name, exit status or set of them, what the message must hold, function World -> arguments | Result | skip)

def leaks_on(path):
    return ["-c", path, "leaks"]


def fifo(w):
    os.mkfifo(w.path("fifo"))
    return leaks_on(w.path("fifo"))


def bytes_of_core(w, n):
    with open(w.core, "rb") as f:
        return f.read(n)


def foreign_class(w):
    data = bytearray(bytes_of_core(w, 4096))
    data[4] = 1                     # ELFCLASS32
    return leaks_on(w.file("elf32", bytes(data)))


def foreign_machine(w):
    data = bytearray(bytes_of_core(w, 1 << 20))
    data[18:20] = struct.pack("<H", 243)
    return leaks_on(w.file("riscv", bytes(data)))


def big_endian(w):
    """A core of s390x as its kernel writes the header: every number the other way round."""
    ident = b"\x7fELF" + bytes([2, 2, 1]) + b"\0" * 9
    header = struct.pack(">16sHHIQQQIHHHHHH", ident, 4, 22, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return leaks_on(w.file("s390x", header + struct.pack(">IIQQQQQQ", 1, 6, 4096, 0x1000, 0, 4096, 4096, 4096) + b"\0" * 8192))


def physical_memory(note):
    """A dump of a whole machine, as QEMU's dump-guest-memory and the crash kernel write them: ELF cores with a note that says so."""
    def row(w):
        core = core_editor.Core(w.kernel_core)
        core.set_notes([(b"CORE\0", core_editor.NT_PRSTATUS, b"\0" * 336), (note + b"\0", 0, b"OSRELEASE=6.1.0\n".ljust(440, b"\0"))])
        path = w.path("memory-" + note.decode())
        core.write(path)
        return leaks_on(path)
    return row


def other_python(name, library=None):
    """A program that bears the name of another implementation of Python, with the library that this one maps."""
    def row(w):
        folder = tempfile.mkdtemp(dir=w.folder)
        os.chmod(folder, 0o755)
        program = os.path.join(folder, name)
        link = []
        if library:
            source = os.path.join(folder, "library.c")
            with open(source, "w") as f:
                f.write("int graal_create_isolate(void) { return 0; }\n")
            subprocess.run(["cc", "-shared", "-fPIC", "-o", os.path.join(folder, library), source], check=True)
            link = ["-Wl,--no-as-needed", os.path.join(folder, library)]
        subprocess.run(["cc", "-o", program, w.path("idle.c")] + link, check=True)
        child = subprocess.Popen([program], stdout=subprocess.PIPE, cwd=folder)
        try:
            child.stdout.readline()
            return leaks_on(w.gcore_of(child.pid, name))
        finally:
            child.kill()
            child.wait()
    return row


def micropython(w):
    path = shutil.which("micropython")
    if not path:
        return SKIP + "no micropython here (the row before has a program of its name)"
    child = subprocess.Popen([path, "-c", "print('READY')\nimport sys\nsys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        return leaks_on(w.gcore_of(child.pid, "micropython"))
    finally:
        child.kill()
        child.wait()


def zombie(w):
    child = subprocess.Popen(["true"])
    time.sleep(0.3)
    try:
        return process.pygc("-p", child.pid, "leaks", timeout=HANG)
    finally:
        child.wait()


def kernel_thread(w):
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit()):
        try:
            with open("/proc/%d/stat" % pid) as f:
                fields = f.read().rpartition(")")[2].split()
            if int(fields[6]) & 0x00200000:     # PF_KTHREAD
                return ["-p", str(pid), "leaks"]
        except (OSError, IndexError):
            pass
    return SKIP + "no kernel thread to be seen here"


def no_such_pid(w):
    with open("/proc/sys/kernel/pid_max") as f:
        return ["-p", str(int(f.read()) - 1), "leaks"]


def as_nobody(arguments):
    """A Result of pygc as another user; None where that cannot be had."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return None
    folder = tempfile.mkdtemp(prefix="pygc-nobody-")
    try:
        os.chmod(folder, 0o755)
        shutil.copy(process.PYGC, folder)
        run = process.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", os.path.join(folder, "pygc")] + arguments, HANG,
                          cwd="/", env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})
        return run
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unreadable(w):
    path = w.file("unreadable", b"\x7fELF")
    os.chmod(path, 0)
    return as_nobody(["-c", path, "leaks"]) or SKIP + "not root: no other user to become"


def other_user(w):
    return as_nobody(["-p", str(w.python.pid), "leaks"]) or SKIP + "not root: no other user to become"


def core_of_another_user(w, out_mode, owner_of_report):
    """Root reads it as its owner: what it writes belongs to that user; where that user may not write, it stays root and says so."""
    if os.geteuid() != 0:
        return SKIP + "not root: no other user's core to read"
    core = w.path("core.other")
    shutil.copy(w.full_core, core)
    os.chown(core, 65534, 65534)
    os.chmod(core, 0o600)
    folder = w.path("out-%o" % out_mode)
    os.mkdir(folder)
    os.chmod(folder, out_mode)
    report = os.path.join(folder, "x")
    ran = process.pygc("-c", core, "status", "-o", report, timeout=HANG)
    if os.stat(report).st_uid != owner_of_report:
        raise AssertionError("the report belongs to user %d, not %d: %s" % (os.stat(report).st_uid, owner_of_report, ran.tail()))
    with open(report) as f:
        return process.Result(ran.code, f.read(), ran.err, ran.seconds)


def core_for_everybody(w):
    path = w.path("core.everybody")
    shutil.copy(w.full_core, path)
    os.chmod(path, 0o644)
    return ["-c", path, "status"]


ABORTS = "import os, resource, sys\nkeep = [[i] for i in range(60000)]\nclass A(object): pass\na = A(); a.a = a; del a\nos.abort()\n"


def core_of_command(w, name, command, environment=None, most=resource.RLIM_INFINITY):
    """A program that ends itself: the core that the kernel writes of it, of at most `most` bytes."""
    folder = tempfile.mkdtemp(dir=w.folder)
    process.run(command, HANG, cwd=folder, env=dict(os.environ, **(environment or {})), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (most, most)))
    cores = [f for f in os.listdir(folder) if "core" in f]
    if not cores:
        raise process.CannotTest("the kernel wrote no core of " + name)
    return os.path.join(folder, cores[0])


def core_by_first_line(w):
    """A script whose first line names its interpreter: the arguments name the script, the program is the interpreter."""
    script = w.file("script", b"#!" + os.path.realpath(w.static.path if w.static.source != "cache" else "/usr/bin/python3").encode() + b"\n" + ABORTS.encode())
    os.chmod(script, 0o755)
    return leaks_on(core_of_command(w, "a script", [script]))


def core_of_memfd(w):
    """A program that never was a file of any folder: nothing of the name in the core is there."""
    start = "import os, sys\nfd = os.memfd_create('python')\nos.write(fd, open(sys.argv[1], 'rb').read())\nos.execv('/proc/self/fd/%d' % fd, ['python', '-c', sys.argv[2]])\n"
    executable = os.path.realpath("/usr/bin/python3")
    return leaks_on(core_of_command(w, "a memfd", [sys.executable, "-c", start, executable, ABORTS], {"PYTHONHOME": "/usr"}))


def unpacked_beyond_limit(w):
    """A packed core where the temporary folder has no room for what comes out of it."""
    packed = w.path("room.gz")
    with open(w.full_core, "rb") as f, gzip.open(packed, "wb", 1) as out:
        shutil.copyfileobj(f, out)
    return process.run([process.PYGC] + leaks_on(packed), HANG, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))


def setuid_program(w):
    """A copy of pygc that runs as another user than the one who started it."""
    if os.geteuid() != 0:
        return SKIP + "not root: no other user to become"
    copy = w.path("pygc-setuid")
    shutil.copy(process.PYGC, copy)
    os.chown(copy, 65534, 65534)
    os.chmod(copy, 0o6755)
    with open("/proc/self/mountinfo") as f:
        mounts = [line.split() for line in f]
    inside = max((m for m in mounts if w.folder.startswith(m[4].rstrip("/") + "/")), key=lambda m: len(m[4]))
    if "nosuid" in inside[5]:
        return SKIP + "%s is mounted nosuid" % inside[4]
    return process.run([copy, "--version"], HANG)


def already_traced(w):
    if not shutil.which("gdb"):
        return SKIP + "no gdb"
    target = w.program(w.static, "self_cycles")
    tracer = subprocess.Popen(["gdb", "-nx", "-batch", "-p", str(target.pid), "-ex", "shell sleep 60"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(200):
            with open("/proc/%d/status" % target.pid) as f:
                if not re.search(r"^TracerPid:\s+0$", f.read(), re.M):
                    break
            time.sleep(0.05)
        return process.pygc("-p", target.pid, "leaks", timeout=HANG)
    finally:
        os.killpg(tracer.pid, signal.SIGKILL)
        tracer.wait()


def not_dumpable(w):
    """A process of one's own that has forbidden others to read it (as a setuid program and sudo have it)."""
    code = ("import ctypes, os, sys\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\nsys.stdout.write('READY\\n')\nsys.stdout.flush()\nsys.stdin.read()\n")
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return SKIP + "not root: no other user to become"
    child = subprocess.Popen(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "/usr/bin/python3", "-c", code], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, cwd="/")
    try:
        child.stdout.readline()
        return as_nobody(["-p", str(child.pid), "leaks"])
    finally:
        child.kill()
        child.wait()


def without_capability(w):
    """As root in a container that may not trace."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return SKIP + "not root, or no setpriv"
    return process.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", process.PYGC, "-p", str(w.python.pid), "leaks"], HANG)


def uninterruptible(w):
    """A thread that waits in state D, as for a dead file server: posix_spawn (vfork) whose child waits for a FIFO before it becomes another program."""
    os.mkfifo(w.path("never"))
    code = "import os, sys\nsys.stdout.write('READY\\n')\nsys.stdout.flush()\nos.posix_spawn('/bin/true', ['true'], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])\n"
    child = subprocess.Popen(["/usr/bin/python3", "-c", code, w.path("never")], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        for _ in range(200):
            with open("/proc/%d/stat" % child.pid) as f:
                if f.read().rpartition(")")[2].split()[0] == "D":
                    break
            time.sleep(0.02)
        else:
            return SKIP + "this kernel does not wait in state D for the child of vfork"
        return process.pygc("-p", child.pid, "leaks", timeout=HANG)
    finally:
        os.close(os.open(w.path("never"), os.O_RDWR | os.O_NONBLOCK))
        child.kill()
        child.wait()


def limited(kind, value, *arguments):
    """pygc with a limit of its own; whatever it says, it leaves no part of an output."""
    def row(w):
        if kind == resource.RLIMIT_AS and b"__tsan_init" in open(process.PYGC, "rb").read():
            return SKIP + "a program under TSan needs more address space to begin"
        out = tempfile.mkdtemp(dir=w.folder)
        ran = process.run([process.PYGC, "-c", w.core] + [a.replace("{out}", out) for a in arguments], HANG, preexec_fn=lambda: resource.setrlimit(kind, (value, value)))
        if ran.code not in (0, 1) and os.listdir(out):
            ran.code = "left behind: %s" % os.listdir(out)
        return ran
    return row


def read_only_folder(w):
    folder = tempfile.mkdtemp(prefix="pygc-read-only-")
    try:
        os.chmod(folder, 0o555)
        copy = os.path.join(folder, "core")
        shutil.copy(w.core, copy)
        os.chmod(copy, 0o644)
        return as_nobody(["-c", copy, "leaks", "-o", os.path.join(folder, "out")]) or SKIP + "not root: no other user to become"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stopped_target(w):
    """A target that was stopped before stays stopped; one that ran goes on."""
    target = w.program(w.static, "self_cycles")
    os.kill(target.pid, signal.SIGSTOP)
    time.sleep(0.2)
    ran = process.pygc("-p", target.pid, "leaks", timeout=HANG)
    with open("/proc/%d/stat" % target.pid) as f:
        state = f.read().rpartition(")")[2].split()[0]
    if state != "T":
        ran.code = "target in state %s" % state
    return ran


def running_target(w):
    ran = process.pygc("-p", w.python.pid, "leaks", timeout=HANG)
    time.sleep(0.1)
    with open("/proc/%d/stat" % w.python.pid) as f:
        state = f.read().rpartition(")")[2].split()[0]
    if state not in "SR":
        ran.code = "target in state %s" % state
    return ran


def no_memory_core(w):
    p = w.program(w.static, "self_cycles", twins=1)
    return leaks_on(p.kernel_core(p.twins[0], 0))


EXCLUDED = """
import ctypes, gc, os, resource, sys
gc.disable()
items = [None] * 100000
if sys.argv[1] == "gc.garbage":
    gc.garbage.extend(items)
    del items
    kept = gc.garbage
else:
    items[0] = items
    kept = items
word = ctypes.sizeof(ctypes.c_void_p)
begin = ctypes.c_void_p.from_address(id(kept) + 3 * word).value
first, last = begin & -4096, (begin + word * 100000 + 4095) & -4096
if sys.argv[1] == "text":
    text = "x" * 50000000                                   # has a mapping of its own: beyond glibc's highest threshold
    first, last = id(text) & -4096, (id(text) + 50000000) & -4096
madvise = ctypes.CDLL(None).madvise
madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
assert madvise(first, last - first, 16) == 0                # MADV_DONTDUMP
items = kept = None
resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
os.abort()
"""


def excluded(what, *command):
    """A whole core of a program that kept the items of one list, or a str, out of it."""
    def row(w):
        with open("/proc/sys/kernel/core_pattern") as f:
            if f.read().startswith(("|", "/")):
                return SKIP + "kernel.core_pattern does not write a core beside the program"
        folder = tempfile.mkdtemp(dir=w.folder)
        subprocess.run([sys.executable, "-c", EXCLUDED, what], cwd=folder, timeout=HANG, stderr=subprocess.DEVNULL)
        cores = os.listdir(folder)
        return ["-c", os.path.join(folder, cores[0])] + list(command) if cores else SKIP + "the kernel wrote no core"
    return row


def pypy(w, live=False):
    path = shutil.which("pypy3") or shutil.which("pypy")
    if not path:
        return SKIP + "no pypy here"
    child = subprocess.Popen([path, "-c", "import sys; print('READY'); sys.stdout.flush(); sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        if live:
            return process.pygc("-p", str(child.pid), "leaks")
        return leaks_on(w.gcore_of(child.pid, "pypy"))
    finally:
        child.kill()
        child.wait()


def own_copy(w, name):
    """A fixture on a copy of an interpreter's file, which a row may then take away: (program, core, path of the copy)."""
    i = w.static
    copy = w.path(name)
    shutil.copy(os.path.realpath(i.executable), copy)
    prefix = os.path.dirname(os.path.dirname(i.executable))
    env = {"PYTHONHOME": prefix}
    libraries = os.path.join(prefix, "lib", "x86_64-linux-gnu")
    if i.source == "cache":
        env["LD_LIBRARY_PATH"] = libraries
    p = w.program(copy, "node_tree", env=env)
    return p, p.gcore(), copy


def module_gone(w):
    _, core, copy = own_copy(w, "python-that-goes")
    os.rename(copy, copy + ".elsewhere")
    return leaks_on(core)


def module_gone_and_named(w):
    _, core, copy = own_copy(w, "python-that-moves")
    before = process.pygc("-c", core, "leaks", "--format", "json", timeout=HANG)
    os.rename(copy, copy + ".elsewhere")
    after = process.pygc("-c", core, "-e", copy + ".elsewhere", "leaks", "--format", "json", timeout=HANG)
    if before.code != after.code:
        after.code = "%s, and %s before the file had moved" % (after.code, before.code)
    elif process.result_bytes(before.out) != process.result_bytes(after.out):
        after.code = "another result than before the file had moved"
    return after


def module_other_build(w):
    _, core, copy = own_copy(w, "python-that-changes")
    os.unlink(copy)
    shutil.copy("/bin/ls", copy)
    return leaks_on(core)


def onto_the_core(w, words):
    """By another name of the same file; not a byte of it changes."""
    with tempfile.TemporaryDirectory() as folder:
        core, link = os.path.join(folder, "core"), os.path.join(folder, "link")
        shutil.copy(w.full_core, core)
        os.link(core, link)
        ran = process.run([process.PYGC, "-c", core, *words, link], timeout=HANG)
        with open(core, "rb") as now, open(w.full_core, "rb") as before:
            same = now.read() == before.read() and os.path.samefile(core, link)
        return ran if same else process.Result(ran.code, "the core was changed", "the core was changed", 0)


def closed_pipe(w):
    child = subprocess.Popen([process.PYGC, "-c", w.full_core, "leaks", "--format", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    _, err = "", child.stderr.read().decode(errors="replace")
    child.stderr.close()
    return process.Result(child.wait(), err, err, 0)


def pipe_that_does_not_wait(w):
    """Somebody who has the pipe too made it O_NONBLOCK, and it is read late: nothing is lost. (The first line has times.)"""
    whole = process.run([process.PYGC, "-c", w.full_core, "export", "--format", "jsonl"]).out
    end, out = os.pipe()
    os.set_blocking(out, False)
    child = subprocess.Popen([process.PYGC, "-c", w.full_core, "export", "--format", "jsonl"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE)
    os.close(out)
    time.sleep(1)
    with os.fdopen(end, errors="replace") as f:
        said = f.read()
    err = child.stderr.read().decode(errors="replace")
    child.stderr.close()
    return process.Result(child.wait(), "whole" if said.splitlines()[1:] == whole.splitlines()[1:] and len(said) > 1 << 17 else "%d characters of %d" % (len(said), len(whole)), err, 0)


def full_file(w):
    """The standard output is a file that may grow no more."""
    with open(w.path("full"), "wb") as out:
        child = subprocess.Popen([process.PYGC, "-c", w.full_core, "export", "--format", "jsonl"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
        err = child.stderr.read().decode(errors="replace")
        child.stderr.close()
        return process.Result(child.wait(), err, err, 0)


def shrinks(w):
    """A core that somebody truncates while it is read: an exit status of the contract, whatever was had by then."""
    path = w.path("shrinks")
    shutil.copy(w.core, path)
    child = subprocess.Popen([process.PYGC, "-c", path, "leaks"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.004)
    os.truncate(path, 8192)
    out, err = child.communicate(timeout=HANG)
    return process.Result(child.returncode, out.decode(errors="replace"), err.decode(errors="replace"), 0)


def lldb(*lines, after="version"):
    def row(w):
        if not lldb_host.versions():
            return SKIP + "no lldb, or no plugin built"
        ran = lldb_host.session([l.format(core=w.core, c=w.path("idle")) for l in lines] + [after], HANG)
        said = ran.out + ran.err
        # The prompt must have survived: the command after the failure has run.
        ran.out = ran.err = "\n".join(l for l in said.splitlines() if not l.startswith("(lldb)") and ("error:" in l or "pygc" in l))
        if not re.search(r"lldb version", said):
            ran.code = "lldb did not survive"
        elif ran.code in (0, 1):
            ran.code = "survived"
        return ran
    return row


def rows(w):
    core = w.core
    yield "no such file", 4, "no-such-core", lambda w: leaks_on(w.path("no-such-core"))
    yield "empty file", 4, "empty", lambda w: leaks_on(w.file("empty", b""))
    yield "text file", 4, "text.txt", lambda w: leaks_on(w.file("text.txt", b"This is no core.\n" * 100))
    yield "random bytes", 4, "random", lambda w: leaks_on(w.file("random", bytes((i * 7919 >> 3) & 255 for i in range(5000))))
    yield "directory", 4, "directory", lambda w: leaks_on(w.folder)
    yield "fifo", 4, "fifo", fifo
    yield "device", 4, "/dev/zero", lambda w: leaks_on("/dev/zero")
    yield "program instead of a core", 4, "idle", lambda w: leaks_on(w.path("idle"))
    yield "library instead of a core", 4, "(?i)core", lambda w: leaks_on(next(l.split()[-1] for l in open("/proc/self/maps") if "/libc" in l))
    yield "ELF header alone", {3, 4}, "40bytes", lambda w: leaks_on(w.file("40bytes", bytes_of_core(w, 40)))
    yield "600 bytes", {3, 4}, "600bytes", lambda w: leaks_on(w.file("600bytes", bytes_of_core(w, 600)))
    yield "minidump", 4, "(?i)minidump", lambda w: leaks_on(w.file("mini.dmp", b"MDMP\x93\xa7\0\0" + b"\0" * 4096))
    yield "32-bit core", 4, "(?i)32", foreign_class
    yield "core of another machine", 4, "(?i)machine|architecture|RISC", foreign_machine
    yield "core of a C program", 4, "(?i)python", lambda w: leaks_on(w.gcore_of(w.c.pid, "c"))
    yield "core of PyPy", 4, "(?i)is PyPy", pypy
    yield "core of a program called graalpy", 4, "(?i)is GraalPy", other_python("graalpy", "libpythonvm.so")
    yield "core of a program called micropython", 4, "(?i)is MicroPython", other_python("micropython")
    yield "core of MicroPython", 4, "(?i)is MicroPython", micropython
    yield "core of a C program called python3", 4, "(?i)not CPython", other_python("python3")
    yield "core of a C program called python3.12", 4, "(?i)not CPython: .* only bears the name of CPython 3.12", other_python("python3.12")
    yield "big-endian core", 4, "(?i)big-endian", big_endian
    yield "compressed kernel dump", 4, "(?i)kernel dump", lambda w: leaks_on(w.file("vmcore.kdump", b"KDUMP   " + struct.pack("<i", 6) + b"\0" * 4096))
    yield "kernel dump of diskdump", 4, "(?i)kernel dump", lambda w: leaks_on(w.file("vmcore.diskdump", b"DISKDUMP" + b"\0" * 4096))
    yield "flattened kernel dump", 4, "(?i)kernel dump", lambda w: leaks_on(w.file("vmcore.flat", b"makedumpfile\0\0\0\0" + struct.pack(">qq", 1, 1) + b"\0" * 4096))
    yield "kernel dump as ELF (vmcore)", 4, "(?i)physical memory", physical_memory(b"VMCOREINFO")
    yield "memory of a guest (QEMU)", 4, "(?i)physical memory", physical_memory(b"QEMU")
    yield "core without memory", 4, "coredump_filter|memory", no_memory_core
    yield "list items kept out of the core", 3, "^PARTIAL: references of 1 tracked object", excluded("list", "leaks")
    yield "items of gc.garbage kept out of the core", 3, "(?m)^PARTIAL: the items of gc.garbage", excluded("gc.garbage", "garbage")
    for command in (["heap"], ["sql", "select count(*) from objects"], ["export", "--format", "jsonl", "--redact"], ["expect", "--max-count", "str=100000000"]):
        yield "a str kept out of the core, %s" % command[0], 3, "(?m)PARTIAL: at least 1 object that the collector does not track|\"what\": ?\"at least 1 object", \
            excluded("text", *command)
    yield "a str kept out of the core, expect of what is unreachable", 0, "(?m)collector.* · exact$", excluded("text", "expect", "--max-unreachable", "100000000", "--no-finalizers-pending")
    yield "a str kept out of the core, leaks", 0, "(?m)collector.* · exact$", excluded("text", "leaks")
    yield "core on stdin is empty", 4, ".", lambda w: ["-c", "-", "leaks"]
    yield "core on stdin that is closed", 4, "standard input is closed", lambda w: process.run(["sh", "-c", 'exec "$0" -c - leaks <&-', process.PYGC])
    yield "core on stdin that is a folder", 4, "standard input: reading stopped", lambda w: process.run(["sh", "-c", 'exec "$0" -c - leaks </', process.PYGC])
    for part in (50, 90, 99):
        for name, whole in (("core", w.kernel_core), ("core with all memory", w.full_core)):
            yield "%s cut at %d %%" % (name, part), {1, 3}, "^PARTIAL", lambda w, part=part, whole=whole: leaks_on(w.truncated(whole, part))
            yield "%s cut at %d %%, JSON" % (name, part), {1, 3}, '"complete": ?false', \
                lambda w, part=part, whole=whole: leaks_on(w.truncated(whole, part)) + ["--format", "json"]
        yield "core by gcore cut at %d %%" % part, {1, 3, 4}, "cut|truncated|short|notes|PARTIAL", lambda w, part=part: leaks_on(w.truncated(core, part))
    if w.shared:
        # The roots lie in libpython's data, at the very end of the file: there may be nothing of the interpreter's state left.
        shared = w.program(w.shared, "node_tree", twins=1)
        shared = shared.kernel_core(shared.twins[0], 0x33)
        for part in (50, 90, 99):
            yield "core with shared libpython cut at %d %%" % part, {1, 3, 4}, "cut|truncated|short|PARTIAL", \
                lambda w, part=part: leaks_on(w.truncated(shared, part))
    yield "core that RLIMIT_CORE cut", {1, 3}, "^PARTIAL: .*is truncated: .*ulimit -c unlimited", \
        lambda w: leaks_on(core_of_command(w, "a process with a limit", [w.static.path, "-c", ABORTS], most=3 << 20))
    yield "core of a script by its first line", 0, "1 object waits for the next full collection", core_by_first_line
    yield "core of a program without a file (memfd)", {1, 3}, "PARTIAL: .*memfd:python.*-e EXE", core_of_memfd
    yield "packed core, no room to unpack it", 6, "unpacking stopped.*TMPDIR", unpacked_beyond_limit
    yield "core that shrinks while it is read", {0, 1, 3, 4, 6}, "", shrinks
    yield "module file gone", {1, 3}, "PARTIAL", module_gone
    yield "module file gone, but named by -e", {0, 1, 3}, "result", module_gone_and_named
    yield "module file of another build", {1, 3}, "(?i)build.?id", module_other_build
    yield "unreadable file", 5, "unreadable", unreadable
    yield "core of another user, read by root", {0, 1, 3}, "^(?!(?s:.)*is read as root)", lambda w: core_of_another_user(w, 0o777, 65534)
    yield "core of another user, read by root, who writes where that user may not", {0, 1, 3}, "belongs to user 65534 and is read as root", lambda w: core_of_another_user(w, 0o700, 0)
    yield "core that everybody may read", {0, 1}, "can be read by every user", core_for_everybody
    yield "core that its owner alone may read", {0, 1}, "^(?!(?s:.)*can be read by every user)", lambda w: leaks_on(w.full_core)
    yield "no such pid", 5, r"(?i)no (such )?process", no_such_pid
    yield "process of another user", 5, "(?i)ptrace|permi|root|sudo", other_user
    yield "pygc made setuid", 5, "setuid", setuid_program
    yield "process that is traced", 5, "(?i)gdb|trac", already_traced
    yield "process that nobody may read", 5, "(?i)dumpable|PR_SET_DUMPABLE", not_dumpable
    yield "without the right to trace", 5, "CAP_SYS_PTRACE", without_capability
    yield "thread that does not stop", 5, "(?i)did not stop|state D", uninterruptible
    yield "a pause of at most a millisecond", {0, 1, 3, 4}, "^(?!pygc: )|max-pause", lambda w: ["-p", str(w.python.pid), "leaks", "--max-pause", "1"]
    yield "zombie", {4, 5}, "(?i)zombie|exited", zombie
    yield "kernel thread", {4, 5}, "(?i)kernel|python", kernel_thread
    yield "process of PyPy", 4, "(?i)is PyPy", lambda w: pypy(w, live=True)
    yield "C process", 4, "(?i)python", lambda w: ["-p", str(w.c.pid), "leaks"]
    yield "running process goes on", {0, 1}, "", running_target
    yield "stopped process stays stopped", {0, 1}, "", stopped_target
    for bad in ("0", "-5", "abc", "99999999999999999999"):
        yield "pid %s" % bad, 2, "process id", lambda w, bad=bad: ["-p", bad, "leaks"]
    yield "no target", 2, ".", lambda w: ["leaks"]
    yield "two targets", 2, ".", lambda w: ["-c", core, "-p", "1", "leaks"]
    yield "unknown command", 2, "frobnicate", lambda w: ["-c", core, "frobnicate"]
    yield "unknown option", 2, "--frobnicate", lambda w: ["-c", core, "leaks", "--frobnicate"]
    yield "unknown format", 2, "(?i)format|yaml", lambda w: ["-c", core, "leaks", "--format", "yaml"]
    yield "value missing", 2, ".", lambda w: ["-c", core, "leaks", "--limit"]
    yield "value that is no number", 2, ".", lambda w: ["-c", core, "leaks", "--limit", "many"]
    yield "twenty thousand addresses", 0, "not an object|no object", lambda w: ["-c", core, "show"] + ["0x10"] * 20000
    yield "more words than any command line has", 2, "words: at most", lambda w: ["-c", core, "-x", w.file("commands", b"show" + b" 0x10" * 300000 + b"\n")]
    yield "unknown severity", 2, ".", lambda w: ["-c", core, "leaks", "--fail-on", "sometimes"]
    yield "seconds that are no number", 2, "seconds", lambda w: ["-c", core, "leaks", "--timeout", "soon"]
    yield "export without a format", 2, "sqlite.*jsonl", lambda w: ["-c", core, "export", "-o", w.path("x.db")]
    yield "export without a file", 2, ".", lambda w: ["-c", core, "export", "--format", "sqlite"]
    yield "output into a folder that is not there", 2, "no/such/folder", lambda w: ["-c", core, "leaks", "-o", w.path("no/such/folder/x")]
    yield "export into a folder that is not there", 2, "no/such/folder", lambda w: ["-c", core, "export", "--format", "sqlite", "-o", w.path("no/such/folder/x")]
    yield "output on a full device", 2, "/dev/full|space", lambda w: ["-c", core, "leaks", "-o", "/dev/full"]
    yield "output into a folder that is read-only", 2, "(?i)permission|denied", read_only_folder
    yield "output beyond the limit of a file's size", 2, "(?i)too large|limit", limited(resource.RLIMIT_FSIZE, 4096, "export", "--format", "jsonl", "-o", "{out}/x")
    yield "database beyond the limit of a file's size", 2, "(?i)full|too large|limit|write", limited(resource.RLIMIT_FSIZE, 65536, "export", "--format", "sqlite", "-o", "{out}/x.db")
    yield "a megabyte of memory", 3, "--max-memory.*there is no report", lambda w: ["-c", core, "leaks", "--max-memory", "1M"]
    yield "a megabyte of memory, export", 3, "--max-memory.*there is no report", lambda w: ["-c", core, "export", "--format", "jsonl", "-o", w.path("x.jsonl"), "--max-memory", "1M"]
    yield "few descriptors", {0, 1, 3, 5, 6}, ".", limited(resource.RLIMIT_NOFILE, 12, "leaks")
    yield "little address space", {0, 1, 3, 6}, ".", limited(resource.RLIMIT_AS, 200 << 20, "leaks")
    for what in ("leaks", "triage"):
        yield "little stack, %s" % what, {0, 1}, "exact|unreachable|garbage", limited(resource.RLIMIT_STACK, 128 << 10, what)
    yield "little stack, self-test", {0, 3}, "confinement", lambda w: process.run(["sh", "-c", 'ulimit -s 128; exec "$0" self-test', process.PYGC], timeout=HANG)
    yield "little stack that the user may raise", {0, 1}, ".", lambda w: process.run(["sh", "-c", 'ulimit -S -s 96; exec "$0" -c "$1" leaks', process.PYGC, w.full_core], timeout=HANG)
    for option in ("-o", "--save", "--layout", "--sysroot", "--debug-dir", "-e", "-c"):
        yield "a name that is empty, %s" % option, 2, "^pygc: .*%s.* needs a name" % option, lambda w, option=option: ["-c", core, "leaks", option, ""]
    for words in (["leaks", "-o"], ["status", "--save"], ["report", "-o"], ["export", "--format", "sqlite", "-o"]):
        yield "written onto the core, %s" % " ".join(words), 2, "^pygc: cannot write to .*this command reads it.*name another file", lambda w, words=words: onto_the_core(w, words)
    yield "written onto the other core of diff", 2, "^pygc: cannot write to .*this command reads it", lambda w: ["-c", core, "diff", w.full_core, "-o", w.full_core]
    yield "a device without end on standard input", 4, "-: a file whose first 512 bytes are zeroes, not an ELF core", lambda w: process.run(["sh", "-c", 'exec "$0" -c - leaks < /dev/zero', process.PYGC], timeout=HANG)
    yield "commands of a file without lines", 2, "^pygc: /dev/zero:1: no command is longer", lambda w: ["-c", core, "-x", "/dev/zero"]
    yield "closed pipe", {0, 1}, "", closed_pipe
    yield "standard output that does not wait", {0, 1}, "^whole", pipe_that_does_not_wait
    yield "standard output beyond the limit of a file's size", 2, "(?i)cannot write|too large", full_file
    yield "version", 0, r"\d+\.\d+", lambda w: ["--version"]
    yield "help", 0, "leaks", lambda w: ["--help"]
    for command in ("status", "leaks", "cycles", "garbage", "finalizers", "export"):
        yield "help of %s" % command, 0, command, lambda w, command=command: [command, "--help"]
    for command in ("status", "cycles", "garbage", "finalizers"):
        yield "%s works on the same core" % command, {0, 1}, ".", lambda w, command=command: ["-c", w.full_core, command]
        yield "%s works as JSON" % command, {0, 1}, r'"schema": ?"pygc\.%s/1"' % command, lambda w, command=command: ["-c", w.full_core, command, "--format", "json"]
    yield "LLDB without a process", "survived", "(?i)process|target|core", lldb("pygc leaks")
    yield "LLDB with a program that does not run", "survived", "(?i)process|core", lldb("target create {c}", "pygc leaks")
    yield "LLDB, unknown command", "survived", "frobnicate", lldb("target create --core {core}", "pygc frobnicate")
    yield "LLDB, unknown option", "survived", "frobnicate", lldb("target create --core {core}", "pygc leaks --frobnicate")


def judge(name, status, pattern, ran):
    """[what is wrong] with one run."""
    said = ran.out + ran.err
    wrong = []
    allowed = status if isinstance(status, set) else {status}
    if ran.code not in allowed:
        wrong.append("exit status %s, wanted %s: %s" % (ran.code, " or ".join(map(str, sorted(allowed, key=str))), ran.tail()))
    if pattern and not re.search(pattern, said):
        wrong.append("no %r in: %s" % (pattern, said.strip()[:300]))
    if NEVER.search(said):
        wrong.append("not for a user's eyes: %r" % NEVER.search(said).group(0))
    if ran.code in (4, 5):
        lines = [l for l in ran.err.splitlines() if l.strip()]
        if len(lines) != 1:
            wrong.append("%d lines on stderr instead of one: %s" % (len(lines), " | ".join(lines)[:300]))
        elif len(lines[0]) > 500:
            wrong.append("a line of %d characters" % len(lines[0]))
    if ran.code == 2 and not ran.err.strip():
        wrong.append("nothing on stderr")
    if ran.code == 2 and max(map(len, ran.err.splitlines() or [""])) > 250:
        wrong.append("too long for one line: %s" % ran.err[:400])
    return wrong


def main():
    arguments = [a for a in sys.argv[1:] if not a.startswith("-")]
    verbose = "-v" in sys.argv
    if "--help" in sys.argv:
        print(__doc__)
        return 0
    if not os.access(process.PYGC, os.X_OK):
        print("no %s: build first" % process.PYGC)
        return 1
    passed = failed = skipped = 0
    w = World()
    try:
        for name, status, pattern, make in rows(w):
            if arguments and not any(a in name for a in arguments):
                continue
            try:
                made = make(w)
                if isinstance(made, str):
                    skipped += 1
                    print("skipped %s: %s" % (name, made[len(SKIP):]))
                    continue
                ran = made if isinstance(made, process.Result) else process.pygc(*made, timeout=HANG)
                wrong = judge(name, status, pattern, ran)
            except Exception as e:  # a fault of the harness must not end the run
                wrong = ["harness: %s: %s" % (type(e).__name__, e)]
                ran = process.Result(None, "", "", 0)
            if wrong:
                failed += 1
                print("FAILED  bad input: %s" % name)
                print("\n".join("        " + x for x in wrong))
            else:
                passed += 1
                if verbose:
                    print("ok      bad input: %s: %s" % (name, ran.tail()[:160]))
            sys.stdout.flush()
    finally:
        w.close()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
