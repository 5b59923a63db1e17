#!/usr/bin/env python3
"""A process with a heap to measure on, of about N objects that the collector tracks.

usage: heaps.py SHAPE N

SHAPE:
  mixed     orders of a shop: instances with and without __dict__, dicts, lists, tuples, sets, closures, generators, parent pointers; parts freed again;
            one object in twenty in garbage cycles, some with __del__
  aged      the same after a random half was dropped and built again, twice: the order of the lists is not the order of addresses any more
  wide      instances of 10,000 classes
  deep      one chain of N lists
  flat      lists of 10 million items (a tenth of N at least) that all refer to a few thousand objects, and N small lists
  strings   dicts full of strings: ten untracked objects for each tracked one
  numpy     object arrays and structured data of NumPy (needs numpy)
  asyncio   N / 24 tasks of a server that wait: coroutines, futures, queues, contexts

  made to hurt; each must cost what its objects and references cost, whatever their shape:
  hub       one list refers to N others and all of them to it; half of it in use, half unreachable
  types     N / 10 classes, each with one object
  colliding dicts whose keys all have one hash, and sets of them
  distinct  unreachable cycles of which no two have the same structure
  nested    N tuples, each inside the next one, twice: one in use, one unreachable

Prints one line of JSON when the heap stands: pid, version, tracked (objects that the collector tracks), rss_kb. Then answers lines on its standard input,
each with one line of JSON, until the end of the input:
  collect   a forked copy makes all its memory its own and runs gc.collect(): seconds, unreachable
  census    a forked copy counts the types of gc.get_objects(), as objgraph.typestats() does: seconds
Python 3.8 and newer; only the standard library but for `numpy`."""
import collections
import gc
import json
import os
import random
import sys
import time

try:
    import ctypes
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
except (ImportError, AttributeError):
    madvise = None


class Order:
    def __init__(self, number, customer):
        self.number = number
        self.customer = customer
        self.lines = []
        self.notes = None


class Line:
    __slots__ = ("order", "article", "amount", "previous")

    def __init__(self, order, article, amount, previous):
        self.order, self.article, self.amount, self.previous = order, article, amount, previous


class Customer:
    def __init__(self, number):
        self.number = number
        self.name = "customer %d" % number
        self.address = {"street": "street %d" % (number % 999), "town": number % 77, "geo": (number / 7.0, [number])}
        self.orders = []


class Watched:
    finalized = 0

    def __init__(self):
        self.me = self

    def __del__(self):
        Watched.finalized += 1


def discount(rates, bounds):
    def apply(price):
        return price * rates[0] + bounds["low"]
    return apply


def pages(rows):
    for row in rows:
        yield row


def shop(count, dice):
    """About `count` tracked objects, in a dict of containers."""
    heap = {"customers": [], "closures": [], "pages": [], "index": {}, "tags": [], "matrix": []}
    made, number, scratch = 0, 0, []
    while made < count:
        customer = Customer(number)
        for i in range(3):
            order, line = Order(number * 3 + i, customer), None
            for k in range(4):
                line = Line(order, ("article", k, (number, k)), k, line)
                order.lines.append(line)
            if i == 0:
                order.notes = {"text": "order %d" % number, "by": customer}
            customer.orders.append(order)
        heap["customers"].append(customer)
        heap["closures"].append(discount([number], {"low": number}))
        if number % 2:
            heap["pages"].append(pages([number, (number, [number])]))
            next(heap["pages"][-1])
        heap["index"]["key %d" % number] = {"first": customer.orders[0], "rest": [number, [number + 1]]}
        heap["tags"].append({("tag", number), "t%d" % number, number + 1000})
        heap["matrix"].append([[float(number + a) for a in range(4)] for _ in range(3)])
        scratch.append([Order(number, None) for _ in range(6)])
        if len(scratch) > 3000:
            dice.shuffle(scratch)
            del scratch[:2000]
        made += 66 if number % 2 else 61
        number += 1
    return heap


def litter(count, dice):
    """About `count` tracked objects in cycles that nothing reaches."""
    made = 0
    while made < count:
        kind = dice.randrange(5)
        if kind == 0:
            ring = []
            ring.append(ring)
            made += 1
        elif kind == 1:
            a, b = {}, {}
            a["b"], b["a"] = b, a
            made += 2
        elif kind == 2:
            customer = Customer(made)
            customer.orders.extend(Order(i, customer) for i in range(5))
            made += 25
        elif kind == 3:
            first = last = Line(None, (made, []), 0, None)
            for i in range(40):
                last = Line(None, (i, [last]), i, last)
            first.previous = last
            made += 120
        else:
            Watched()
            made += 2


