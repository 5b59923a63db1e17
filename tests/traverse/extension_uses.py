"""Uses of well known extension packages, each as a program would: what a function returns stays alive in the heap under test.

Each function stands alone and raises ImportError where its package is missing. None may use the network, another process or a display."""


def use_numpy():
    import numpy as np
    objects = np.array([[1], [2], {}, None], dtype=object)
    record = np.zeros(3, dtype=[("a", "O"), ("b", "i4")])
    record["a"][0] = [1]
    return [objects, objects[1:], record, record[0], np.nditer([np.arange(6).reshape(2, 3)]), np.broadcast([1, 2], [[3], [4]]), np.arange(4).flat, np.dtype("i4,O"),
            np.frompyfunc(lambda x: x, 1, 1), np.vectorize(lambda x: x), np.random.default_rng(1), np.random.RandomState(1), np.ma.array([1, 2], mask=[0, 1]),
            np.ndindex(2, 2), np.matrix([[1]]), np.poly1d([1, 2]), np.errstate(), np.char.array(["a"]), iter(objects), memoryview(np.arange(3)),
            np.datetime64("2020-01-01"), np.busdaycalendar(), np.add.reduce, np.random.MT19937(1), np.random.SeedSequence(1), np.lib.stride_tricks.as_strided(objects)]


def use_lxml():
    from lxml import etree, html, objectify
    root = etree.fromstring("<a x='1'><b>t</b><!-- c --><?pi d?><c/></a>")
    tree = root.getroottree()
    parser = etree.XMLParser(target=None)
    out = [root, tree, root[0], root[1], root[2], root.attrib, iter(root), root.iter(), root.iterancestors(), root.iterchildren(), root.itersiblings(), root.itertext(),
           etree.XPath("//b"), root.xpath("//b/text()"), etree.XPathEvaluator(root), etree.XSLT(etree.fromstring(
               "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'><xsl:template match='/'><o/></xsl:template></xsl:stylesheet>")),
           parser, etree.HTMLParser(), html.fromstring("<p>x<b>y</b></p>"), objectify.fromstring("<r><v>1</v><w>x</w></r>"), etree.QName("{u}n"),
           etree.iterwalk(root, events=("start", "end")), etree.XMLPullParser(events=("start",)), etree.ElementDefaultClassLookup(),
           etree.FunctionNamespace("u"), etree.CDATA("x"), etree.Comment("x"), etree.Entity("amp"), etree.RelaxNG(etree.fromstring(
               "<element name='a' xmlns='http://relaxng.org/ns/structure/1.0'><text/></element>")), etree.TreeBuilder(),
           etree.PythonElementClassLookup(), etree.XMLSchema(etree.fromstring("<s:schema xmlns:s='http://www.w3.org/2001/XMLSchema'><s:element name='a'/></s:schema>"))]
    try:
        etree.fromstring("<a><b></a>")
    except etree.XMLSyntaxError as e:
        out.append(e)
    return out


def use_pandas():
    import numpy as np
    import pandas as pd
    frame = pd.DataFrame({"a": [1, 2, 1], "b": ["x", [1], None], "c": pd.date_range("2020-01-01", periods=3)})
    groups = frame.groupby("a")
    return [frame, groups, iter(groups), groups.sum(numeric_only=True), frame.c.dt, frame.index, pd.MultiIndex.from_tuples([(1, 2), (3, 4)]), pd.Categorical(["a", "b"]),
            pd.Interval(0, 1), pd.Period("2020-01"), pd.Timestamp("2020-01-01", tz="UTC"), pd.IntervalIndex.from_breaks([0, 1, 2]), frame.rolling(2), frame.c.array,
            pd.offsets.MonthEnd(), pd.offsets.BDay(), pd.array([1, None]), frame.index.get_indexer([0, 1]), pd.Index([[1], [2]], dtype=object), pd.RangeIndex(4),
            frame.merge(frame, on="a"), pd.arrays.SparseArray([0, 1]), pd.to_datetime(["2020-01-01"]), frame._mgr, frame._mgr.blocks, pd.Timedelta("1d"),
            pd.read_csv(__import__("io").StringIO("a,b\n1,2\n"), iterator=True), pd.Series(np.arange(5)).rolling(3).mean()]


