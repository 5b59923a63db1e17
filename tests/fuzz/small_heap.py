"""As small a heap as an interpreter can have, and of each kind of object that is read in a way of its own some. Started with -S -E: it imports no file, so that
nearly all its objects are those that every interpreter has, and what asks of its core a hundred thousand times asks of little.

small_heap.py FILE: writes {} to FILE (no truth is told), prints READY and its pid, and waits. Lost are cycles of lists, dicts, sets, instances, closures,
generators, bound methods and classes, 8 of each."""
import _weakref
import gc
import posix
import sys


class Plain(object):
    pass


class Slotted(object):
    __slots__ = ("other", "__weakref__")


class Final(object):
    def __del__(self):
        pass

    def method(self):
        return self


def lost():
    l = []
    l.append((l, {"l": l}))
    d = {1: "one", "two": 2.5, (3,): 3 << 70}
    d["self"] = d
    p, q = Plain(), Plain()
    p.other, q.other, p.bytes, p.array = q, p, b"bytes", bytearray(b"array")
    s, t = Slotted(), Slotted()
    s.other, t.other = t, set([s, frozenset([1, 2])])
    f = Final()
    f.bound = f.method

    def closure():
        return closure, f
    g = (x for x in [[1], [2]])
    next(g)
    p.generator, d["generator"] = (g for _ in [p]), g
    kind = type("Made", (Plain,), {"slot": property(lambda self: kind)})
    return [_weakref.ref(o) for o in (p, s, f, closure, kind)] + [_weakref.proxy(q)]


def main():
    gc.disable()
    kept = [lost() for _ in range(8)]
    kept.append(enumerate(iter([memoryview(b"view"), slice(1, 2), range(3), 1j, u"\u20ac", None, True, super(Final, Final())])))
    with open(sys.argv[1], "w") as f:
        f.write("{}")
    sys.stdout.write("READY %d\n" % posix.getpid())
    sys.stdout.flush()
    posix.read(0, 1)
    return kept


if __name__ == "__main__":
    main()
