"""CPython builds for the tests: which ones this machine has, and how the missing ones come from Debian.

For: scripts/interpreters, scripts/test, tests/e2e. Not for the product: pygc itself never looks for an interpreter.
A build of another Debian suite is unpacked below the cache (never installed), and runs through a small exec script
in CACHE/bin. Where the suite's glibc is not newer than the machine's, the script starts the interpreter's own file with
LD_LIBRARY_PATH (an ordinary process: /proc/PID/exe is the interpreter). Where it is newer, it starts the suite's own
ld.so with --library-path: /proc/PID/exe and AT_PHDR then name ld.so, and only the mappings name the interpreter. Both
ways every mapping names a file of this machine, so that gcore, kernel cores and live reads need no sysroot.
Python 3.7+, standard library only.
"""
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple

# Where Debian has a build of a version that pygc supports. sid moves: no package version is pinned anywhere.
SUITE_OF = {
    "2.7": "bullseye",
    "3.9": "bullseye",
    "3.11": "bookworm",
    "3.13": "trixie",
    "3.14": "sid",
    "3.15": "sid",
}

# Free-threaded builds, which Debian does not ship: built here from Debian's source packages, as upstream has them (without Debian's patches).
SOURCE_OF = {
    "3.13t": ("trixie", "python3.13"),
    "3.14t": ("sid", "python3.14"),
    "3.15t": ("sid", "python3.15"),
}
DEFAULT_BUILDS = ["3.13t"]      # sid's sources are not on every mirror

# What a machine must have for a test run to count: a test that skips one of these has failed.
REQUIRED = ["2.7", "3.9", "3.11", "3.13", "3.13t", "3.14", "3.15"]

PROBE = r"""
import sys, json
def config(name):
    try:
        import sysconfig
        return sysconfig.get_config_var(name)
    except Exception:
        return None
sys.stdout.write(json.dumps({
    "version": sys.version.split()[0].rstrip("+"),
    "hexversion": sys.hexversion,
    "implementation": getattr(getattr(sys, "implementation", None), "name", "cpython"),
    "debug": hasattr(sys, "gettotalrefcount"),
    "free_threaded": bool(config("Py_GIL_DISABLED")),
    "shared": any("libpython" in line for line in open("/proc/self/maps")),   # Debian's say Py_ENABLE_SHARED and are static
    "executable": sys.executable,
}))
"""


class ProvisionError(Exception):
    """Says what was being done, what was found and what to try; printed as one line."""


def cache_dir():
    """The folder that holds everything unpacked here: $PYGC_CACHE, else $XDG_CACHE_HOME or ~/.cache /pygc/interpreters."""
    explicit = os.environ.get("PYGC_CACHE")
    if explicit:
        return os.path.abspath(explicit)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "pygc", "interpreters")


# ---------------------------------------------------------------------------------------------------------------------
# Finding

Interpreter = namedtuple("Interpreter", "name version hexversion kind shared path executable source required debug_dir")


def counts_are_audited(interpreter):
    """False for free-threaded builds from 3.14 on, where part of the counts is kept with threads and frames: pygc says that it does not audit them."""
    return "free-threaded" not in interpreter.kind or interpreter.hexversion < 0x030E0000


def _probe(path):
    """What the interpreter at `path` says of itself; None where it does not start or is not CPython."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYENV_VERSION"))}
    try:
        run = subprocess.run([path, "-S", "-c", PROBE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, timeout=60, env=env)
        said = json.loads(run.stdout.decode())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return said if said["implementation"] == "cpython" else None


def _candidates():
    """(path, source) of every place where an interpreter may be."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    versions = os.path.join(pyenv, "versions")
    if os.path.isdir(versions):
        for name in sorted(os.listdir(versions)):
            path = os.path.join(versions, name, "bin", "python")
            if os.access(path, os.X_OK) and not os.path.islink(os.path.join(versions, name)):
                yield path, "pyenv"
    if os.access("/usr/bin/python3", os.X_OK):
        yield "/usr/bin/python3", "system"
    wrappers = os.path.join(cache_dir(), "bin")
    if os.path.isdir(wrappers):
        for name in sorted(os.listdir(wrappers)):
            if re.match(r"python\d\.\d+(t|-dbg)?$", name):
                yield os.path.join(wrappers, name), "cache"


