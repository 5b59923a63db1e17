"""A heap with as many of the types of installed C extension modules as can be made: every module imported, every type tried.

Imports every extension module below dist-packages or site-packages, makes instances of every type of it that can be called with few simple arguments, and
uses the best known packages as a program would (extension_uses.py). What dies or blocks is tried in a copy first and left out (trial.py). A second set of
instances goes into cycles that nothing holds. The network is taken away before anything is imported.

Environment: PYGC_MODULES, a regular expression: only the modules (and the uses) whose names it matches from their start (numpy|lxml).
PYGC_SKIP: steps to leave out, separated by commas. A step that kills the process in spite of the trial stands in OUT.step."""
import ctypes
import gc
import importlib
import os
import re
import signal
import sys
import sysconfig
import time
import warnings

import trial

warnings.simplefilter("ignore")
KEEP = []
NOTES = []
TRIED = []
SKIP_STEPS = set(os.environ.get("PYGC_SKIP", "").split(","))
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000

# Modules that are left out, with the reason. Everything else that fails says so in the notes.
SKIP_MODULES = {
    "tkinter": "needs a display",
    "_tkinter": "needs a display",
}
# Type names that do something to the machine or start processes and threads.
SKIP_TYPES = re.compile(r"(?i).*(process|popen|thread|daemon|socket|server|uinput|systemlock|reboot|fork|faker|signal|device|inhibit)")


STARTED = time.time()


def step(what):
    """Says what is about to be done, for whoever finds the process dead. False where it is to be left out."""
    if what in SKIP_STEPS:
        NOTES.append("step-died %s" % what)
        return False
    with open(sys.argv[1] + ".step", "w") as f:
        f.write(what)
    return True


def type_name(t):
    return "%s.%s" % (t.__module__, t.__qualname__)


def take_network_away():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0 and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        NOTES.append("network still-there errno-%d" % ctypes.get_errno())


def extension_modules():
    """Dotted names of all extension modules below the folders of installed packages."""
    suffixes = tuple(sorted({sysconfig.get_config_var("EXT_SUFFIX"), ".abi3.so", ".so"}, key=len, reverse=True))
    only = re.compile(os.environ.get("PYGC_MODULES") or "")
    names = set()
    for top in sys.path:
        if "packages" not in os.path.basename(top) or not os.path.isdir(top):
            continue
        for folder, folders, files in os.walk(top):
            folders[:] = sorted(d for d in folders if d.isidentifier() and d not in ("tests", "test", "testing", "__pycache__"))
            for f in sorted(files):
                suffix = next((s for s in suffixes if f.endswith(s)), None)
                if suffix is None or ("-debug" in f) or (suffix == ".so" and ".cpython-" in f):
                    continue
                name = ".".join(os.path.relpath(os.path.join(folder, f[:-len(suffix)]), top).split(os.sep))
                if all(part.isidentifier() for part in name.split(".")) and only.match(name):
                    names.add(name)
    return sorted(names)


def import_one(name):
    try:
        importlib.import_module(name)
    except BaseException as e:
        return "%s: %s" % (type(e).__name__, str(e).split("\n")[0][:100])
    return None


def import_all():
    names = [n for n in extension_modules() if n.split(".")[0] not in SKIP_MODULES]
    packages = {}
    for n in names:
        packages.setdefault(n.split(".")[0], []).append(n)

    def trial_import(package):
        for n in packages[package]:
            import_one(n)
        return True

    # A package at a time in a copy: one that kills its process is left out whole.
    good, dead = trial.survivors(sorted(packages), trial_import, 60)
    NOTES.extend("import-died %s" % p for p in dead)
    for package in good:
        if not step("import " + package):
            continue
        for n in packages[package]:
            why = import_one(n)
            if why:
                NOTES.append("import-failed %s: %s" % (n, why))


def all_types():
    seen, todo = set(), [object]
    while todo:
        for t in type.__subclasses__(todo.pop()):
            if t not in seen:
                seen.add(t)
                todo.append(t)
    return sorted(seen, key=lambda t: (str(getattr(t, "__module__", "")), t.__name__, id(t)))


