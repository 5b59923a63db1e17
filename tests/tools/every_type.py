"""Instances of every type that the native readers know, in many shapes; blocks to be dumped. For compare_referents.py. 2.7, 3.6 to 3.15."""
import collections
import functools
import gc
import itertools
import os
import sys
import time
import types
import weakref

import oracle

PY3 = sys.version_info[0] >= 3
keep = []
K = keep.append


class Plain(object):
    pass


class Slotted(object):
    __slots__ = ("one", "two", "__weakref__")


class SlottedChild(Slotted):
    __slots__ = ("three",)


class SlottedDict(Slotted):
    pass


class Meta(type):
    pass


WithMeta = Meta("WithMeta", (object,), {"x": 1})


class ListChild(list):
    pass


class ListSlots(list):
    __slots__ = ("extra",)


class DictChild(dict):
    pass


class TupleChild(tuple):
    pass


class IntChild(int):
    pass


class StrChild(str):
    pass


class SetChild(set):
    pass


class DequeChild(collections.deque):
    pass


class OrderedChild(collections.OrderedDict):
    pass


class DefaultChild(collections.defaultdict):
    pass


class PartialChild(functools.partial):
    pass


class ErrorChild(Exception):
    pass


class OSErrorChild(OSError):
    pass


class ModuleChild(types.ModuleType):
    pass


class PropertyChild(property):
    pass


class RefChild(weakref.ref):
    pass


class WithDel(object):
    def __del__(self):
        pass


class WithSizeof(object):
    def __sizeof__(self):
        return 5


if not PY3:
    class Classic:
        def method(self):
            pass

    class ClassicChild(Classic):
        def __del__(self):
            pass

    c = Classic()
    c.self = c
    d = ClassicChild()
    d.c = c
    K([c, d, c.method, Classic.method])