def discover():
    """Every CPython found: pyenv's, the system's python3 and the cached ones, by version; one row for each file."""
    required = os.environ.get("PYGC_REQUIRE")
    required = [v for v in re.split(r"[\s,]+", required) if v] if required is not None else REQUIRED
    found = []
    for path, source in _candidates():
        said = _probe(path)
        if said is None:
            continue
        kind = "free-threaded" if said["free_threaded"] else "default"
        if said["debug"]:
            kind = "debug" if kind == "default" else "free-threaded debug"
        short = ".".join(said["version"].split(".")[:2])
        threaded = "t" if said["free_threaded"] else ""
        name = "%s%s-%s%s" % (said["version"], threaded, source, "-dbg" if said["debug"] else "")
        root = None
        if source == "cache" and not threaded:
            root = os.path.join(cache_dir(), "roots", SUITE_OF.get(short, ""), "usr", "lib", "debug")
        found.append(Interpreter(name, said["version"], said["hexversion"], kind, said["shared"], path, said["executable"],
                                 source, not said["debug"] and short + threaded in required,
                                 root if root and os.path.isdir(root) else None))
    return sorted(found, key=lambda i: (i.hexversion, i.source, i.name))


def missing(found):
    """The required versions ('3.14') of which `found` has no release build."""
    required = os.environ.get("PYGC_REQUIRE")
    required = [v for v in re.split(r"[\s,]+", required) if v] if required is not None else REQUIRED
    have = {".".join(i.version.split(".")[:2]) + ("t" if i.kind == "free-threaded" else "") for i in found if "debug" not in i.kind}
    return [v for v in required if v not in have]


# ---------------------------------------------------------------------------------------------------------------------
# Providing

def names():
    """Every NAME that install() takes."""
    return [v + dbg for v in SUITE_OF for dbg in ("", "-dbg")] + list(SOURCE_OF)


def default_names():
    """What `install` without a NAME brings. 3.11 comes from the machine where /usr/bin/python3 is one."""
    system = _probe("/usr/bin/python3") or {}
    own = ".".join(system.get("version", "").split(".")[:2])
    return [n for n in names() if n not in SOURCE_OF and SUITE_OF[n[:-4] if n.endswith("-dbg") else n] != "bookworm"] + \
           ([] if own == "3.11" else ["3.11"]) + DEFAULT_BUILDS


def _site():
    """The Debian mirror that this machine's own apt uses."""
    run = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)\t$(ORIGIN)\t$(COMPONENT)", "Created-By: Packages"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    rows = [line.split("\t") for line in run.stdout.decode().splitlines() if line.strip()]
    # The security archive has the same origin but holds no whole suite.
    sites = [r[0] for r in rows if r[0].rstrip("/").endswith("/debian") and "security" not in r[0]]
    sites += [r[0] for r in rows if len(r) > 1 and r[1] == "Debian" and "security" not in r[0]]
    if not sites:
        raise ProvisionError("cannot tell which Debian mirror to use: apt's own sources name none "
                             "(see `apt-get indextargets`); run `apt-get update` once and try again")
    return sites[0]


def _keyring():
    for name in ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp"):
        path = os.path.join("/usr/share/keyrings", name)
        if os.path.exists(path):
            return path
    raise ProvisionError("no Debian archive keyring in /usr/share/keyrings: apt-get install debian-archive-keyring")


