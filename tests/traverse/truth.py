"""Runs in the interpreter under test: builds the heap of a module in this folder and writes what gc.get_referents says of every tracked object.

usage: PYTHON truth.py OUT MODULE [post]

Prints READY PID and blocks. `post` collects once before; otherwise no collection and no traversal ever ran in this process (gc is off from the first
line, and the truth is written by a copy made with libc's fork), so that lazy binding and first-use paths are in their worst state."""
import gc

gc.disable()
import ctypes  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True


def write(path):
    objects = gc.get_objects()
    own = set([id(objects)])
    frame = sys._getframe()
    while frame is not None:
        own.add(id(frame))
        frame = frame.f_back
    own.add(id(own))
    out = open(path + ".tmp", "w")
    for o in objects:
        if id(o) not in own:
            out.write("%d %s\n" % (id(o), " ".join([str(id(r)) for r in gc.get_referents(o)])))
    out.close()
    os.rename(path + ".tmp", path)


def main():
    path, module = sys.argv[1], sys.argv[2]
    talk, listen = os.dup(1), os.dup(0)  # the types that are tried out close and redirect whatever they like
    __import__(module).build()
    if "post" in sys.argv[3:]:
        gc.collect()
    fork = ctypes.PyDLL(None).fork
    pid = fork()
    if pid == 0:
        signal.alarm(300)
        code = 1
        try:
            write(path)
            code = 0
        finally:
            os._exit(code)
    os.waitpid(pid, 0)
    os.write(talk, ("READY %d\n" % os.getpid()).encode("ascii"))
    os.read(listen, 1)


main()
