"""Runs in the interpreter under test: builds the heap of a module in this folder and writes what the interpreter's own collector knows of it.

usage: PYTHON truth.py OUT MODULE [post] [ARGUMENT...]

OUT               a line for each tracked object: its address and those that gc.get_referents says, in order. An object that its tp_is_gc denies
                  (gc.get_referents then says nothing, the collector visits it all the same) has what its tp_traverse visits, called through ctypes.
OUT.hidden        the addresses of those objects
OUT.unreachable   the addresses that a full collection finds unreachable, before any finalizer runs
OUT.modules       the extension modules in the process: path, a line for each
OUT.notes         what was left out, and why: 'key value' lines

Prints READY PID and blocks. `post` collects once before; otherwise no collection and no traversal ever ran in this process (gc is off from the first
line, and the truth is written by a copy made with libc's fork), so that lazy binding and first-use paths are in their worst state."""
import gc

gc.disable()
import ctypes  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import trial  # noqa: E402

LIBC = ctypes.PyDLL(None)  # its calls keep the GIL
TP_TRAVERSE = 184  # bytes in PyTypeObject, LP64, builds with a GIL; only for objects that tp_is_gc denies (sys.getsizeof(object()) tells a debug build)
_VISIT = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_TRAVERSE = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _VISIT, ctypes.c_void_p)


def visited(o):
    """What the tp_traverse of `o` visits, called natively."""
    out = []
    extra = object.__basicsize__ - 16
    function = ctypes.c_void_p.from_address(id(type(o)) + TP_TRAVERSE + extra).value
    _TRAVERSE(function)(id(o), _VISIT(lambda referent, _: out.append(referent) or 0), None)
    return out


def write_referents(path, objects, own):
    """Writes the truth of `objects`. A native tp_traverse that dies takes a copy with it: its object is left out and noted."""
    mine = [o for o in objects if id(o) not in own]
    out = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    hidden = os.open(path + ".hidden", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)

    def one(chunk):
        text = []
        for o in chunk:
            referents = [id(r) for r in gc.get_referents(o)]
            if not referents and not gc.is_tracked(o):
                referents = visited(o)
                os.write(hidden, ("%d\n" % id(o)).encode("ascii"))
            text.append("%d %s\n" % (id(o), " ".join([str(r) for r in referents])))
        os.write(out, "".join(text).encode("ascii"))
        return True

    dead = [[mine]]
    size = 4096
    # What dies is split until single objects are left.
    while dead and size >= 1:
        chunks = [c[k:k + size] for group in dead for c in group for k in range(0, len(c), size)]
        dead = [trial.survivors(chunks, one, 120)[1]]
        if not dead[0]:
            break
        size //= 16
    with open(path + ".notes", "a") as notes:
        for group in dead:
            for chunk in group:
                for o in chunk:
                    notes.write("native-traverse-died %s.%s\n" % (type(o).__module__, type(o).__name__))


def write_unreachable(path):
    """The collector's own debug lines: they are written before any finalizer runs."""
    log = path + ".unreachable.log"
    pid = trial.fork()
    if pid == 0:
        signal.alarm(120)
        ended = 1
        try:
            sys.stderr = open(log, "w", 1)
            gc.set_debug(gc.DEBUG_SAVEALL | gc.DEBUG_COLLECTABLE | gc.DEBUG_UNCOLLECTABLE | getattr(gc, "DEBUG_INSTANCES", 0) | getattr(gc, "DEBUG_OBJECTS", 0))
            gc.collect()
            sys.stderr.flush()
            ended = 0
        finally:
            os._exit(ended)
    status = os.waitpid(pid, 0)[1]
    if status != 0:
        raise RuntimeError("the copy that asks the collector what is unreachable ended with wait status %d" % status)
    with open(log) as f, open(path + ".unreachable", "w") as out:
        for line in f:
            m = re.match(r"gc: (collectable|uncollectable) .*0x([0-9a-f]+)>$", line.strip())
            if m:
                out.write("%d\n" % int(m.group(2), 16))
    os.unlink(log)


def write(path):
    objects = gc.get_objects()
    own = set([id(objects)])
    frame = sys._getframe()
    while frame is not None:
        own.add(id(frame))
        frame = frame.f_back
    own.add(id(own))
    write_referents(path, objects, own)


def main():
    path, module = sys.argv[1], sys.argv[2]
    talk, listen = os.dup(1), os.dup(0)  # the types that are tried out close and redirect whatever they like
    __import__(module).build()
    gc.disable()
    if "post" in sys.argv[3:]:
        gc.collect()
    with open(path + ".modules", "w") as f:
        f.write("".join(sorted(set("%s\n" % m.__file__ for m in list(sys.modules.values()) if str(getattr(m, "__file__", "")).endswith(".so")))))
    # From here on no other thread runs Python: this one gives the GIL away neither when its time is up nor in a call, or the heap would not stay what the
    # copy has seen.
    write_raw, read_raw, wait_raw, space = LIBC.write, LIBC.read, LIBC.waitpid, ctypes.create_string_buffer(1)
    ready = ("READY %d\n" % os.getpid()).encode("ascii")
    getattr(sys, "setswitchinterval", getattr(sys, "setcheckinterval", None))(2 ** 30)
    pid = trial.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(500)
        code = 1
        try:
            write(path)
            write_unreachable(path)
            os.rename(path + ".tmp", path)
            code = 0
        finally:
            os._exit(code)
    wait_raw(pid, None, 0)
    write_raw(talk, ready, len(ready))
    read_raw(listen, space, 1)


main()