def candidates(before):
    """Types that came with the imports: those that are not Python classes, one Python class for each that they derive from."""
    out = []
    for t in all_types():
        if t in before or SKIP_TYPES.match(t.__name__) or issubclass(t, (BaseException, type)):
            continue
        if not t.__flags__ & (1 << 14):  # Py_TPFLAGS_HAVE_GC
            continue
        out.append(t)
    return out


def traverse_of(t):
    return ctypes.c_void_p.from_address(id(t) + 184 + object.__basicsize__ - 16).value


def arguments():
    return [(), ([1, [2], "x"],), ("x",), (b"abc",), (1,), (bytearray(b"abcdefgh"), 0), ((3,), 8, "d"), ((3,), 8, b"d"), (lambda *a: a,), ({"a": [1]},),
            ("x", "y"), (1, 2), (None,), (object(),), ([1.0, 2.0], [3.0, 4.0]), ([[1]],), (int,), (lambda *a: a, [[1]]), (1, 2, 3), (1, 2, 3, 4)]


def make(t, limit):
    """Up to `limit` instances of t; [] where none can be made."""
    made = []
    for args in arguments():
        try:
            made.append(t(*args))
        except BaseException:
            continue
        if len(made) >= limit:
            break
    if not made:
        try:
            made.append(t.__new__(t))
        except BaseException:
            pass
    return [o for o in made if type(o) is t]


def instances(before):
    types = candidates(before)
    # No more than some types for one function: subtype_traverse of Python classes is that of most.
    taken, few = {}, []
    for t in types:
        f = traverse_of(t)
        taken[f] = taken.get(f, 0) + 1
        if taken[f] <= 400:
            few.append(t)

    def trial_make(t):
        return bool(make(t, 2))

    good, dead = trial.survivors(few, trial_make)
    NOTES.extend("type-died %s" % type_name(t) for t in dead)
    NOTES.append("seconds-types-tried %d" % (time.time() - STARTED))
    NOTES.append("types-tried %d" % len(few))
    NOTES.append("types-made %d" % len(good))
    TRIED.extend(good)
    for t in good:
        if not step("make " + type_name(t)):
            continue
        made = make(t, 3)
        KEEP.extend(made)
        for o in made[:2]:
            for name in ("__iter__", "items", "keys", "values", "__await__"):
                try:
                    f = getattr(o, name)
                    KEEP.append(f)
                    if name == "__iter__":
                        KEEP.append(f())
                except BaseException:
                    pass


def trash():
    """Cycles that nothing holds, around a fresh instance of every type that can be made without arguments."""
    good, _ = trial.survivors(TRIED[:4000], lambda t: len([t()]) == 1)
    for t in good:
        if not step("ring " + type_name(t)):
            continue
        ring = [t()]
        ring.append(ring)
    NOTES.append("types-in-unheld-cycles %d" % len(good))


def use():
    """The uses of extension_uses.py, each tried in a copy."""
    import extension_uses
    only = re.compile(os.environ.get("PYGC_MODULES") or "")
    uses = [f for name, f in sorted(vars(extension_uses).items()) if name.startswith("use_") and only.match(name[4:])]

    def run(f):
        try:
            KEEP.append(f())
        except ImportError:
            return False
        except BaseException as e:
            sys.stderr.write("%s: %s: %s\n" % (f.__name__, type(e).__name__, str(e)[:200]))
            return False
        return True

    good, dead = trial.survivors(uses, run, 60)
    NOTES.extend("use-died %s" % f.__name__ for f in dead)
    NOTES.append("uses %d" % len(good))
    for f in good:
        if step(f.__name__):
            run(f)


def build():
    gc.disable()
    sys.unraisablehook = lambda _: None
    take_network_away()
    before = set(all_types())
    import_all()
    gc.disable()
    NOTES.append("seconds-imported %d" % (time.time() - STARTED))
    use()
    NOTES.append("seconds-used %d" % (time.time() - STARTED))
    gc.disable()
    instances(before)
    gc.disable()
    trash()
    step("the truth")
    KEEP.append(before)
    with open(sys.argv[1] + ".notes", "a") as f:
        f.write("".join(n + "\n" for n in NOTES))
    for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
