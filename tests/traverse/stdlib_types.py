"""A heap with as many of the standard library's C types as can be made: every extension module imported, every type tried.

Imports what can be imported, makes instances of every type that can be called with few simple arguments, keeps iterators, generators, coroutines and
frames alive in many states, and lets the oracle write the truth. Python 2.7 and 3.x."""
import gc
import os
import sys
import warnings

warnings.simplefilter("ignore")
KEEP = []
SKIP_MODULES = {"antigravity", "this", "idlelib", "turtledemo", "test", "lib2to3", "tkinter", "turtle", "_tkinter", "msilib", "pip", "ensurepip",
                "_testcapi", "_testinternalcapi", "_xxsubinterpreters", "_interpreters", "_interpchannels", "_interpqueues", "xxlimited_35", "_testclinic",
                "_testimportmultiple", "_testmultiphase", "_testbuffer", "_testembed", "_testlimitedcapi", "_testsinglephase", "_testexternalinspection",
                "readline", "rlcompleter", "__main__", "__phello__", "pty", "nt", "winreg", "venv", "distutils", "_osx_support", "_aix_support", "tty",
                "webbrowser", "_remote_debugging", "_ctypes_test", "site", "sitecustomize", "usercustomize", "_pyrepl", "_testconsole", "faulthandler"}
SKIP_TYPES = {"SemLock", "BZ2File", "Process", "_ThreadHandle", "InterpreterID", "Interpreter", "socket", "SSLSocket", "Popen", "Thread", "fork", "PyCapsule"}
if hasattr(sys, "gettotalrefcount") and sys.version_info[:2] <= (3, 9):
    SKIP_TYPES |= {"Dialect", "_Dialect"}  # a debug interpreter aborts on one with wrong arguments: an assertion in _PyType_Lookup; more() makes a right one


def modules():
    names = set(sys.builtin_module_names)
    names.update(getattr(sys, "stdlib_module_names", ()))
    for folder in sys.path:
        if not folder or "site-packages" in folder or "dist-packages" in folder or not os.path.isdir(folder):
            continue
        for f in os.listdir(folder):
            if f.endswith((".py", ".so")):
                names.add(f.split(".")[0])
    return sorted(n for n in names if n not in SKIP_MODULES and not n.startswith(("test", "_test")) and "-" not in n)


def import_all():
    done = []
    for name in modules():
        try:
            done.append(__import__(name))
        except BaseException:
            pass
    return done


def arguments():
    return [(), ([1, [2], "x"],), ({"a": [1], (1, 2): {}},), (lambda *a: a, [[1], [2]]), ([[3], [4]], 2), (str,), ("utf-8",), (b"abc",), (iter([[1]]),),
            (lambda *a: a,), (None,), (20011,), (20013, [5]), ([1], [2]), (None, [1], {}), (type, "x"), ("name", (), {}), (object(), [1])]


def instances(module, limit=4):
    for name in sorted(vars(module)):
        t = vars(module)[name]
        if not isinstance(t, type) or name in SKIP_TYPES or (t.__module__ or "").startswith(("subprocess", "multiprocessing", "threading", "concurrent")):
            continue
        made = 0
        for args in arguments():
            try:
                o = t(*args)
            except BaseException:
                continue
            KEEP.append(o)
            made += 1
            for method in ("__iter__", "items", "keys", "values", "__reversed__", "scanner", "finditer"):
                try:
                    f = getattr(o, method)
                    KEEP.append(f)
                    KEEP.append(f("abc") if method in ("scanner", "finditer") else f())
                except BaseException:
                    pass
            if made >= limit:
                break


def generator(depth):
    held = [depth]
    try:
        yield held
        if depth:
            for x in generator(depth - 1):
                yield x
    finally:
        held.append(1)


class Slots(object):
    __slots__ = ("a", "b", "__weakref__")


class Meta(type):
    pass


def shapes():
    import collections
    import functools
    import itertools
    import weakref
    s = Slots()
    s.a = [s]
    KEEP.append(s)
    KEEP.append(Meta("Made", (Slots,), {"x": [1]})())
    KEEP.append(weakref.ref(s, KEEP.append))
    KEEP.append(weakref.proxy(s))
    KEEP.append(functools.partial(sorted, [3, 1], key=lambda x: x))
    for make in (lambda: itertools.chain([[1]], [[2]]), lambda: itertools.tee(iter([[1], [2], [3]])), lambda: itertools.groupby([[1], [1], [2]]),
                 lambda: itertools.cycle([[1], [2]]), lambda: itertools.product([[1]], [[2]]), lambda: itertools.permutations([[1], [2]]),
                 lambda: itertools.islice([[1], [2]], 1), lambda: itertools.combinations([[1], [2], [3]], 2), lambda: zip([[1]], [[2]]),
                 lambda: map(lambda x: x, [[1]]), lambda: enumerate([[1]]), lambda: reversed([[1]]), lambda: collections.OrderedDict(a=[1], b=[2]),
                 lambda: collections.defaultdict(list, a=[1]), lambda: collections.deque([[1]] * 200, 300), lambda: collections.Counter("abc"),
                 lambda: property(lambda self: 1, None), lambda: slice([1], [2], [3]), lambda: super(Slots, s), lambda: memoryview(b"abc"),
                 lambda: frozenset([(1, (2,))]), lambda: set([(1,), (2,)]), lambda: dict.fromkeys(range(100), [1]), lambda: iter(set([(1,), (2,)])),
                 lambda: iter({"a": [1]}.items()), lambda: iter("abc"), lambda: iter(int, 5), lambda: [].append, lambda: KEEP.append.__self__[:3],
                 lambda: sys._getframe(), lambda: generator(5), lambda: sys.exc_info(), lambda: os.stat("."), lambda: sys.version_info):
        try:
            o = make()
            KEEP.append(o)
            KEEP.append(next(o))
        except BaseException:
            pass
    for _ in range(3):
        g = generator(3)
        next(g)
        next(g)
        KEEP.append(g)
    try:
        [][1]
    except IndexError as e:
        KEEP.append(e)
        KEEP.append(sys.exc_info())


