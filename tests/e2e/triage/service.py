"""What tests/e2e/triage.py dumps: leaks cycles of some kinds, then ends in some way. ARGS: how it ends, what it leaks; prints READY and waits for a line."""
import gc
import os
import sys
import threading


class Node(object):
    def __init__(self):
        self.children, self.parent = [], None


class Alias(object):
    def __init__(self):
        self.again = self.method

    def method(self):
        return self


def leak_tree():
    parent, child = Node(), Node()
    parent.children.append(child)
    child.parent = parent


def leak(what):
    for _ in range(5):
        if what == "tree":
            leak_tree()
        elif what == "alias":
            Alias()
    if what == "garbage":
        gc.set_debug(gc.DEBUG_SAVEALL)
        Alias()
        gc.collect()


def by_null():
    import ctypes
    ctypes.string_at(0)


def by_abort():
    os.abort()


def in_thread():
    other = threading.Thread(target=by_abort)
    other.start()
    other.join()


def main():
    how, what = sys.argv[1:3]
    gc.collect()
    gc.disable()
    leak(what)
    sys.stdout.write("READY %d\n" % os.getpid())
    sys.stdout.flush()
    sys.stdin.readline()
    if how == "null":
        by_null()
    elif how == "abort":
        by_abort()
    elif how == "thread":
        in_thread()


main()
