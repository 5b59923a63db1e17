"""A process in which every count is right, as far as the code that ran is: idle, after importing the standard library, after running a part of CPython's
own test suite, or after using a package.

usage: healthy_program.py TRUTH idle | embedded | stdlib | tests | heap | library | numpy | pandas | lxml | gevent | gi | cffi | extensions | threads | ended | forked | profiled | busy
TRUTH: {"ran": tests that were run, "ended": interpreters that were made and ended, "imported": modules} as JSON. Runs until it is killed.
"""
from __future__ import print_function

import gc
import json
import os
import pkgutil
import sys
import tempfile

TESTS = ("test_list test_dict test_set test_tuple test_gc test_generators test_weakref test_functools test_collections test_coroutines test_contextlib "
         "test_json test_pickle test_re test_decimal test_itertools test_bytes test_iter test_long test_operator test_struct test_zlib").split()
SKIP = ("test", "idlelib", "lib2to3", "antigravity", "this", "turtledemo", "tkinter", "turtle", "pip", "ensurepip", "__main__", "_aix_support", "msilib", "distutils")
keep = []


def idle():
    return 0


def embedded():
    import itertools
    keep.append(itertools.count(5))
    return 0


def stdlib():
    folder = os.path.dirname(os.__file__)
    out, sys.stdout = sys.stdout, open(os.devnull, "w")
    for module in pkgutil.iter_modules([folder]):
        name = module[1]
        if name.startswith(SKIP):
            continue
        try:
            __import__(name)
        except BaseException:  # another platform's
            pass
    sys.stdout = out
    return 0


def tests():
    import unittest
    os.chdir(tempfile.mkdtemp())
    ran = 0
    for name in TESTS:
        try:
            module = __import__("test." + name, fromlist=["x"])
        except BaseException:
            continue
        result = unittest.TestResult()
        streams = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = open(os.devnull, "w")
        try:
            unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
        finally:
            sys.stdout.close()
            sys.stdout, sys.stderr = streams
        ran += result.testsRun
        del result, module
    return ran


def threads():
    import threading
    import time

    def work(n):
        data = {}
        while True:
            for i in range(50):
                data["k%d" % (i % 7)] = [i, (n, i), {"i": i}]
            time.sleep(0)

    for n in range(8):
        thread = threading.Thread(target=work, args=(n,))
        thread.daemon = True
        thread.start()

    made, passed_on, never = [], threading.Event(), threading.Event()

    def make():  # what another thread lets go of waits for this one, which sleeps (free-threaded)
        for i in range(50):
            made.extend([u"text %d" % i, b"bytes %d" % i if sys.version_info[0] > 2 else i, 10 ** 20 + i, {}, {"a": i}, [], i / 7.0, (i, str(i))])
        passed_on.set()
        never.wait()

    thread = threading.Thread(target=make)
    thread.daemon = True
    thread.start()
    passed_on.wait()
    del made[:]
    time.sleep(0.3)
    return 0


def numpy():
    import numpy as np
    a = np.arange(1000).reshape(10, 100)
    objects = np.empty(100, object)
    objects[:] = [str(i) for i in range(100)]
    keep.extend([a.dot(a.T), objects, np.array([1, 2, 3], dtype="f4"), np.random.default_rng(1).normal(size=100), np.linalg.inv(np.eye(3)), np.dtype([("a", "i4"), ("b", "f8")])])
    packed = np.dtype([("n", "i4"), ("o", "O", (3,)), ("in", [("i", "i1"), ("o", "O")], (2, 2))])  # no reference is at a multiple of 8 bytes in each item
    rows = np.zeros(9, packed)
    for row in rows:
        row["o"] = [[str(i)] for i in range(3)]
        row["in"]["o"] = [[{"a": i} for i in range(2)] for _ in range(2)]
    keep.extend([rows, [row.copy() for row in rows], np.rec.array(rows)[3].copy(), rows[4]])  # items with memory of their own, which an array that only they have holds
    keep.append([np.ma.masked_array(np.arange(9.0) + i, np.arange(9) % 2 == 0) for i in range(20)])  # of a class derived from ndarray
    return 0


def pandas():
    import io
    import pandas as pd
    for _ in range(20):
        pd.read_csv(io.StringIO("a,b\n1,2\n"))  # of each a bytes object is never released
    df = pd.DataFrame({"a": range(100), "b": [str(i) for i in range(100)], "c": [i / 7.0 for i in range(100)]})
    keep.extend([df, df.groupby("b").sum(), df.merge(df, on="a"), pd.to_datetime(["2020-01-01", "2021-02-03"]), df.rolling(3)["c"].mean()])
    return 0


