"""Extension modules of Debian's Python 3, for tests/traverse: brings them into the cache, never onto the machine.

For: scripts/extension-modules, tests/traverse. One root for a suite holds its interpreter and all packages of extension_packages.txt that the suite
has, with what they depend on, and CACHE/bin/pythonX.Y-extensions starts that interpreter with them. Python 3.7+, standard library only.
"""
import os
import re
import subprocess

import interpreters

# The interpreter of each suite that is used for this. sid moves too fast for its packages to fit each other on every day.
PYTHON_OF = {"bookworm": "3.11", "trixie": "3.13"}
LIST = os.path.join(os.path.dirname(os.path.realpath(__file__)), "extension_packages.txt")


def wanted():
    """The names in extension_packages.txt."""
    with open(LIST) as f:
        lines = [line.split("#")[0].strip() for line in f]
    return sorted({line for line in lines if line})


def wrapper(suite):
    return os.path.join(interpreters.cache_dir(), "bin", "python%s-extensions" % PYTHON_OF[suite])


def discover():
    """[(suite, path of its interpreter with extension modules)] of those that were brought."""
    return [(s, wrapper(s)) for s in PYTHON_OF if os.access(wrapper(s), os.X_OK)]


class Extensions(interpreters.Suite):
    """One Debian suite's Python with extension modules."""

    def __init__(self, name, say):
        super().__init__(name, say, root="extensions-" + name)

    def known(self, packages):
        """Those of `packages` that the suite's index has as a package of its own."""
        text = self._run(["apt-cache", "dumpavail"], "look packages up")
        return sorted(set(re.findall(r"^Package: (\S+)$", text, re.M)) & set(packages))

    def installable(self, packages):
        """Those that apt can resolve together: packages whose dependencies the suite cannot meet are left out one by one."""
        packages = list(packages)
        while packages:
            try:
                self.plan(packages)
                return packages
            except interpreters.ProvisionError as e:
                named = [p for p in packages if re.search(r"(?<![\w.-])%s(?![\w.-])" % re.escape(p), str(e))]
                if not named:
                    raise
                self.say("%s: cannot be installed there: %s" % (self.name, " ".join(named)))
                packages = [p for p in packages if p not in named]
        return packages

    def _folders(self):
        """Folders with libraries below the root that the loader would not search: what Debian's alternatives would link."""
        base = os.path.join(self.root, "usr", "lib", "x86_64-linux-gnu")
        out = []
        for name in sorted(os.listdir(base)):
            folder = os.path.join(base, name)
            if os.path.isdir(folder) and not os.path.islink(folder) and any(re.match(r"lib.*\.so\.\d", f) for f in os.listdir(folder)):
                out.append(folder)
        return out

    def _link(self):
        """Data that a package looks for below the machine's own /usr/share."""
        for package, name, target in (("matplotlib", "mpl-data", "usr/share/matplotlib/mpl-data"),):
            folder = os.path.join(self.root, "usr", "lib", "python3", "dist-packages", package)
            if os.path.isdir(folder) and not os.path.lexists(os.path.join(folder, name)):
                os.symlink(os.path.join(self.root, target), os.path.join(folder, name))

    def provide(self):
        python = PYTHON_OF[self.name]
        state = self.installed()
        self.say("%s: fetching the package index" % self.name)
        self.update()
        asked = self.known(wanted())
        lack = sorted(set(wanted()) - set(asked))
        if lack:
            self.say("%s: not in this suite: %s" % (self.name, " ".join(lack)))
        asked = self.installable(asked)
        describe = lambda want, names: "%d packages with extension modules, python%s %s" % (len(names), python, want.get("python" + python, "?"))
        want, newer_libc, changed = self.bring(["python" + python] + asked, state, describe, asked)
        self._link()
        base = os.path.join(self.root, "usr", "lib", "x86_64-linux-gnu")
        self._wrapper(python, newer_libc, "-extensions", self._folders(),
                      [("GI_TYPELIB_PATH", os.path.join(base, "girepository-1.0")), ("QT_QPA_PLATFORM", "offscreen"), ("SDL_VIDEODRIVER", "dummy"),
                       ("OPENBLAS_NUM_THREADS", "1"), ("OMP_NUM_THREADS", "1"), ("MPLBACKEND", "agg")])
        if changed:
            self.record({"packages": want, "names": asked})


def install(suites, update=False, say=lambda text: None):
    """Makes CACHE/bin/pythonX.Y-extensions of each suite runnable. What is there already costs no network, unless `update`."""
    unknown = [s for s in suites if s not in PYTHON_OF]
    if unknown:
        raise interpreters.ProvisionError("unknown suite %s (known: %s)" % (", ".join(unknown), " ".join(PYTHON_OF)))
    with interpreters._lock():
        for name in suites:
            suite = Extensions(name, say)
            if not update and suite.installed()["names"] and os.access(wrapper(name), os.X_OK):
                say("%s: already there (%d packages)" % (name, len(suite.installed()["packages"])))
                continue
            suite.provide()
