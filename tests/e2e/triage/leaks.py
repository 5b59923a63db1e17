"""What tests/e2e/triage.py asks for the fingerprints of: leaks of equal shape that other places of the program make. Prints READY and waits for a line.

ARGS: a word that the keys that are data are made of, and leaks that are left out (a to h)."""
import gc
import os
import sys


class A(object):
    def make(self):
        def handler():
            return handler
        return 0


class B(object):
    def make(self):
        def handler():
            return handler
        return 0


def local_class():
    class Local(object):
        pass
    Local().me = 0
    return Local


def other_class():
    class Local(object):
        pass
    return Local


def ring(cls):
    node = cls()
    node.me = node


def load():
    try:
        raise ValueError(1)
    except ValueError as e:
        error = e       # noqa: F841: the frame keeps it


def save():
    try:
        raise ValueError(1)
    except ValueError as e:
        error = e       # noqa: F841


def keyed(key):
    box = {}
    box[key] = [box]


def main():
    word, out = sys.argv[1], sys.argv[2:]
    keep = [local_class(), other_class()]
    gc.collect()
    gc.disable()
    for name, leak in (("a", A().make), ("b", B().make), ("c", lambda: ring(keep[0])), ("d", lambda: ring(keep[1])), ("e", load), ("f", save),
                       ("g", lambda: keyed("first_key")), ("h", lambda: keyed("second_key"))):
        if name not in out:
            leak()
    for i in range(3):
        keyed("".join([word, " ", str(i)]))     # one finding, whatever the data is
    sys.stdout.write("READY %d\n" % os.getpid())
    sys.stdout.flush()
    sys.stdin.readline()


main()