def use_scipy():
    import numpy as np
    from scipy import integrate, interpolate, optimize, signal, sparse, spatial, stats
    from scipy.spatial.transform import Rotation
    points = np.random.RandomState(1).rand(20, 2)
    tree = spatial.cKDTree(points)
    return [sparse.csr_matrix(np.eye(3)), sparse.lil_matrix(np.eye(3)), tree, tree.query_ball_point(points[:2], 0.5), spatial.Delaunay(points), spatial.ConvexHull(points),
            spatial.Voronoi(points), interpolate.interp1d([0, 1, 2], [3, 4, 5]), interpolate.CubicSpline([0, 1, 2], [3, 4, 5]), interpolate.LinearNDInterpolator(points, points[:, 0]),
            integrate.RK45(lambda t, y: y, 0, [1.0], 10), optimize.minimize(lambda x: (x ** 2).sum(), [1.0]), stats.norm(0, 1), Rotation.from_euler("x", 1), signal.butter(2, 0.5),
            interpolate.BarycentricInterpolator([0, 1], [2, 3]), sparse.linalg.splu(sparse.csc_matrix(np.eye(3))), sparse.dok_matrix((3, 3)), spatial.KDTree(points)]


def use_sklearn():
    import numpy as np
    from sklearn import ensemble, linear_model, neighbors, svm, tree, cluster
    x, y = np.random.RandomState(1).rand(30, 3), np.arange(30) % 2
    return [m.fit(x, y) for m in (tree.DecisionTreeClassifier(), ensemble.RandomForestClassifier(3), ensemble.GradientBoostingClassifier(n_estimators=2), svm.SVC(),
                                  neighbors.KNeighborsClassifier(algorithm="ball_tree"), neighbors.KNeighborsClassifier(algorithm="kd_tree"), linear_model.SGDClassifier(),
                                  linear_model.LogisticRegression(), cluster.KMeans(2, n_init=1), cluster.DBSCAN(), ensemble.HistGradientBoostingClassifier(max_iter=2))]