class Suite:
    """One Debian suite in the cache: apt state of its own, and one root folder with the unpacked packages."""

    def __init__(self, name, say, sources=False, root=None):
        self.name = name
        self.say = say
        self.line = "deb-src" if sources else "deb"
        self.apt = os.path.join(cache_dir(), "apt", name + ("-source" if sources else ""))
        self.root = os.path.join(cache_dir(), "roots", root or name)
        self.manifest = self.root + ".json"

    def installed(self):
        """{package: version} unpacked in the root, and the NAMEs asked for."""
        try:
            with open(self.manifest) as f:
                state = json.load(f)
            if os.path.isdir(self.root):
                return state
        except (OSError, ValueError):
            pass
        return {"packages": {}, "names": []}

    def _run(self, command, what, cwd=None):
        env = dict(os.environ, APT_CONFIG=os.path.join(self.apt, "apt.conf"), LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive")
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=cwd)
        text = run.stdout.decode(errors="replace")
        if run.returncode:
            lines = [l for l in text.splitlines() if l.startswith(("E:", "Err:", "W:"))] or text.splitlines()
            raise ProvisionError("cannot %s for Debian %s: %s\n  (is the machine's network up, and does its mirror still carry %s?)"
                                 % (what, self.name, "; ".join(lines[-4:]).strip() or "exit %d" % run.returncode, self.name))
        return text

    def update(self):
        """Writes apt's configuration for this suite and fetches the package index."""
        for sub in ("lists/partial", "cache/archives/partial", "parts"):
            os.makedirs(os.path.join(self.apt, sub), exist_ok=True)
        open(os.path.join(self.apt, "status"), "a").close()
        with open(os.path.join(self.apt, "sources.list"), "w") as f:
            f.write("%s [signed-by=%s] %s %s main\n" % (self.line, _keyring(), _site(), self.name))
        with open(os.path.join(self.apt, "apt.conf"), "w") as f:
            # Own directories throughout: the machine's apt and dpkg never learn of any of this.
            f.write("\n".join([
                'Dir::State "%s";' % self.apt, 'Dir::State::lists "%s/lists";' % self.apt,
                'Dir::State::status "%s/status";' % self.apt, 'Dir::Cache "%s/cache";' % self.apt,
                'Dir::Etc::sourcelist "%s/sources.list";' % self.apt, 'Dir::Etc::sourceparts "-";',
                'Dir::Etc::preferencesparts "-";', 'Dir::Etc::preferences "-";',
                'Acquire::Languages "none";', 'Acquire::Retries "3";', 'APT::Architecture "amd64";', 'APT::Architectures "amd64";',
                # The cache may be below a home folder that apt's own download user cannot enter.
                'APT::Sandbox::User "";', 'Debug::NoLocking "true";', 'APT::Install-Recommends "false";',
                'DPkg::Post-Invoke ""; #clear DPkg::Post-Invoke;', '#clear APT::Update::Post-Invoke;',
                '#clear APT::Update::Post-Invoke-Success;',
                # A suite that gets no more updates keeps its last signature; the keyring still checks it.
                'Acquire::Check-Valid-Until "false";', ""]))
        self._run(["apt-get", "-qq", "update"], "fetch the package index")

    def plan(self, packages):
        """[(package, version, bytes)] that apt would fetch for `packages` on an empty machine, dependencies included."""
        text = self._run(["apt-get", "-qq", "-y", "--print-uris", "install"] + packages, "resolve " + " ".join(packages))
        rows = []
        for m in re.finditer(r"^'\S+' (\S+)_(\S+)_(?:amd64|all)\.deb (\d+)", text, re.M):
            rows.append((m.group(1), m.group(2).replace("%3a", ":"), int(m.group(3))))
        return rows

    def install(self, wanted):
        """Brings the packages of the NAMEs `wanted` (and of those asked for before) into the root."""
        state = self.installed()
        asked = sorted(set(state["names"]) | set(wanted))
        self.say("%s: fetching the package index" % self.name)
        self.update()
        want, newer_libc, changed = self.bring(sorted("python" + n for n in asked), state, self._describe, asked)
        if not changed:
            return
        for name in asked:
            self._wrapper(name, newer_libc)
        self.record({"packages": want, "names": asked, "loader": "ld.so" if newer_libc else "direct"})

    def record(self, state):
        """What the root holds, for the next run. Written last: a root without it counts as empty."""
        with open(self.manifest + ".tmp", "w") as f:
            json.dump(state, f, indent=1, sort_keys=True)
        os.rename(self.manifest + ".tmp", self.manifest)

    def bring(self, packages, state, describe, asked):
        """Unpacks `packages` and what they depend on into the root, where `state` does not have them yet.

        Returns ({package: version}, whether the suite's libc is newer than the machine's, whether anything changed).
        """
        plan = self.plan(packages)
        newer_libc = self._newer_than_host(dict((p, v) for p, v, _ in plan).get("libc6", "0"))
        if not newer_libc:
            plan = [row for row in plan if row[0] not in ("libc6", "libc-gconv-modules-extra")]
        want = {p: v for p, v, _ in plan}
        stale = any(want.get(p) != v for p, v in state["packages"].items())
        todo = [row for row in plan if stale or row[0] not in state["packages"]]
        if not todo:
            self.say("%s: up to date (%s)" % (self.name, describe(want, asked)))
            return want, newer_libc, False
        self.say("%s: downloading %d packages, %.1f MB, for %s" %
                 (self.name, len(todo), sum(b for _, _, b in todo) / 1e6, describe(want, asked)))
        debs = os.path.join(self.apt, "cache", "archives")
        self._run(["apt-get", "-qq", "-y", "--download-only", "install"] + ["%s=%s" % (p, v) for p, v, _ in plan], "download packages")
        new = self.root + ".new"
        shutil.rmtree(new, ignore_errors=True)
        if not stale and os.path.isdir(self.root):
            os.rename(self.root, new)         # only additions: keep what is there
            with contextlib.suppress(OSError):
                os.unlink(self.manifest)
        os.makedirs(os.path.join(new, "usr", "lib64"), exist_ok=True)
        for link in ("bin", "sbin", "lib", "lib64"):     # merged /usr, also for suites whose packages are older than that
            os.makedirs(os.path.join(new, "usr", link), exist_ok=True)
            if not os.path.lexists(os.path.join(new, link)):
                os.symlink("usr/" + link, os.path.join(new, link))
        todo_names = {p for p, _, _ in todo}
        for deb in sorted(os.listdir(debs)):
            if deb.endswith(".deb") and deb.split("_")[0] in todo_names:
                self._run(["dpkg-deb", "-x", os.path.join(debs, deb), new], "unpack " + deb)
        if stale:
            shutil.rmtree(self.root, ignore_errors=True)
        os.rename(new, self.root)
        for deb in os.listdir(debs):
            if deb.endswith(".deb"):
                os.unlink(os.path.join(debs, deb))
        return want, newer_libc, True

    @staticmethod
    def _describe(want, asked):
        return ", ".join("python%s %s" % (n, want.get("python" + n, "?")) for n in asked)

    @staticmethod
    def _newer_than_host(version):
        host = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libc6"], stdout=subprocess.PIPE).stdout.decode()
        upstream = lambda v: re.sub(r"^\d+:", "", v).split("-")[0]
        return subprocess.run(["dpkg", "--compare-versions", upstream(version), "gt", upstream(host)]).returncode == 0

    def _wrapper(self, name, newer_libc, suffix="", folders=(), environment=()):
        """CACHE/bin/pythonNAME: ends in exec of the interpreter, so that its pid is the pid of the caller's child.

        `folders`: more folders with libraries; `environment`: (variable, value) that it sets. `suffix` goes behind its name.
        """
        binary = os.path.join(self.root, "usr", "bin", "python" + name)
        if not os.path.exists(binary):
            raise ProvisionError("package python%s of Debian %s holds no usr/bin/python%s" % (name, self.name, name))
        libraries = ":".join([os.path.join(self.root, "usr", "lib", "x86_64-linux-gnu")] + list(folders))
        out = os.path.join(cache_dir(), "bin", "python" + name + suffix)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        quoted = lambda s: "'" + s.replace("'", "'\\''") + "'"
        with open(out + ".tmp", "w") as f:
            f.write("#!/bin/sh\n# Written by scripts/interpreters: CPython %s of Debian %s.\n" % (name, self.name))
            for variable, value in environment:
                f.write("export %s=%s\n" % (variable, quoted(value)))
            if newer_libc:
                loader = os.path.join(self.root, "usr", "lib64", "ld-linux-x86-64.so.2")
                if not os.path.exists(loader):
                    loader = os.path.join(self.root, "usr", "lib", "x86_64-linux-gnu", "ld-linux-x86-64.so.2")
                f.write("exec %s --library-path %s %s \"$@\"\n" % (quoted(loader), quoted(libraries), quoted(binary)))
            else:
                f.write("LD_LIBRARY_PATH=%s exec %s \"$@\"\n" % (quoted(libraries), quoted(binary)))
        os.chmod(out + ".tmp", 0o755)
        os.rename(out + ".tmp", out)


