#!/usr/bin/env python3
"""pygc on a Debian that has nothing of it: from `git clone` to the first report, and the packages made there in another Debian that is as clean.

usage: fresh_debian.py [--suite NAME]... [--keep DIR]

For each suite (bookworm, trixie), from debootstrap: git, the commit that is checked out here, `scripts/demo`; timed, and more than ten minutes is a failure.
Then the packages are built there by cpack, and installed by apt-get into a second, clean copy, where the program, GDB and LLDB show that they find them.
Needs root, debootstrap, Debian's keyring and the mirror that apt has. --keep: where the folders are left, for a look. Last line: N passed, N failed, N skipped.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import packages  # noqa: E402
import process  # noqa: E402

SUITES = ("bookworm", "trixie")
LIMIT_SECONDS = 600  # from `git clone` to the first report
# Mounted in a namespace that ends with the command: nothing stays mounted in the folder.
INSIDE = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
          'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"']


def inside(root, script, timeout):
    ran = packages.run(*INSIDE, root, "sh", "-e", "-c", script, timeout=timeout)
    packages.check(ran.returncode == 0, "exit %d: %s" % (ran.returncode, packages.said(ran)))
    return ran.stdout.decode(errors="replace")


def clean(suite, folder):
    """A Debian of the least size, as a folder."""
    root = os.path.join(folder, suite)
    ran = packages.run("debootstrap", "--variant=minbase", "--keyring=" + interpreters._keyring(), suite, root, interpreters._site(), timeout=1800)
    packages.check(ran.returncode == 0, "debootstrap: " + packages.said(ran))
    for name in ("resolv.conf", "hosts"):
        if os.path.exists("/etc/" + name):
            shutil.copy("/etc/" + name, os.path.join(root, "etc", name))
    return root


def first_report(root):
    """Seconds from `git clone` to the end of scripts/demo: the README's two commands."""
    ran = packages.run("git", "clone", "-q", "--bare", process.ROOT, os.path.join(root, "src.git"))
    packages.check(ran.returncode == 0, packages.said(ran))
    inside(root, "apt-get -qq update; apt-get -qq -y --no-install-recommends install git ca-certificates >/dev/null", 900)
    start = time.monotonic()
    out = inside(root, "cd; git clone -q /src.git pygc; cd pygc; scripts/demo", 3600)
    seconds = time.monotonic() - start
    for wanted in ("the core, standalone", "inside LLDB", "inside GDB", "Pipe", "goes on"):
        packages.check(wanted in out, "%s is not in what scripts/demo says: %s" % (wanted, out[-400:]))
    print("  from git clone to the first report: %.0f s (load %.1f)" % (seconds, os.getloadavg()[0]))
    packages.check(seconds < LIMIT_SECONDS, "%.0f s" % seconds)


def build_packages(root):
    """The packages, made by the compiler and of the libraries of that suite."""
    inside(root, "apt-get -qq -y --no-install-recommends install file dpkg-dev >/dev/null; cd ~/pygc; cmake build -DPYGC_TESTS=OFF >/dev/null; cmake --build build -j 2 >/dev/null; cd build; cpack -G DEB >/dev/null", 3600)
    made = os.path.join(root, "root", "pygc", "build")
    debs = sorted(os.path.join(made, d) for d in os.listdir(made) if d.endswith(".deb"))
    packages.check({os.path.basename(d).split("_")[0] for d in debs} == {"pygc", "libpygc", "libpygc-dev", "pygc-gdb", "pygc-lldb"}, "packages: %s" % debs)
    return debs


def main():
    arguments, suites, keep = sys.argv[1:], [], None
    while arguments:
        if arguments[0] == "--suite" and len(arguments) > 1:
            suites.append(arguments[1])
        elif arguments[0] == "--keep" and len(arguments) > 1:
            keep = arguments[1]
        else:
            print(__doc__)
            return 0 if arguments[0] in ("-h", "--help") else 2
        arguments = arguments[2:]
    suites = suites or list(SUITES)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if os.getuid() != 0 or not shutil.which("debootstrap"):
        print("skipped  all: needs root and debootstrap\n0 passed, 0 failed, %d skipped" % len(suites))
        return 1
    folder = keep or tempfile.mkdtemp(prefix="pygc-debian-")

    def attempt(name, function, *how):
        try:
            result = function(*how)
            counts["passed"] += 1
            print("passed  %s" % name, flush=True)
            return result
        except (packages.Wrong, interpreters.ProvisionError, OSError, subprocess.TimeoutExpired) as e:
            counts["failed"] += 1
            print("FAILED  %s: %s: %s" % (name, type(e).__name__, str(e)[:600]), flush=True)
            return None

    try:
        for suite in suites:
            root = attempt(suite + ": debootstrap", clean, suite, folder)
            if root is None:
                continue
            second = root + ".second"
            subprocess.run(["cp", "-a", root, second], check=True)
            attempt(suite + ": git clone, scripts/demo", first_report, root)
            debs = attempt(suite + ": packages", build_packages, root)
            if debs:
                attempt(suite + ": packages in a clean Debian", packages.in_chroot, debs, second)
    finally:
        with open("/proc/self/mounts") as f:
            mounted = folder in f.read()
        if keep is None and not mounted:
            subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False)
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