def containers():
    for n in (0, 1, 3, 5, 8, 9, 20, 100, 300, 70000):
        K([[] for _ in range(n)])
        K(tuple([] for _ in range(n)))
        K(dict((i, []) for i in range(n)))
        K(dict(("k%d" % i, []) for i in range(n)))
        K(set(("s", i, ()) for i in range(n)))
        K(frozenset(range(n)))
    d = dict(("k%d" % i, []) for i in range(50))
    for i in range(40):
        del d["k%d" % i]
    K(d)
    d = {"a": [], 1: []}
    del d[1]
    K(d)
    d = {}
    for i in range(50):
        d[(i, "x")] = [i]
        if i % 3 == 0:
            del d[(i, "x")]
    K(d)
    s = set((i, "x") for i in range(100))
    for i in range(90):
        s.discard((i, "x"))
    K(s)
    s = set()
    for i in range(5):
        s.add((i, []) if False else (i, "y"))
    s.discard((1, "y"))
    K(s)
    l = []
    for i in range(1000):
        l.append([])
    del l[10:990]
    K(l)
    K([None, [], None])
    for klass in (ListChild, TupleChild, SetChild, DequeChild):
        x = klass([(), (2, len), 1])
        x.attr = []
        K(x)
    x = ListSlots([[], []])
    x.extra = {}
    K(x)
    x = DictChild(a=[])
    x.attr = []
    x[5] = []
    K(x)
    for klass in (IntChild, StrChild):
        x = klass(7)
        x.attr = []
        K(x)
    x = IntChild(-(1 << 20))
    x.attr = []
    K(x)
    if PY3:
        x = IntChild(1 << 200)
        x.attr = []
        K(x)
    for n in (0, 1, 30, 62, 63, 64, 65, 200):
        q = collections.deque([i] for i in range(n))
        K(q)
        q = collections.deque([i] for i in range(n))
        for _ in range(n // 2):
            q.popleft()
            q.append([])
        q.rotate(3)
        K(q)
    K(collections.deque([[], []], maxlen=2))
    for n in (0, 1, 5, 100):
        o = collections.OrderedDict(("k%d" % i, []) for i in range(n))
        K(o)
        o = OrderedChild(("k%d" % i, []) for i in range(n))
        o.attr = []
        o.pop("k0", None)
        K(o)
    o = collections.OrderedDict()
    o[1] = o[(1, 2)] = []
    K(o)
    K(weakref.ref(o))
    x = collections.defaultdict(list, a=[], b=[])
    K(x)
    x = DefaultChild(dict, {1: []})
    x.attr = []
    K(x)
    K(collections.Counter("abracadabra"))
    Point = collections.namedtuple("Point", "x y")
    K(Point([], {}))
    K([os.stat("."), time.localtime(), sys.version_info, sys.flags])
    d = {"a": []}
    K([d.keys(), d.values(), d.items(), iter(d)])
    if PY3:
        K(types.MappingProxyType(d))
        K([iter(d.keys()), iter(d.values()), iter(d.items())])
        K(types.SimpleNamespace(a=[], b=d))
        K([o.keys(), o.values(), o.items(), iter(o), iter(o.items())])
    else:
        K([d.viewkeys(), d.viewvalues(), d.viewitems(), d.iterkeys(), d.itervalues(), d.iteritems()])
    K(object.__dict__)


def instances():
    for n in (0, 1, 3, 10, 29, 31, 60):
        x = Plain()
        for i in range(n):
            setattr(x, "attr%d" % i, [i])
        K(x)
        if n == 3:
            del x.attr1
        if n == 10:
            K(x.__dict__)
    x = Plain()
    x.a = []
    x.__dict__["b"] = []
    K(x)
    K(x.__dict__)
    y = Plain()
    y.a = []
    K(vars(y))
    del y
    y = Plain()
    y.a = []
    y.__dict__ = {"new": []}
    K(y)
    y = Plain()
    y.a = []
    d = y.__dict__
    y.__dict__ = {}
    K([y, d])
    y = Plain()
    y.a = [1]
    y.__dict__[5] = []
    K(y)
    y = Plain()
    y.b = []
    y.a = []
    K(y)
    x = Slotted()
    x.one = []
    K(x)
    x = SlottedChild()
    x.one = []
    x.three = {}
    K(x)
    x = SlottedDict()
    x.two = []
    x.free = []
    K([x, weakref.ref(x)])
    x = WithMeta()
    x.a = []
    K([x, WithMeta, Meta])
    K([WithDel(), WithSizeof()])

    def make(i):
        class Local(Plain):
            __slots__ = ()
            value = [i]

            class Inner(object):
                pass
        return Local
    for i in range(5):
        L = make(i)
        K([L, L(), L.Inner()])
    m = ModuleChild("made")
    m.a = []
    K(m)
    K(types.ModuleType("other"))
    p = PropertyChild(lambda self: 1)
    K(p)


def callables():
    def f(a, b=[], *c, **d):
        "doc"
        return a, b, inner

    def inner():
        return f
    f.attr = []
    K([f, inner, Plain().__init__, [].append, {}.get, len, sys.getsizeof, Plain.__init__, object.__init__, type.__call__])
    K([f.__get__(Plain()), [].__len__, str.join, dict.fromkeys, dict.__dict__["fromkeys"], types.FunctionType.__dict__["__code__"]])
    if PY3:
        exec("def g(a: list, *, b: dict = {}) -> set: pass\nK(g)", {"K": K})
        K(types.FunctionType.__dict__["__globals__"])
    x = functools.partial(f, [], b={})
    x.attr = []
    K(x)
    x = PartialChild(f, [])
    x.attr = []
    K(x)
    K([classmethod(f), staticmethod(f), property(f, f, f), property(), super(SlottedChild, SlottedChild())])

    class P(object):
        @property
        def value(self):
            "doc"
            return 1

        @classmethod
        def cm(cls):
            pass

        @staticmethod
        def sm():
            pass
    K([P, P(), P.cm, P.sm, P().cm])
    if hasattr(functools, "lru_cache"):
        @functools.lru_cache(maxsize=3)
        def cached(a):
            return [a]
        for i in range(5):
            cached((i, "x"))
        K(cached)

        @functools.lru_cache(maxsize=None)
        def unbounded(a):
            return [a]
        for i in range(5):
            unbounded((i, "x"))
        K(unbounded)

        @functools.lru_cache(maxsize=10, typed=True)
        def typed(a, b=None):
            return [a]
        for i in range(5):
            typed((i, "x"), b=(1, "y"))
        typed.attr = []
        K(typed)
    K(RefChild(P))
    r = RefChild(P, f)
    r.attr = []
    K([r, weakref.ref(P, f), weakref.proxy(P, f), weakref.proxy(f), weakref.ref(P)])
    K([slice([], {}, ()), memoryview(bytearray(b"abc")), memoryview(b"abc")])


def generators():
    def gen(a, b=()):
        c = [a, b]
        for x in (1, 2, 3):
            try:
                yield x
            finally:
                c = None

    def loop():
        for x in range(5):
            yield x
    fresh = gen([])
    K(fresh)
    g = gen([], {})
    next(g)
    K(g)
    g = loop()
    next(g)
    K(g)
    done = gen([])
    list(done)
    K(done)
    failed = gen([])
    next(failed)
    try:
        failed.throw(ValueError("x"))
    except ValueError:
        K(sys.exc_info())
    K(failed)

    def handling():
        try:
            raise KeyError("k")
        except KeyError:
            yield 1
    g = handling()
    next(g)
    K(g)
    if PY3:
        scope = {"K": K}
        exec("""
def outer():
    yield from inner()
def inner():
    x = [1]
    yield x
g = outer(); next(g); K(g)
async def coro(a):
    b = [a]
    await sleeper()
class sleeper:
    def __await__(self):
        yield 1
c = coro([]); c.send(None); K(c)
c = coro({}); K(c)
async def agen():
    x = []
    try:
        yield x
    finally:
        pass
a = agen(); K(a)
b = agen(); s = b.__anext__()
try:
    s.send(None)
except StopIteration:
    pass
K([b, s, a.aclose(), a.asend(None), c.__await__()])
""", scope)
    K(g for g in keep)
    K((lambda: (x for x in [1, []]))())


def frames():
    def recurse(n, payload):
        local = [n]
        if n == 0:
            raise ValueError(payload)
        return recurse(n - 1, local)
    for _ in range(2):
        try:
            recurse(5, {})
        except ValueError:
            error = sys.exc_info()
            K(error[2])
            K(error[1])

    def keeper(cell):
        x = [cell]

        def inner():
            return x, cell
        frame = sys._getframe()
        K(inner)
        return frame
    f = keeper([])
    K(f)
    f2 = keeper([])
    K(f2.f_locals)
    K(f2)

    class Body(object):
        frame = sys._getframe()
        K(frame)
    K(Body)


def exceptions():
    made = [Exception(), Exception([], 1), ErrorChild([]), OSError(2, "no", "file"), OSErrorChild(2, "no"), SystemExit([]), StopIteration([]),
            KeyError([]), SyntaxError("msg", ("file", 1, 2, "text")), IndentationError("x"), ImportError("imp"), UnicodeDecodeError("utf8", b"abc", 0, 1, "why"),
            UnicodeEncodeError("ascii", u"abc", 0, 1, "why"), NameError("n"), AttributeError("a"), IOError(1, "x")]
    for e in made:
        try:
            raise e
        except (Exception, SystemExit):
            pass
        e.attr = []
        K(e)
    try:
        [].nothing
    except AttributeError as e:
        K(e)
    try:
        nothing
    except NameError as e:
        K(e)
    try:
        open("/nonexistent/file")
    except IOError as e:
        K(e)
    try:
        __import__("nonexistent_module")
    except ImportError as e:
        K(e)
    try:
        compile("a b", "file", "exec")
    except SyntaxError as e:
        K(e)
    if PY3:
        try:
            try:
                {}["x"]
            except KeyError:
                raise ErrorChild([])
        except ErrorChild as e:
            K(e)
        exec("""
try:
    raise ValueError("x") from KeyError([])
except ValueError as e:
    K(e)
""", {"K": K})
    if sys.version_info >= (3, 11):
        e = ExceptionGroup("group", [ValueError(1), KeyError([])])
        e.add_note("note")
        K(e)
        K(BaseExceptionGroup("group", [KeyboardInterrupt()]))


def iterators():
    l, t, s, d = [[], []], ([], []), {(1, "a")}, {"a": []}
    K([iter(l), reversed(l), iter(t), iter(s), iter(u"abc"), iter(u"a\u1234"), iter(b"abc"), iter(bytearray(b"abc")), iter(frozenset(s)), iter(collections.deque(l))])
    K([reversed(collections.deque(l)), enumerate(l), zip(l, t), map(len, l), filter(None, l), iter(lambda: 1, 2), reversed(t)])
    if sys.version_info >= (3, 8):
        K([reversed(d), reversed(d.items()), reversed(d.values())])

    class Seq(object):
        def __getitem__(self, i):
            return l[i]

        def __len__(self):
            return 2
    K([iter(Seq()), reversed(Seq())])
    exhausted = iter(l)
    list(exhausted)
    K(exhausted)
    it = itertools
    K([it.chain(l, t), it.count(1 << 70), it.cycle(l), it.repeat([]), it.starmap(len, l), it.takewhile(len, l), it.dropwhile(len, l),
       it.islice(l, 5), it.groupby(l), it.compress(l, t), it.product(l, t), it.combinations(l, 2), it.combinations_with_replacement(l, 2), it.permutations(l),
       it.tee(l)])
    c = it.chain(l, t)
    next(c)
    K(c)
    c = it.cycle(l)
    next(c)
    K(c)
    g = it.groupby([[1], [1], [2]])
    K([g, next(g)])
    p = it.product(l, t)
    next(p)
    K(p)
    p = it.permutations([1, 2, 3])
    next(p)
    K(p)
    a, b = it.tee([[i] for i in range(200)])
    for _ in range(100):
        next(a)
    K([a, b])
    if PY3:
        K([it.accumulate(l), it.filterfalse(None, l), it.zip_longest(l, t, fillvalue=[])])
        a = it.accumulate([[1], [2], [3]])
        next(a)
        next(a)
        K(a)
    if hasattr(it, "pairwise"):
        p = it.pairwise(l)
        next(p)
        K(p)
    if hasattr(it, "batched"):
        K(it.batched(l, 2))


def others():
    if sys.version_info >= (3, 7):
        import contextvars
        v = contextvars.ContextVar("v", default=[])
        token = v.set([1])
        ctx = contextvars.copy_context()
        K([v, token, ctx])
        ctx.run(lambda: v.set([2]))
    if sys.version_info >= (3, 9):
        K([list[int], dict[str, list[int]]])
    if sys.version_info >= (3, 10):
        K([int | str, list[int] | None])
    K([type, object, int, Plain, sys, os, types, collections])
    K(list(sys.modules.values()))


containers()
instances()
callables()
generators()
frames()
exceptions()
iterators()
others()
if PY3:
    import asyncio  # noqa: F401  more classes, enums, functions
    import json     # noqa: F401
    import logging  # noqa: F401
gc.disable()
oracle.capture(sys.argv[1])