class Build:
    """One free-threaded interpreter in the cache, built from a source package: optimised, with debug information, without LTO and profiles."""

    def __init__(self, name, say):
        self.name = name
        self.say = say
        self.suite, self.package = SOURCE_OF[name]
        self.root = os.path.join(cache_dir(), "roots", "built", "python" + name)
        self.wrapper = os.path.join(cache_dir(), "bin", "python" + name)

    def is_there(self):
        said = _probe(self.wrapper) if os.access(self.wrapper, os.X_OK) else None
        return bool(said and said["free_threaded"])

    def install(self):
        suite = Suite(self.suite, self.say, sources=True)
        self.say("%s: fetching the index of Debian %s's source packages" % (self.name, self.suite))
        suite.update()
        work = os.path.join(cache_dir(), "build", self.name)
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work)
        suite._run(["apt-get", "-qq", "source", "--download-only", "--tar-only", self.package], "download the source package " + self.package, work)
        archives = [f for f in os.listdir(work) if ".orig.tar." in f and not f.endswith(".asc")]
        if len(archives) != 1:
            raise ProvisionError("source package %s of Debian %s holds %s instead of one upstream archive" % (self.package, self.suite, archives or "nothing"))
        self._step(["tar", "xf", archives[0], "--strip-components=1"], work, "unpack " + archives[0])
        self.say("%s: building %s: 3 to 6 minutes on two free cores" % (self.name, archives[0].split(".orig")[0].replace("_", " ")))
        env = dict(os.environ, OPT="-DNDEBUG -g -fwrapv -O2 -Wall")
        new = self.root + ".new"
        self._step(["./configure", "-q", "--prefix=" + self.root, "--disable-gil", "--without-ensurepip", "--disable-test-modules"], work, "configure", env)
        self._step(["make", "-s", "-j%d" % (os.cpu_count() or 2)], work, "build", env)
        shutil.rmtree(new, ignore_errors=True)
        self._step(["make", "-s", "install", "DESTDIR=" + new], work, "install", env)
        shutil.rmtree(self.root, ignore_errors=True)
        os.rename(new + self.root, self.root)
        shutil.rmtree(new, ignore_errors=True)
        self._write_wrapper()
        check = subprocess.run([self.wrapper, "-c", "import ctypes, json, threading, asyncio"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
        if check.returncode:
            os.unlink(self.wrapper)
            raise ProvisionError("%s was built, but lacks a module that the tests need (%s): apt-get install libffi-dev zlib1g-dev libssl-dev, then again" %
                                 (self.name, check.stdout.decode(errors="replace").strip().splitlines()[-1:]))
        shutil.rmtree(work, ignore_errors=True)

    def _write_wrapper(self):
        os.makedirs(os.path.dirname(self.wrapper), exist_ok=True)
        with open(self.wrapper + ".tmp", "w") as f:
            f.write("#!/bin/sh\n# Written by scripts/interpreters: CPython %s, built from Debian's source package %s.\nexec '%s' \"$@\"\n" %
                    (self.name, self.package, os.path.join(self.root, "bin", "python" + self.name)))
        os.chmod(self.wrapper + ".tmp", 0o755)
        os.rename(self.wrapper + ".tmp", self.wrapper)

    def _step(self, command, cwd, what, env=None):
        run = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if run.returncode:
            tail = run.stdout.decode(errors="replace").strip().splitlines()[-6:]
            raise ProvisionError("cannot %s %s in %s: %s\n  (needs a C compiler and make)" % (what, self.package, cwd, "; ".join(tail)))


@contextlib.contextmanager
def _lock():
    os.makedirs(cache_dir(), exist_ok=True)
    with open(os.path.join(cache_dir(), "lock"), "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def install(wanted, update=False, say=lambda text: None):
    """Makes the NAMEs runnable from CACHE/bin. What is there already costs no network, unless `update`.

    Errors: ProvisionError, with what to do.
    """
    unknown = [n for n in wanted if n not in names()]
    if unknown:
        raise ProvisionError("unknown interpreter %s (known: %s)" % (", ".join(unknown), " ".join(names())))
    with _lock():
        by_suite = {}
        for n in [n for n in wanted if n not in SOURCE_OF]:
            by_suite.setdefault(SUITE_OF[n[:-4] if n.endswith("-dbg") else n], []).append(n)
        for suite_name, suite_names in by_suite.items():
            suite = Suite(suite_name, say)
            state = suite.installed()
            there = all(n in state["names"] and os.access(os.path.join(cache_dir(), "bin", "python" + n), os.X_OK) for n in suite_names)
            if there and not update:
                say("%s: already there (%s)" % (suite_name, suite._describe(state["packages"], suite_names)))
                continue
            started = time.time()
            suite.install(suite_names)
            say("%s: done in %.0f s" % (suite_name, time.time() - started))
        for n in [n for n in wanted if n in SOURCE_OF]:
            build = Build(n, say)
            if build.is_there() and not update:
                say("%s: already there" % n)
                continue
            started = time.time()
            build.install()
            say("%s: done in %.0f s" % (n, time.time() - started))


def check(found, say):
    """Imports what the test oracle needs in each interpreter; returns the number that cannot."""
    bad = 0
    code = "import ctypes, json, sqlite3, ssl, threading, gc; ctypes.PyDLL(None).fork"
    for i in found:
        text = code + ("; import asyncio" if i.hexversion >= 0x03040000 else "")
        if i.source == "pyenv":
            text = text.replace(" sqlite3, ssl,", "")       # a pyenv build has those only where it was built with them
        run = subprocess.run([i.path, "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if run.returncode:
            bad += 1
            say("%s: %s" % (i.name, run.stdout.decode(errors="replace").strip().splitlines()[-1:]))
    return bad


if __name__ == "__main__":
    sys.exit("run scripts/interpreters")