def mixed(count):
    dice = random.Random(count)
    heap = shop(count * 19 // 20, dice)
    litter(count // 20, dice)
    return heap


def aged(count):
    dice = random.Random(count)
    heap = shop(count * 19 // 20, dice)
    for _ in range(2):
        for values in heap.values():
            if isinstance(values, list):
                dice.shuffle(values)
                del values[len(values) // 2:]
            else:
                for key in dice.sample(sorted(values), len(values) // 2):
                    del values[key]
        gc.collect()
        for name, values in shop(count * 19 // 40, dice).items():
            (heap[name].extend if isinstance(values, list) else heap[name].update)(values)
    litter(count // 20, dice)
    return heap


def wide(count):
    classes = [type("Class%d" % i, (), {} if i % 2 else {"__slots__": ("a", "b", "c")}) for i in range(10000)]
    out, last = [], None
    for i in range(count):
        made = classes[i % len(classes)]()
        made.a, made.b, made.c = last, out, i
        out.append(made)
        last = made
    return out


def deep(count):
    chain = []
    for _ in range(count):
        chain = [chain]
    return chain


def flat(count):
    few = [[i] for i in range(5000)]
    return [few * (10000000 // len(few)) for _ in range(max(1, count // 10000000))], [[few[i % 5000]] for i in range(count)]


def strings(count):
    return [[{"key %d %d" % (i, k): "value %d of %d" % (k, i) for k in range(5)}] for i in range(count)]


def numpy(count):
    import numpy as np
    arrays, cells = [], [[i] for i in range(count // 2)]
    for i in range(0, len(cells), 20):
        arrays.append(np.array(cells[i:i + 20] + [None], dtype=object)[:-1])
        arrays.append({"data": np.zeros(64), "labels": np.arange(16), "rows": [np.float64(k) for k in range(8)]})
        arrays.extend([np.ones(8), i] for _ in range(6))
    return arrays


def asyncio(count):
    import asyncio as aio
    import contextvars
    request = contextvars.ContextVar("request")
    loop = aio.new_event_loop()

    async def read(queue):
        return await queue.get()

    async def serve(number, queue):
        request.set({"number": number, "headers": [("host", number)]})
        while True:
            await read(queue)

    async def main():
        queues = [aio.Queue() for _ in range(100)]
        tasks = [loop.create_task(serve(i, queues[i % 100])) for i in range(count // 24)]
        await aio.sleep(0)
        return queues, tasks
    return loop, loop.run_until_complete(main())


def hub(count):
    def star(rays):
        middle = []
        middle.extend([middle] for _ in range(rays))
        return middle
    star(count // 2)
    return star(count // 2)


def types(count):
    return [type("Type%d" % i, (), {})() for i in range(count // 10)]


class Collides:
    def __hash__(self):
        return 1


def colliding(count):
    out = []
    for _ in range(0, count, 50):  # each insertion compares with all before: fifty are a moment, a thousand an age
        keys = [Collides() for _ in range(20)]
        out.append([{key: [key] for key in keys}, set(keys)])
    return out


def distinct(count):
    made, number = 0, 0
    while made < count:
        number += 1
        ring = [[] for _ in range(2 + number.bit_length())]
        for i, item in enumerate(ring):
            item.append(ring[i - 1])
            if number >> i & 1:
                item.append(({}, item))
        made += 2 * len(ring)
    return made


def nested(count):
    def chain():
        inner, outer = [], ()
        for _ in range(count // 2):
            outer = (outer, inner)
        inner.append(outer)
        return outer
    chain()
    return chain()


def own_memory():
    """Makes every writable page this process's own, so that no copy on write is timed."""
    if madvise is None:
        return
    try:
        with open("/proc/self/maps") as maps:
            lines = [line.split() for line in maps]
        for line in lines:
            begin, end = (int(word, 16) for word in line[0].split("-"))
            if "w" in line[1] and "p" in line[1]:
                madvise(begin, end - begin, 23)  # MADV_POPULATE_WRITE; where the kernel has none the pages are copied within the time
    except OSError:
        pass


def in_copy(work):
    """What work() returns in a forked copy of this process."""
    inward, outward = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(inward)
        own_memory()
        os.write(outward, json.dumps(work()).encode())
        os._exit(0)
    os.close(outward)
    with os.fdopen(inward) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


def collect():
    start = time.perf_counter()
    unreachable = gc.collect()
    return {"seconds": time.perf_counter() - start, "unreachable": unreachable}


def census():
    start = time.perf_counter()
    collections.Counter(type(o).__name__ for o in gc.get_objects())
    return {"seconds": time.perf_counter() - start}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(__doc__)
    gc.disable()
    heap = SHAPES[sys.argv[1]](int(sys.argv[2]))
    with open("/proc/self/statm") as statm:
        rss = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    tracked = in_copy(lambda: len(gc.get_objects()))
    print(json.dumps({"pid": os.getpid(), "version": sys.version.split()[0], "tracked": tracked, "rss_kb": rss}), flush=True)
    try:
        for line in sys.stdin:
            print(json.dumps(in_copy({"collect": collect, "census": census}[line.strip()])), flush=True)
    except BrokenPipeError:
        pass  # whoever asked has gone
    finally:
        os._exit(0 if heap is not None else 1)  # taking the heap down would take as long as building it


SHAPES = {f.__name__: f for f in (mixed, aged, wide, deep, flat, strings, numpy, asyncio, hub, types, colliding, distinct, nested)}

if __name__ == "__main__":
    main()
