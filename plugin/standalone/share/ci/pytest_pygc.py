"""pytest plugin: a test that hangs, or a run that crashes, leaves pygc's report with the test's name. Use: python -m pytest -p pytest_pygc

A second process watches this one. It hears which test runs; where one takes longer than --pygc-hang seconds it runs `pygc -p PID triage` (the tests
stand still for some milliseconds and go on); where this process ends without a word it looks for the core and runs `pygc -c CORE triage`.
With --pygc-leaks the process is looked at once more when all tests have run, and what can never be freed fails the run.
Python 3.6 and newer, Linux. Reports: pygc-reports/*.txt.
"""
import ctypes
import glob
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time

MOST_CORES = 50          # that are looked into
PR_SET_PTRACER = 0x59616D61     # linux/prctl.h: lets another process of this user read this one where kernel.yama.ptrace_scope is 1


def pytest_addoption(parser):
    group = parser.getgroup("pygc")
    group.addoption("--pygc", default=os.environ.get("PYGC") or shutil.which("pygc"), metavar="PROGRAM", help="the program pygc (default: $PYGC, or the one on the PATH)")
    group.addoption("--pygc-hang", type=float, default=300, metavar="S", help="a test that takes longer is looked at (default 300; 0: none)")
    group.addoption("--pygc-leaks", action="store_true", help="fail where something can never be freed at the end")
    group.addoption("--pygc-baseline", metavar="FILE", help="known findings, for --pygc-leaks")
    group.addoption("--pygc-reports", default="pygc-reports", metavar="DIR", help="where reports go (default pygc-reports)")


class Plugin:
    def __init__(self, config):
        self.option = config.getoption
        self.folder = os.path.abspath(self.option("--pygc-reports"))
        os.makedirs(self.folder, exist_ok=True)
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        try:
            with open("/proc/self/coredump_filter", "w") as f:
                f.write("0x37")
        except OSError:
            pass
        self.watcher = subprocess.Popen([sys.executable, os.path.abspath(__file__), str(os.getpid()), self.option("--pygc"), str(self.option("--pygc-hang")), self.folder, repr(time.time())],
                                        stdin=subprocess.PIPE, start_new_session=True)
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(self.watcher.pid), 0, 0, 0)

    def tell(self, **message):
        try:
            self.watcher.stdin.write(json.dumps(message).encode() + b"\n")
            self.watcher.stdin.flush()
        except (OSError, ValueError):
            pass

    def pytest_runtest_logstart(self, nodeid):
        self.tell(test=nodeid)

    def pytest_runtest_logfinish(self):
        self.tell(test=None)

    def pytest_sessionfinish(self, session):
        if self.option("--pygc-leaks"):
            self.tell(test=None)
            ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(0xFFFFFFFFFFFFFFFF), 0, 0, 0)   # pygc is not our parent: let any of this user's
            command = [self.option("--pygc"), "-p", str(os.getpid()), "leaks", "--redact"] + (["--baseline", self.option("--pygc-baseline")] if self.option("--pygc-baseline") else [])
            ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.leaks = ran.stdout.decode("utf-8", "replace")
            with open(os.path.join(self.folder, "leaks.txt"), "w", encoding="utf-8") as f:
                f.write(self.leaks)
            self.status = ran.returncode
            if ran.returncode != 0 and session.exitstatus == 0:
                session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter):
        if getattr(self, "status", 0) != 0:
            terminalreporter.section("pygc: %s" % {1: "objects that can never be freed", 3: "the process could be read only in part"}.get(self.status, "the process could not be read"))
            terminalreporter.write_line(self.leaks)

    def pytest_unconfigure(self):
        self.tell(end=True)
        try:
            self.watcher.stdin.close()
        except OSError:
            pass
        self.watcher.wait()


def pytest_configure(config):
    if not config.getoption("--pygc"):
        raise SystemExit("pytest_pygc: the program pygc was not found: give --pygc PROGRAM")
    if not hasattr(config, "workerinput"):      # under pytest-xdist the workers report through the main process
        config.pluginmanager.register(Plugin(config), "pygc-watch")


# ---- the watcher: a process of its own

def report(pygc, target, path, head):
    ran = subprocess.run([pygc] + target + ["triage"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with open(path, "w", encoding="utf-8") as f:
        f.write(head + "\n\n" + ran.stdout.decode("utf-8", "replace"))
    sys.stderr.write("\npygc: %s: %s\n" % (head, path))


def process_of(core, pygc):
    """The process that a core is of, as the kernel noted it in the core; None where that cannot be read."""
    ran = subprocess.run([pygc, "-c", core, "status", "--format", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        return json.loads(ran.stdout.decode("utf-8", "replace"))["target"]["pid"]
    except (ValueError, KeyError, TypeError):
        return None


def find_core(pid, since, pygc):
    """The newest core of process `pid`, of those written since: by what stands in it, because other processes leave cores in the same folder while tests run. One
    that pygc cannot read counts by its name, as core_pattern makes names."""
    with open("/proc/sys/kernel/core_pattern") as f:
        pattern = f.read().strip()
    folder = os.path.dirname(pattern) if pattern.startswith("/") else "/var/lib/systemd/coredump" if pattern.startswith("|") else os.getcwd()
    found = [p for p in glob.glob(os.path.join(glob.escape(folder), "*core*")) if os.path.isfile(p) and os.stat(p).st_mtime >= since]
    named = {p: str(pid) in re.findall("[0-9]+", os.path.basename(p)) for p in found}
    for path in sorted(found, key=lambda p: (named[p], os.stat(p).st_mtime), reverse=True)[:MOST_CORES]:
        of = process_of(path, pygc)
        if of == pid or (of is None and named[path]):
            return path
    return None


def watch(pid, pygc, hang, folder, started):
    import select
    test, since, told, rest, ended = None, time.monotonic(), False, b"", False
    while True:
        wait = max(0.1, since + hang - time.monotonic()) if hang and test and not told else 3600
        if select.select([0], [], [], wait)[0]:
            chunk = os.read(0, 65536)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                message = json.loads(line)
                ended = ended or "end" in message
                if "test" in message:
                    test, since, told = message["test"], time.monotonic(), False
        elif test and not told:
            told = True
            report(pygc, ["-p", str(pid)], os.path.join(folder, "hang-%d.txt" % pid), "%s has run for %.0f s" % (test, time.monotonic() - since))
    if ended:
        return
    for _ in range(50):     # the kernel may still be writing
        time.sleep(0.1)
        if not os.path.exists("/proc/%d" % pid) or open("/proc/%d/stat" % pid).read().rpartition(")")[2].split()[0] in "ZX":
            break
    core = find_core(pid, started, pygc)
    head = "the process ended in %s" % (test or "no test")
    if core:
        return report(pygc, ["-c", core], os.path.join(folder, "crash-%d.txt" % pid), head)
    with open(os.path.join(folder, "crash-%d.txt" % pid), "w", encoding="utf-8") as f:
        f.write(head + "\n\nNo core of process %d was found: see ulimit -c and /proc/sys/kernel/core_pattern (pygc self-test says what to change).\n" % pid)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