class Record(object):
    def __init__(self, number, parent):
        self.number, self.parent, self.children = number, parent, []
        self.name = "record %d" % number
        self.facts = {"number": number, "half": number / 2.0, self.name: (number, -number), number: u"\u20ac%d" % number}


class Point(object):
    __slots__ = ("x", "y", "data")

    def __init__(self, n):
        self.x, self.y, self.data = n, [n], bytearray(b"data %d" % n if sys.version_info > (3, 5) else b"data")


def heap():
    """A few hundred thousand objects of an application: parsed documents, records that refer to each other, caches, queues, suspended generators."""
    import collections
    import re
    text = json.dumps([{"id": n, "name": "name %d" % n, "tags": ["a", "b", str(n)], "ratio": n / 3.0, "inner": {"k%d" % (n % 50): [n, None, True]}} for n in range(4000)])
    keep.append(json.loads(text))
    root = Record(0, None)
    records = [root]
    for n in range(1, 8000):
        record = Record(n, records[n // 3])
        record.parent.children.append(record)
        if n % 5 == 0:
            del record.facts[record.name]
        if n % 7 == 0:
            record.extra = lambda bound=record: bound.number
        records.append(record)
    for n in range(0, 8000, 11):
        records[n].__dict__.pop("facts")
    keep.extend([records, [Point(n) for n in range(8000)], collections.OrderedDict((str(n), [n]) for n in range(3000)), collections.deque(range(3000, 9000)),
                 set("s%d" % n for n in range(3000)), frozenset((n, str(n)) for n in range(3000)), collections.defaultdict(list, ((n, [str(n)]) for n in range(3000))),
                 [re.compile("p%d(x)+" % n) for n in range(50)], [range(n) for n in range(100)], [n ** 20 for n in range(3000)]])

    def numbers(n):
        local = [n]
        for i in range(n, n + 100):
            yield local, i

    generators = [numbers(n) for n in range(500)]
    for g in generators[::2]:
        next(g)
    keep.append(generators)
    if sys.version_info > (3, 2):
        import functools
        cached = functools.lru_cache(maxsize=512)(lambda n: (n, [n]))
        for n in range(2000):
            cached(n)
        keep.append(cached)
    return 0


def waiting_iterators():
    """Iterators of futures, most of them ended: CPython keeps those for their next use, with their reference to their type, until the next full collection."""
    import asyncio
    loop = asyncio.new_event_loop()
    futures = [loop.create_future() for _ in range(100)]
    waits = [f.__await__() for f in futures]
    for f, w in zip(futures, waits):
        next(w)
        f.set_result(None)
    keep.extend([loop, waits[:5]])


def blocks_with_sizes():
    """An allocator of C code that writes each block's size into its first word and hands out the rest: what a bytes object left there begins at the second word."""
    import ctypes
    allocate = ctypes.pythonapi.PyObject_Malloc
    allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    texts = [("%070d" % n).encode() for n in range(200)]
    size = sys.getsizeof(texts[0])
    blocks = (ctypes.c_void_p * 200)()
    del texts[::2]
    for n in range(100):
        address = allocate(size)
        ctypes.c_size_t.from_address(address).value = size
        blocks[n] = address + ctypes.sizeof(ctypes.c_size_t)
    keep.extend([texts, blocks])


def library():
    """What modules of C code give out, and what they have in work: struct sequences with hidden fields, lists that are not filled, tuples out of which items go."""
    if sys.version_info >= (3, 6):
        import faulthandler
        faulthandler.enable()
        faulthandler.dump_traceback_later(100000)
        faulthandler.register(10, chain=True)  # SIGUSR1
    import grp
    import itertools
    import pwd
    blocks_with_sizes()
    import resource
    import time
    try:
        import xml.etree.cElementTree as tree  # 2.7: the one in C
    except ImportError:
        import xml.etree.ElementTree as tree
    keep.extend([os.lstat(os.path.join("/etc", name)) for name in os.listdir("/etc")] + [time.localtime(n * 1e6) for n in range(100)])
    keep.extend([os.statvfs("/"), os.times(), os.uname(), resource.getrusage(resource.RUSAGE_SELF), pwd.getpwuid(0), grp.getgrgid(0), time.gmtime()])
    for n in range(4):
        builder = tree.TreeBuilder()
        for depth in range(n):
            builder.start("level%d" % depth, {})
        parser = tree.XMLParser()
        parser.feed("<a><b x='1'>text<c>")
        ended = getattr(itertools, "zip_longest", getattr(itertools, "izip_longest", None))(iter([n]), [n, [n]])
        next(ended)
        next(ended)
        keep.extend([builder, parser, ended, itertools.tee(iter([n, [n]])), itertools.groupby([[n]]), iter({"a": [n]}.items())])
    return 0


def lxml():
    from lxml import etree, html
    root = etree.fromstring('<a><b x="1">t</b><c/></a>')
    keep.extend([root, root.getroottree(), root.xpath("//b"), html.fromstring("<p>hi<b>x</b></p>")])
    return 0


def cffi():
    import cffi as module
    ffi = module.FFI()
    keep.extend([ffi, ffi.new_handle(keep), ffi.new("int[]", 10), ffi.callback("int(int)", lambda n: n), ffi.gc(ffi.new("int *"), lambda p: None), ffi.buffer(ffi.new("char[]", 50))])
    return 0


def extensions():
    """Modules of C code that leak when they are imported, each in a way of its own: all of it is known."""
    import glob
    import importlib.util
    import BTrees.OOBTree
    import PIL._imaging
    import bcrypt
    import multidict
    import nacl.bindings
    import pycurl
    import pyodbc
    import rapidjson
    from PyQt5 import QtCore
    for i in range(12):
        timer = QtCore.QTimer()
        timer.timeout.connect(lambda: None)
        keep.append(timer)
    scipy = importlib.util.find_spec("scipy").submodule_search_locations[0]
    fblas = importlib.util.spec_from_file_location("_fblas", glob.glob(os.path.join(scipy, "linalg", "_fblas.*.so"))[0])  # made by f2py
    keep.append(importlib.util.module_from_spec(fblas))
    names = ["lxml.objectify", "PIL._imagingft", "PIL._imagingcms", "MySQLdb", "ldap", "cvxopt", "tables", "matplotlib.path", "matplotlib.ft2font"]
    names += ["scipy.special", "scipy.interpolate", "scipy.stats", "h5py", "kerberos", "netifaces", "tinyarray", "shiboken2", "zbar", "xapian", "yara", "pg", "cups"]
    if sys.version_info >= (3, 13):
        names += ["sklearn", "PyQt5.QtWidgets", "icu", "gpg"]
    for name in names:
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            try:
                importlib.import_module(name)
            except RuntimeError as e:  # a library that it wants is not there
                print(e, file=sys.stderr)
    import cryptography.x509  # made by PyO3: each instance that is freed leaves a reference to its class
    keep.extend(cryptography.x509.ObjectIdentifier("1.2.%d" % i) for i in range(1000))
    del keep[-900:]
    keep.extend([BTrees.OOBTree.OOBTree({1: keep}), multidict.MultiDict(a=[1]), pycurl.Curl(), nacl.bindings.crypto_box_keypair(), bcrypt.gensalt(), PIL._imaging.new("L", (10, 10))])
    return 0


def gevent():
    import gevent.pool
    import gevent.queue
    queue = gevent.queue.Queue()

    def work():
        while True:
            queue.get()
            gevent.sleep(0)

    keep.extend(gevent.spawn(work) for _ in range(10))
    for i in range(20):
        queue.put(i)
    gevent.sleep(0.05)
    import gevent.server
    server = gevent.server.StreamServer(("127.0.0.1", 0), lambda connection, address: None)
    server.start()  # libev has the structure in the middle of its watcher
    keep.append(server)
    gevent.sleep(0.05)
    import gevent.libev.corecext
    loop = gevent.libev.corecext.loop(default=False)
    ends = os.pipe()
    for i in range(10):  # a list that goes from the middle of each to the middle of the next
        watcher = loop.io(ends[0], 1)
        watcher.start(print)
        if i % 2:
            keep.append(watcher)
    keep.append((loop, ends))
    keep.append(gevent.pool.Pool(3).map(lambda x: x * 2, range(10)))
    return 0


def gi():
    from gi.repository import Gio, GLib, GObject
    loop = GLib.MainLoop()
    info = Gio.File.new_for_path("/tmp").query_info("standard::*", 0, None)

    class Object(GObject.Object):
        x = GObject.Property(type=int)

    o = Object()
    o.x = 5
    GLib.timeout_add(10, loop.quit)
    loop.run()
    keep.extend([loop, info, o, GLib.Variant("a{sv}", {"key": GLib.Variant("i", 1)})])
    return 0


# Modules that are initialised once, and once more in each interpreter; and what an interpreter that ends leaves behind.
IN_INTERPRETER = """
import argparse, asyncio, ctypes, datetime, dataclasses, decimal, email.message, enum, hashlib, json, logging, lzma, random, sqlite3, threading, typing, unittest
class A:
    pass
a = A()
a.me = a
def g():
    yield a
it = g()
next(it)
"""


def ended():
    try:
        import _xxsubinterpreters as them
    except ImportError:
        try:
            import _interpreters as them
        except ImportError:
            return 0
    here = sys.version_info[:2]
    # 3.12 frees what decimal has twice when the second interpreter ends.
    code = IN_INTERPRETER.replace("decimal, ", "") if here >= (3, 12) else IN_INTERPRETER
    for _ in range(3):
        number = them.create("legacy") if here >= (3, 13) else them.create(isolated=False) if here == (3, 12) else them.create()
        failed = getattr(them, "exec" if here >= (3, 13) else "run_string")(number, code)
        if failed:
            raise RuntimeError(failed)
        them.destroy(number)
    return 0


def forked():
    """A child of fork() whose parent had threads in C code that holds objects: their stacks are used by other threads here."""
    import select
    import threading
    import time
    never, started, mutex = threading.Event(), [], threading.Lock()
    mutex.acquire()

    def slow(x):
        started.append(x)
        never.wait()

    def items():
        yield [1]
        never.wait()

    def sort():
        sorted([[n] for n in range(4)], key=slow)

    def apply():
        return list(map(slow, [[1], [2]]))

    def walk():
        for x in items():
            started.append(x)

    def lock():
        held = [{"a": object()}]
        started.append(1)
        mutex.acquire()
        return held

    def wait():
        started.append(1)
        select.select([os.pipe()[0]], [], [], 100000)

    def read():
        started.append(1)
        os.read(os.pipe()[0], 100)

    todo = [sort, apply, walk, lock, wait, read]
    for work in todo:
        thread = threading.Thread(target=work)
        thread.daemon = True
        thread.start()
    while len(started) < len(todo):
        time.sleep(0.01)
    time.sleep(0.2)
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        os._exit(0)

    def deep(n):
        mine = [n]
        if n:
            deep(n - 1)
        else:
            never.wait()
        return mine

    for _ in todo:
        thread = threading.Thread(target=deep, args=(40,))
        thread.daemon = True
        thread.start()
    time.sleep(0.3)
    return len(todo)


def profiled():
    """Waits in a function that a profiler watches, deep in calls whose arguments are on value stacks."""
    import cProfile

    class Item(object):
        pass

    def generator(a, b):
        row = [1, 2, 3, a, b, (yield)]
        del a, b
        keep.append([row, Item(), ready()])

    def run():
        it = generator(Item(), Item())
        next(it)
        return [Item(), it.send(Item())]
    cProfile.runctx("run()", {"run": run}, {})


def busy():
    """Never rests: lists and tuples are copied and filled, arguments passed on, all the time."""
    class Item(object):
        pass

    def fixed(a, b, c, d, e, *rest, **more):
        return a
    items = tuple(Item() for _ in range(400))
    few, many = items[:40], list(items)
    names = dict(("k%d" % i, item) for i, item in enumerate(few))
    announce()
    while True:
        for _ in range(20):
            fixed(*few)
            fixed(*few, **names)
        [].extend(items)
        many[:]
        few + few
        many + many
        [few[0], few[1]] * 50
        first, second, third, fourth, fifth = few[:5]


def announce():
    with open(sys.argv[1], "w") as f:
        json.dump({"ran": 0, "ended": 0, "imported": len(sys.modules)}, f)
    print("READY %d" % os.getpid())
    sys.stdout.flush()


def ready():
    announce()
    import time
    while True:
        time.sleep(1000)


kind = sys.argv[2]
ran = {"idle": idle, "embedded": embedded, "stdlib": stdlib, "tests": tests, "threads": threads, "heap": heap, "library": library, "numpy": numpy, "pandas": pandas, "lxml": lxml, "gevent": gevent, "gi": gi, "cffi": cffi, "extensions": extensions, "ended": ended, "forked": forked, "profiled": profiled, "busy": busy}[kind]()
if kind != "threads":
    gc.collect()
if kind == "library" and sys.version_info >= (3, 6):
    waiting_iterators()
with open(sys.argv[1], "w") as f:
    json.dump({"ran": ran, "ended": 3 if "_xxsubinterpreters" in sys.modules or "_interpreters" in sys.modules else 0, "imported": len(sys.modules)}, f)
if kind != "embedded":  # there the C program waits
    print("READY %d" % os.getpid())
    sys.stdout.flush()
    while True:
        if not os.read(0, 1):
            os._exit(0)