def use_matplotlib():
    import matplotlib
    matplotlib.use("agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots()
    axes.plot([1, 2, 3])
    axes.contourf([[1, 2], [3, 4]])
    axes.imshow([[1, 2], [3, 4]])
    axes.text(0, 0, "x")
    figure.canvas.draw()
    return [figure, matplotlib.font_manager.get_font(matplotlib.font_manager.findfont("DejaVu Sans")), matplotlib.path.Path([[0, 0], [1, 1]])]


def use_gevent():
    import gevent
    from gevent import event, lock, pool, queue
    held = event.Event()

    def wait(x):
        kept = [x]
        held.wait()
        return kept
    group = pool.Pool(3)
    out = [gevent.spawn(wait, [k]) for k in range(3)] + [group.spawn(wait, [1]), gevent.spawn_later(100, wait, [2]), queue.Queue(), event.AsyncResult(), lock.RLock(),
                                                          lock.BoundedSemaphore(), gevent.Timeout(5), gevent.get_hub()]
    gevent.sleep(0)
    loop = gevent.get_hub().loop
    out += [loop, loop.timer(5), loop.io(0, 1), loop.prepare(), loop.async_(), loop.signal(10), loop.run_callback(wait, 1), queue.PriorityQueue(), queue.JoinableQueue()]
    return out


def use_greenlet():
    import greenlet

    def body(x):
        kept = [x]
        greenlet.getcurrent().parent.switch(kept)
        return kept
    out = []
    for k in range(4):
        g = greenlet.greenlet(body)
        g.switch([k])
        out.append(g)
    return out + [greenlet.greenlet(body), greenlet.getcurrent()]


def use_gi():
    import gi
    from gi.repository import GLib, GObject, Gio

    class Thing(GObject.Object):
        __gsignals__ = {"changed": (GObject.SignalFlags.RUN_FIRST, None, (object,))}
        value = GObject.Property(type=object)

        def __init__(self):
            super().__init__()
            self.kept = [self]
    out = []
    for k in range(5):
        t = Thing()
        t.value = [k]
        t.connect("changed", lambda *a: a)
        t.connect("notify::value", t.kept.append)
        out.append(t)
    return out + [GLib.Variant("(is)", (1, "x")), GLib.MainLoop(), GLib.MainContext.default(), Gio.SimpleAction.new("x", None), Gio.ListStore(), GLib.idle_add(lambda: False),
                  GObject.GType.from_name("GObject"), GLib.Bytes.new(b"x"), Gio.Cancellable(), GObject.Value(int, 3), GLib.timeout_add(100000, lambda: True), Thing.props, out[0].props]


def use_cryptography():
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives import hashes, hmac
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    key = rsa.generate_private_key(65537, 1024)
    return [Fernet(Fernet.generate_key()), hashes.Hash(hashes.SHA256()), hmac.HMAC(b"k", hashes.SHA256()), key, key.public_key(), ec.generate_private_key(ec.SECP256R1()),
            ed25519.Ed25519PrivateKey.generate(), Cipher(algorithms.AES(b"0" * 16), modes.CBC(b"0" * 16)).encryptor()]


def use_cffi():
    import cffi
    ffi = cffi.FFI()
    ffi.cdef("struct s { int x; struct s *p; }; int strlen(const char *);")
    out = [ffi, ffi.new("struct s *"), ffi.new("int[5]"), ffi.new_handle([1]), ffi.dlopen(None), ffi.typeof("struct s"), ffi.from_buffer(bytearray(b"abc")), ffi.buffer(ffi.new("int[5]")),
           ffi.callback("int(int)", lambda x: x), ffi.gc(ffi.new("int *"), lambda p: None), ffi.addressof(ffi.new("struct s *"), "x"), ffi.new_allocator(), iter(ffi.new("int[3]"))]
    return out + [ffi.new_handle(out)]


def use_psycopg2():
    import psycopg2
    from psycopg2 import extensions, extras, sql
    return [extensions.QuotedString("x"), extensions.AsIs([1]), extensions.Binary(b"x"), extensions.new_type((1,), "T", lambda v, c: v), extensions.new_array_type((2,), "U", extensions.INTEGER),
            extras.Json({"a": [1]}), sql.SQL("x {}").format(sql.Identifier("a")), extensions.adapt([1, [2]]), extensions.adapt("x"), extensions.Xid(1, "a", "b"), psycopg2.Date(2020, 1, 1)]


def use_pyqt5():
    from PyQt5 import QtCore
    application = QtCore.QCoreApplication([])

    class Thing(QtCore.QObject):
        changed = QtCore.pyqtSignal(object)

        def __init__(self, parent=None):
            super().__init__(parent)
            self.kept = [self]

        def slot(self, x):
            self.kept.append(x)
    root = Thing()
    out = [application, root]
    for k in range(4):
        t = Thing(root)
        t.changed.connect(t.slot)
        t.changed.connect(lambda x: x)
        t.changed.emit([k])
        t.setProperty("x", [k])
        out.append(t)
    timer = QtCore.QTimer()
    timer.timeout.connect(root.deleteLater)
    return out + [timer, QtCore.QVariant([1]), QtCore.QByteArray(b"x"), QtCore.QPoint(1, 2), QtCore.QStringListModel(["a"]), root.changed, Thing.changed, root.slot,
                  QtCore.QSortFilterProxyModel(root), QtCore.QState(), QtCore.QMutex()]


def use_pyside2():
    from PySide2 import QtCore

    class Thing(QtCore.QObject):
        changed = QtCore.Signal(object)
    root = Thing()
    out = [root] + [Thing(root) for _ in range(3)]
    for t in out:
        t.changed.connect(lambda *a: a)
        t.kept = [t]
    return out + [QtCore.QTimer(root), QtCore.QPoint(1, 2), QtCore.QByteArray(b"x"), root.changed]


def use_h5py():
    import h5py
    f = h5py.File("x.h5", "w", driver="core", backing_store=False)
    g = f.create_group("g")
    d = g.create_dataset("d", data=[1, 2, 3])
    d.attrs["a"] = 1
    return [f, g, d, d.attrs, f.id, d.id, d.dtype, f.keys(), d.id.get_space(), d.id.get_type(), d.id.get_create_plist(), h5py.h5p.create(h5py.h5p.FILE_ACCESS)]


def use_shapely():
    from shapely import geometry, prepared, strtree, wkt
    p = geometry.Point(0, 0).buffer(1)
    return [p, geometry.LineString([(0, 0), (1, 1)]), geometry.MultiPoint([(0, 0)]), prepared.prep(p), strtree.STRtree([p]), wkt.loads("POINT (1 2)"), p.exterior.coords]


def use_pil():
    import io
    from PIL import Image, ImageDraw, ImageFont
    image = Image.new("RGB", (8, 8))
    out = io.BytesIO()
    image.save(out, "PNG")
    return [image, ImageDraw.Draw(image), image.im, image.load(), Image.open(io.BytesIO(out.getvalue())), ImageFont.load_default(), image.convert("P").palette, image.histogram()]


def use_zmq():
    import zmq
    c = zmq.Context()
    a, b = c.socket(zmq.PAIR), c.socket(zmq.PAIR)
    a.bind("inproc://x")
    b.connect("inproc://x")

    a.send(b"x", copy=False)
    poller = zmq.Poller()
    poller.register(a)
    return [c, a, b, poller, zmq.Frame(b"abc"), zmq.Message(b"abc"), b.recv(copy=False)]


def use_messages():
    import msgpack
    return [msgpack.Packer(default=lambda x: x), msgpack.Unpacker(object_hook=lambda x: x), msgpack.unpackb(msgpack.packb({"a": [1]})), msgpack.Timestamp(1), msgpack.ExtType(1, b"x")]


def use_protobuf():
    from google.protobuf import descriptor_pb2, descriptor_pool, struct_pb2, timestamp_pb2
    m = descriptor_pb2.FileDescriptorProto(name="x.proto", package="p")
    t = m.message_type.add(name="M")
    t.field.add(name="f", number=1, type=5, label=1)
    s = struct_pb2.Struct()
    s["a"] = [1, {"b": 2}]
    return [m, t, t.field, m.message_type, s, s.fields, timestamp_pb2.Timestamp(seconds=1), descriptor_pool.DescriptorPool(), m.DESCRIPTOR, m.DESCRIPTOR.fields_by_name, iter(m.message_type),
            m.DESCRIPTOR.file, s.fields.items(), t.ListFields(), descriptor_pb2.FieldDescriptorProto.Type, m.DESCRIPTOR.fields]


def use_aiohttp():
    import asyncio
    from aiohttp import http_parser, http_writer, web
    from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy, getversion
    from yarl import URL
    import frozenlist
    loop = asyncio.new_event_loop()
    m, c = MultiDict(a=[1]), CIMultiDict(B=[2])
    out = [m, c, MultiDictProxy(m), CIMultiDictProxy(c), m.items(), m.keys(), iter(m.values()), c.items(), URL("http://h/p?q=1"), frozenlist.FrozenList([[1]]), loop, iter(m), iter(c.keys())]
    try:
        from unittest import mock
        p = http_parser.HttpRequestParserC(mock.Mock(), loop, 2 ** 16)
        p.feed_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        out.append(p)
        p = http_parser.HttpResponseParserC(mock.Mock(), loop, 2 ** 16)
        out += [p, p.feed_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]
    except Exception:
        pass
    out += [http_parser.HttpRequestParser, http_writer.StreamWriter, web.Application()]
    return out


def use_uvloop():
    import asyncio
    import uvloop
    loop = uvloop.new_event_loop()

    async def wait(x):
        await asyncio.sleep(x)

    async def serve():
        server = await asyncio.start_unix_server(lambda r, w: None, "s.sock")
        reader, writer = await asyncio.open_unix_connection("s.sock")
        tasks = [asyncio.ensure_future(wait(1000 + k)) for k in range(3)]
        await asyncio.sleep(0.01)
        return [server, reader, writer, tasks, server.sockets, writer.transport]
    out = [loop, loop.run_until_complete(serve()), loop.call_later(100, print), loop.call_soon(print, [1]), loop.create_future(), loop.create_task(wait(5))]
    r, w = __import__("os").pipe()
    loop.add_reader(r, print, [1])
    loop.add_signal_handler(10, print)
    return out


def use_asyncpg():
    from asyncpg.protocol import protocol
    import asyncio
    from asyncpg import connect_utils
    loop = asyncio.new_event_loop()
    return [protocol.BaseProtocol, protocol.Record, loop, [protocol.CodecContext(), protocol.BUILTIN_TYPE_NAME_MAP]]


def use_btrees():
    import BTrees
    from persistent import Persistent
    from persistent.mapping import PersistentMapping

    class P(Persistent):
        pass
    out = []
    for name in ("OO", "OI", "IO", "LO", "OL", "II", "LL", "IF", "fs", "QO", "OQ", "UO"):
        module = __import__("BTrees.%sBTree" % name, fromlist=["x"])
        for kind in ("BTree", "Bucket", "TreeSet", "Set"):
            t = getattr(module, name + kind, None) or getattr(module, kind)
            o = t()
            try:
                for k in range(200):
                    key = k if name[0] != "f" else b"%02d" % (k % 100)
                    key = "k%04d" % k if name[0] == "O" else key
                    if "Set" in kind:
                        o.add(key)
                    else:
                        o[key] = [k] if name[1] == "O" else (b"%06d" % k if name == "fs" else k)
            except Exception:
                pass
            out += [o, o.keys() if hasattr(o, "keys") else None, iter(o), o.items() if hasattr(o, "items") else None]
    p = P()
    p.x = [1]
    return out + [p, PersistentMapping(a=[p])]


def use_zope():
    import zope.interface
    from zope.interface.adapter import AdapterRegistry
    from zope.proxy import ProxyBase
    from zope.security.checker import Checker
    from zope.security.proxy import Proxy

    class I(zope.interface.Interface):
        def f(x):
            pass

    @zope.interface.implementer(I)
    class C(object):
        pass
    registry = AdapterRegistry()
    registry.register([I], I, "", C)
    registry.lookup1(zope.interface.providedBy(C()), I, "")
    c = C()
    zope.interface.directlyProvides(c, I)
    return [registry, registry._v_lookup, c, ProxyBase([1]), Proxy([1], Checker({})), zope.interface.providedBy(c), zope.interface.implementedBy(C)]


def use_wrapt():
    import lazy_object_proxy
    import wrapt

    @wrapt.decorator
    def d(wrapped, instance, args, kwargs):
        return wrapped(*args)

    @d
    def f(x):
        return x

    class C(object):
        @d
        def m(self):
            return 1
    lazy = lazy_object_proxy.Proxy(lambda: [1])
    len(lazy)
    return [f, C.m, C().m, wrapt.ObjectProxy([1]), wrapt.WeakFunctionProxy(use_wrapt), wrapt.PartialCallableObjectProxy(f, 1), lazy, lazy_object_proxy.Proxy(lambda: [2])]


def use_cairo():
    import cairo
    surface = cairo.ImageSurface(cairo.FORMAT_ARGB32, 8, 8)
    context = cairo.Context(surface)
    context.arc(4, 4, 2, 0, 6)
    return [surface, context, context.copy_path(), iter(context.copy_path()), cairo.Matrix(), cairo.SolidPattern(1, 0, 0), cairo.RecordingSurface(cairo.CONTENT_COLOR, None), context.get_font_face(),
            cairo.Region(), cairo.SurfacePattern(surface), cairo.MeshPattern(), cairo.RasterSourcePattern(cairo.CONTENT_COLOR, 2, 2), context.get_target(), cairo.FontOptions()]


def use_apt():
    import apt_pkg
    apt_pkg.init_config()
    c = apt_pkg.config
    return [c, c.subtree("Dir"), apt_pkg.TagSection("A: b\n"), apt_pkg.Hashes(b"x"), apt_pkg.HashString("MD5Sum", "0" * 32), apt_pkg.SourceList(), apt_pkg.Configuration(), apt_pkg.parse_depends("a (>= 1)")]


def use_dbus():
    import dbus
    from dbus import lowlevel
    m = lowlevel.SignalMessage("/a", "b.c", "d")
    m.append([1, 2], signature="ai")
    return [dbus.Array([dbus.Int32(1)], signature="i"), dbus.Dictionary({"a": 1}, signature="si"), dbus.Struct((1, "x")), m, dbus.ByteArray(b"x"), dbus.ObjectPath("/a"), m.get_args_list(), dbus.Signature("(is)")]


def use_pygame():
    import pygame
    surface = pygame.Surface((8, 8))
    group = pygame.sprite.Group()
    s = pygame.sprite.Sprite(group)
    return [surface, surface.subsurface((0, 0, 4, 4)), group, s, pygame.Rect(0, 0, 1, 1), pygame.math.Vector2(1, 2), pygame.mask.Mask((4, 4)), pygame.PixelArray(surface), pygame.time.Clock(),
            pygame.event.Event(pygame.USEREVENT, x=[1]), pygame.math.Vector3(1, 2, 3).elementwise(), surface.get_view(), pygame.Color("red"), pygame.BufferProxy(surface.get_view())]


def use_grpc():
    import grpc
    from grpc._cython import cygrpc
    channel = grpc.insecure_channel("unix:/nope")
    call = channel.unary_unary("/a/b")
    return [channel, call, grpc.ssl_channel_credentials(), cygrpc.CompletionQueue()]


def use_text():
    import regex
    import ujson
    import yaml
    import simplejson
    p = regex.compile(r"(?P<a>x+)|(\p{L}*)")
    m = p.match("xxabc")
    out = [p, m, p.finditer("xabc"), p.scanner("xabc"), p.splititer("a b"), ujson.loads("[1,{\"a\":2}]"), simplejson.JSONDecoder(), simplejson.JSONEncoder(default=lambda x: x), m.regs, m.capturesdict()]
    loader = yaml.CLoader("a: [1, 2]\nb: {c: d}")
    loader.get_single_node()
    return out + [loader, yaml.CDumper(__import__("io").StringIO()), yaml.load("a: [1]", yaml.CLoader)]


def use_containers():
    import bitarray
    import cytoolz
    import lru
    import pyrsistent
    from cytoolz import curried, itertoolz
    import pvectorc
    v = pyrsistent.pvector([[k] for k in range(100)])
    cache = lru.LRU(5, callback=lambda k, x: None)
    for k in range(10):
        cache[k] = [k]
    return [v, iter(v), v.evolver(), pyrsistent.pmap({"a": [1]}), pyrsistent.plist([[1]]), pyrsistent.pset([1]), bitarray.bitarray("0101"), iter(bitarray.bitarray("01")), cache, cytoolz.compose(str, int),
            cytoolz.curry(lambda a, b: a)(1), cytoolz.memoize(lambda x: [x]), itertoolz.partition(2, [[1], [2], [3]]), cytoolz.sliding_window(2, [[1], [2]]), curried.map(str), cytoolz.juxt(str, int),
            cytoolz.interleave([[[1]], [[2]]]), cytoolz.unique([1, 1]), cytoolz.excepts(ValueError, int), cytoolz.partition_all(2, [1, 2, 3]), cytoolz.accumulate(lambda a, b: b, [[1], [2]]),
            pvectorc.pvector([1]), cytoolz.join(str, ["a"], str, ["a"]), cytoolz.diff([1], [2]), cytoolz.random_sample(0.5, [[1]]), cytoolz.topk(1, [1, 2]), cytoolz.peek([[1]])]


def use_databases():
    import apsw
    import lmdb
    import plyvel
    c = apsw.Connection(":memory:")
    c.createscalarfunction("f", lambda x: x)
    c.createcollation("k", lambda a, b: 0)
    c.setbusyhandler(lambda n: False)
    cursor = c.cursor()
    cursor.execute("select 1 union all select 2")
    environment = lmdb.open("lmdb", max_dbs=3)
    database = environment.open_db(b"x")
    transaction = environment.begin(db=database, write=True)
    transaction.put(b"a", b"b")
    level = plyvel.DB("level", create_if_missing=True)
    level.put(b"a", b"b")
    return [c, cursor, environment, database, transaction, transaction.cursor(), iter(transaction.cursor()), level, level.iterator(), level.snapshot(), level.write_batch(), level.prefixed_db(b"p")]


def use_traits():
    from traits.api import Any, Dict, HasTraits, Instance, Int, List, Property

    class T(HasTraits):
        a = List(Int)
        b = Dict()
        c = Any
        d = Instance(HasTraits)
        e = Property(depends_on="a")

        def _get_e(self):
            return 1

        def _a_changed(self, new):
            self.c = new
    t = T(a=[1], b={"x": [1]})
    t.d = t
    t.on_trait_change(lambda: None, "a")
    t.observe(lambda e: None, "b.items")
    t.a = [1, 2]
    return [t, t.trait("a"), T.class_traits(), t._notifiers(True), t.e]


def use_persistent_c():
    import pikepdf
    import igraph
    pdf = pikepdf.new()
    pdf.add_blank_page()
    g = igraph.Graph([(0, 1), (1, 2)])
    g.vs["x"] = [[1], [2], [3]]
    return [pdf, pdf.pages, pdf.Root, pdf.pages[0], g, g.vs, g.es, g.vs[0], g.es[0], g.bfsiter(0), g.dfsiter(0), iter(g.vs), g.vs.select(x=[1])]


def use_tools():
    import coverage.tracer
    import line_profiler
    profile = line_profiler.LineProfiler()
    profile.add_function(use_numpy)
    tracer = coverage.tracer.CTracer()
    tracer.data = {"x": [1]}
    tracer.should_trace = lambda *a: None
    return [profile, tracer]


def use_lupa():
    import lupa
    runtime = lupa.LuaRuntime()
    table = runtime.eval("{1, 2, {a = 3}}")
    f = runtime.eval("function(x) return x end")
    runtime.globals()["o"] = [1]
    return [runtime, table, f, f.coroutine(1), table.items(), iter(table.keys()), runtime.globals()]


def use_xapian_icu():
    import icu
    return [icu.Collator.createInstance(icu.Locale("en")), icu.UnicodeString("x"), icu.BreakIterator.createWordInstance(icu.Locale("en")), icu.Locale("de"), icu.Transliterator.createInstance("Latin-ASCII")]


def use_mypy():
    from mypy import nodes, options, parse, types
    from mypy.errors import Errors
    tree = parse.parse("class C:\n  x: int = 1\n  def f(self, a: 'C') -> int:\n    return [b for b in a.x if b][0]\n", "x.py", "x", Errors(), options.Options())
    return [tree, nodes.Var("x"), types.AnyType(types.TypeOfAny.explicit), options.Options()]


def use_boost_and_swig():
    import ldb
    import libxml2
    document = libxml2.parseDoc("<a><b/></a>")
    return [document, document.getRootElement(), ldb.Ldb(), ldb.Dn(ldb.Ldb(), "cn=x"), ldb.Message()]


def use_astropy():
    import astropy.table
    import astropy.time
    import astropy.units as u
    import astropy.wcs
    return [astropy.wcs.WCS(naxis=2), astropy.table.Table({"a": [1, 2]}), 3 * u.m, astropy.time.Time("2020-01-01"), astropy.wcs.Wcsprm()]


def use_numbers():
    import contourpy
    import cvxopt
    import gmpy2
    import iminuit
    import kiwisolver
    import numexpr
    a, b = kiwisolver.Variable("a"), kiwisolver.Variable("b")
    a.setContext([1])
    solver = kiwisolver.Solver()
    constraint = (a + 2 * b >= 3) | "strong"
    solver.addConstraint(constraint)
    return [a, b, solver, constraint, a + 2 * b, 3 * a, (a + b + 1).terms(), gmpy2.mpz(5), gmpy2.context(), cvxopt.matrix([1.0, 2.0]), cvxopt.spmatrix([1.0], [0], [0]), numexpr.evaluate("1+2"),
            contourpy.contour_generator(z=[[1, 2], [3, 4]]), iminuit.Minuit(lambda x: x * x, 1.0)]


def use_tables():
    import tables
    f = tables.open_file("t.h5", "w", driver="H5FD_CORE", driver_core_backing_store=0)
    t = f.create_table("/", "t", {"a": tables.Int32Col()})
    t.append([(1,), (2,)])
    t.flush()
    return [f, t, t.row, t.iterrows(), f.root, f.create_array("/", "x", [1, 2]), f.create_vlarray("/", "v", tables.ObjectAtom())]


def use_numcodecs():
    import bitstruct
    import numcodecs
    import zstandard
    import lz4.frame
    import brotli
    import snappy
    return [numcodecs.Blosc(), numcodecs.VLenUTF8(), numcodecs.Zlib(), zstandard.ZstdCompressor(), zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdCompressor().stream_reader(b"abc"),
            lz4.frame.LZ4FrameCompressor(), brotli.Compressor(), snappy.StreamCompressor(), bitstruct.compile("u8u8"), zstandard.ZstdCompressor().stream_writer(__import__("io").BytesIO())]


def use_network():
    import hiredis
    import http_parser.parser
    import httptools
    import pycares
    import pycurl
    curl = pycurl.Curl()
    curl.setopt(pycurl.WRITEFUNCTION, lambda x: None)
    curl.setopt(pycurl.HTTPHEADER, ["a: b"])
    multi, share = pycurl.CurlMulti(), pycurl.CurlShare()
    multi.setopt(pycurl.M_SOCKETFUNCTION, lambda *a: None)
    multi.add_handle(curl)
    reader = hiredis.Reader(protocolError=ValueError)
    reader.feed(b"*2\r\n$1\r\na\r\n")

    class P(object):
        def on_header(self, *a):
            pass
    return [curl, multi, share, reader, httptools.HttpRequestParser(P()), httptools.HttpResponseParser(P()), http_parser.parser.HttpParser(), pycares.Channel(sock_state_cb=lambda *a: None)]


