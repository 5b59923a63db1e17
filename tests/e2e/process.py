"""Starts fixture programs and dumps them: by gcore, and by the kernel through the twins that a fixture makes of itself."""
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time

TESTS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
ROOT = os.path.dirname(TESTS)
PROGRAMS = os.path.join(ROOT, "fixtures", "programs")
PYGC = os.environ.get("PYGC") or os.path.join(os.environ.get("PYGC_BUILD") or os.path.join(ROOT, "build"), "bin", "pygc")


class CannotTest(Exception):
    """The test could not be carried out; not a fault of pygc, yet not a pass."""


def _child_limits():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class Program:
    """One running fixture: blocked in a read, with its truth, its folder and, if asked for, its twins."""

    def __init__(self, interpreter, program, args=(), twins=0, timeout=300, env=None):
        self.folder = tempfile.mkdtemp(prefix="pygc-e2e-")
        self.pids = []
        truth = os.path.join(self.folder, "truth.json")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYENV_VERSION"))}
        environment.update(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
        environment.update(env or {})
        path = program if os.path.isabs(program) else os.path.join(PROGRAMS, program + ".py")
        command = ([interpreter] if isinstance(interpreter, str) else list(interpreter)) + [path, truth] + list(args)
        if twins:
            command.append("--twins=%d" % twins)
        with open(os.path.join(self.folder, "stderr"), "wb") as stderr:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=self.folder,
                                          env=environment, preexec_fn=_child_limits)
        try:
            self.pids = self._wait_ready(timeout)
            with open(truth) as f:
                self.truth = json.load(f)
        except BaseException:
            self.close()
            raise
        self.pid = self.pids[0]
        self.twins = self.pids[1:]

    def _wait_ready(self, timeout):
        said, end = b"", time.time() + timeout
        while time.time() < end:
            if not select.select([self.child.stdout], [], [], max(0.0, end - time.time()))[0]:
                break
            chunk = os.read(self.child.stdout.fileno(), 65536)
            said += chunk
            ready = re.search(rb"^READY ([\d ]+)\n", said, re.M)
            if ready:
                return [int(p) for p in ready.group(1).split()]
            if not chunk:
                break
        with open(os.path.join(self.folder, "stderr"), errors="replace") as f:
            last = f.read().strip().splitlines()[-3:]
        raise CannotTest("the program did not reach READY: " + " | ".join(last))

    def gcore(self):
        """Path of a core that gdb's gcore took; the process goes on."""
        return gcore(self.pid, self.folder)

    def kernel_core(self, pid, coredump_filter, signal_name="ABRT"):
        """Path of the core that the kernel writes of twin `pid`, which dies of it."""
        return kernel_core(pid, self.folder, coredump_filter, signal_name)

    def close(self, keep=False):
        for pid in self.pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.child.kill()
        self.child.stdin.close()
        self.child.stdout.close()
        self.child.wait()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()


def gcore(pid, folder):
    """Path of a core of process `pid` in `folder` that gdb's gcore took; the process goes on."""
    ran = run(["gcore", "-o", os.path.join(folder, "gcore"), str(pid)])
    path = os.path.join(folder, "gcore.%d" % pid)
    if not os.path.exists(path):
        raise CannotTest("gcore wrote no core: " + ran.tail())
    return path


def kernel_core(pid, folder, coredump_filter, signal_name="ABRT"):
    """Path of the core that the kernel writes of process `pid`, whose current folder is `folder`, and which dies of it."""
    with open("/proc/sys/kernel/core_pattern") as f:
        pattern = f.read().strip()
    if pattern.startswith("|"):
        raise CannotTest("kernel.core_pattern is a pipe (%s): set it to `core` to let the tests see kernel cores" % pattern)
    with open("/proc/%d/coredump_filter" % pid, "w") as f:
        f.write("0x%x" % coredump_filter)
    before = set(os.listdir(folder))
    os.kill(pid, getattr(signal, "SIG" + signal_name))
    end = time.time() + 120
    while time.time() < end:
        try:
            with open("/proc/%d/stat" % pid) as f:
                if f.read().rpartition(")")[2].split()[0] in "ZX":
                    break
        except OSError:
            break
        time.sleep(0.01)
    new = [n for n in sorted(set(os.listdir(folder)) - before) if "core" in n]
    if not new:
        raise CannotTest("the kernel wrote no core (kernel.core_pattern is %r, ulimit -c unlimited is set)" % pattern)
    path = os.path.join(folder, "kernel.%x" % coredump_filter)
    os.rename(os.path.join(folder, new[0]), path)
    return path


def only_stacks_missing(ran):
    """gcore leaves the stacks of threads as zeroes where their guard pages lie inside the mapping (glibc 2.42+): what reads roots is partial then, and nothing else."""
    missing = [line for line in ran.err.splitlines() if line.startswith("pygc: PARTIAL: ")]
    return ran.code == 3 and missing != [] and all(re.match(r"pygc: PARTIAL: the stacks? of \d+ threads?:", line) for line in missing)


class Result:
    """What one run of a command gave."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def tail(self):
        return (self.err or self.out).strip()[-300:].replace("\n", " | ")


def run(command, timeout=300, typed=None, **more):
    started = time.time()
    more.update({"stdin": subprocess.DEVNULL} if typed is None else {"input": typed.encode()})
    try:
        r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, **more)
    except subprocess.TimeoutExpired as e:
        return Result("timeout", (e.stdout or b"").decode(errors="replace"), "no end after %d s" % timeout, timeout)
    return Result(r.returncode, r.stdout.decode(errors="replace"), r.stderr.decode(errors="replace"), time.time() - started)


def pygc(*arguments, timeout=300, **more):
    return run([PYGC] + [str(a) for a in arguments], timeout, **more)


def result_bytes(document):
    """The text of the value of "result" in a JSON report: it is the last member."""
    at = document.find('"result"')
    if at < 0:
        raise ValueError("no result in the report: " + document[:200])
    json.loads(document)
    return document[at:].rstrip()