NEW = """
import asyncio, contextvars, dataclasses, typing, types
async def coroutine(x):
    await other(x)
async def other(x):
    held = [x]
    await Awaits(x)
class Awaits:
    def __init__(self, x): self.x = x
    def __await__(self): yield self.x
async def agen():
    x = [1]
    yield x
    yield [x]
for k in range(3):
    c = coroutine([k]); c.send(None); KEEP.append(c)
    a = agen(); KEEP.append(a); s = a.asend(None); KEEP.append(s)
    try: s.send(None)
    except StopIteration: pass
    KEEP.append(a.__anext__()); KEEP.append(a.athrow(ValueError))
v = contextvars.ContextVar("v", default=[1])
for k in range(40):
    contextvars.ContextVar("v%d" % k).set([k])
KEEP.append(v); KEEP.append(v.set([2])); KEEP.append(contextvars.copy_context()); KEEP.append(contextvars.copy_context().items())
loop = asyncio.new_event_loop()
f = loop.create_future(); f.add_done_callback(KEEP.append); KEEP.append(f)
t = loop.create_task(coroutine([9])); KEEP.append(t); t.add_done_callback(KEEP.append); t.add_done_callback(lambda x: x)
loop.call_soon(lambda: None); 
KEEP.append(loop); KEEP.append(types.MappingProxyType({"a": [1]})); KEEP.append(types.SimpleNamespace(a=[1]))
@dataclasses.dataclass
class D:
    a: list
KEEP.append(D([1]))
KEEP.append(typing.List[int])
"""
NEWER = """
KEEP.append(list[int]); KEEP.append(int | str if hasattr(int, "__or__") else None)
try: raise ExceptionGroup("g", [ValueError([1]), TypeError([2])])
except Exception as e: KEEP.append(e)
"""
NEWEST = """
def generic[T: (int, str), *Ts, **P](x: T) -> list[T]: return [x]
class Box[T]:
    x: T
type Alias[K] = dict[K, list[K]]
KEEP.extend([generic, Box, Box[int], Alias, Alias[int], generic.__type_params__])
"""


def more():
    import ctypes
    import io
    import json
    import re
    import struct
    import threading
    KEEP.append(re.finditer("a", "aaa"))
    KEEP.append(struct.Struct("ii").iter_unpack(b"12345678") if hasattr(struct.Struct, "iter_unpack") else 1)
    KEEP.append(json.JSONDecoder())
    KEEP.append(json.JSONEncoder())
    KEEP.append(threading.local())
    KEEP.append(threading.RLock())
    KEEP.append(threading.Condition())
    for k in range(3):
        l = threading.local()
        l.x = [k]
        KEEP.append(l)

    class S(ctypes.Structure):
        pass
    S._fields_ = [("p", ctypes.POINTER(S)), ("o", ctypes.py_object)]
    KEEP.append(S())
    KEEP.append(ctypes.pointer(S()))
    KEEP.append((S * 3)())
    KEEP.append(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x))
    KEEP.append(io.BufferedReader(io.BytesIO(b"abc")))
    KEEP.append(io.TextIOWrapper(io.BytesIO(b"abc")))
    try:
        import sqlite3
        c = sqlite3.connect(":memory:")
        c.create_function("f", 1, lambda x: x)
        KEEP.append(c)
        KEEP.append(c.execute("select 1 as a"))
        c.row_factory = sqlite3.Row
        KEEP.append(c.execute("select 1 as a").fetchone())
    except BaseException:
        pass
    try:
        import xml.etree.cElementTree as ET
    except BaseException:
        import xml.etree.ElementTree as ET
    try:
        e = ET.fromstring("<a b='1'><c>t</c><d/></a>")
        KEEP.append(e)
        KEEP.append(e.iter())
        KEEP.append(ET.XMLParser())
    except BaseException:
        pass
    try:
        import pyexpat
        p = pyexpat.ParserCreate()
        p.StartElementHandler = lambda *a: a
        KEEP.append(p)
    except BaseException:
        pass
    try:
        import csv
        KEEP.append(csv.reader(iter(["a,b"])))
        KEEP.append(csv.writer(io.StringIO()))
        KEEP.append(csv.get_dialect("excel"))
    except BaseException:
        pass
    try:
        import pickle
        KEEP.append(pickle.Pickler(io.BytesIO()))
        KEEP[-1].dump([1, [2]])
        KEEP.append(pickle.Unpickler(io.BytesIO(pickle.dumps([1]))))
    except BaseException:
        pass


def build():
    gc.disable()
    found = import_all()
    for module in found:
        try:
            instances(module)
        except BaseException:
            pass
    shapes()
    try:
        more()
    except BaseException:
        pass
    for text, since in ((NEW, (3, 7)), (NEWER, (3, 11)), (NEWEST, (3, 12))):
        if sys.version_info >= since:
            try:
                exec(text, {"KEEP": KEEP, "__name__": "new"})
            except BaseException:
                import traceback
                traceback.print_exc()
    KEEP.append(found)
