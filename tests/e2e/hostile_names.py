#!/usr/bin/env python3
"""A thousand hostile names, in every output: none of their control bytes comes out, and every name does.

usage: hostile_names.py [--count N] [--seed N] [--interpreter VERSION]... [-v]

A process whose classes, modules, functions, files, threads, attributes, keys and own name (argv, comm) are made of escape sequences, C0, C1, direction marks, line
ends, markup, quotes and broken UTF-8, N (1000) of each kind; its core, and the process itself, are asked everything in every format. No output or message holds a
raw control byte, a C1 control or a direction mark, JSON is ASCII and valid; every class is named where all are listed. The database is exempt (it holds data, not
text), but holds valid UTF-8. Uses $PYGC_BUILD/bin/pygc. Last line: N passed, N failed, N skipped (one a command and format)."""
import argparse
import csv
import io
import json
import os
import re
import sqlite3
import sys
import tempfile
import xml.dom.minidom

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

TRIAGE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "pygc-triage")
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xd8\x9c")
PROGRAM = r'''
import gc, os, random, sys, threading, types
gc.disable()
count, seed = int(sys.argv[2]), int(sys.argv[3])
old = sys.version_info[0] == 2
pieces = ["\x1b]0;x\x07", "\x1b[2J", "\x1b[31m", "\x9b31m", "\r", "\n", "\t", "\x08", "\x7f", "\x85", "\u202e", "\u2066", "\u200f", "\u2028", "\u200b", "\ufeff", "</script>", "<img src=x onerror=y>",
          "\"", "'", "\\", "${x}", "=cmd()", "]];", "--", "a", "Z", "\xe9", "\u65e5", "\U0001f600", ",", ";", "|", "%s%n", "{0}"]
if old:
    pieces = [p.decode("unicode-escape").encode("utf-8") if p[:2] in ("\\u", "\\U") else p for p in pieces] + ["\xff", "\xc3", "\xe2\x80", "\xed\xa0\x80"]
r = random.Random(seed)
def name(kind, i):
    return "".join(r.choice(pieces) for _ in range(r.randrange(1, 6))) + "%s%04d" % (kind, i)
keep, threads = [], []
def hold(value):
    gate.wait()
gate = threading.Event()
for i in range(count):
    c = type(name("C", i), (object,), {"__module__": name("P", i), name("a", i): 1})
    if i % 4 == 0:
        c.__del__ = lambda self: None
    kept, lost = c(), c()
    keep.append(kept)
    kept.__dict__[name("A", i)] = {name("K", i): kept}
    lost.__dict__[name("L", i)] = [lost]
    m = types.ModuleType(name("M", i))
    m.__dict__[name("V", i)] = c()
    m.__file__ = name("F", i)
    sys.modules[name("M", i)] = m
    if i % 20 == 0:
        code = hold.__code__
        file_name, function = name("f", i), name("g", i)
        if old:
            code = types.CodeType(code.co_argcount, code.co_nlocals, code.co_stacksize, code.co_flags, code.co_code, code.co_consts, code.co_names, code.co_varnames, file_name, function,
                                  code.co_firstlineno, code.co_lnotab)
        else:
            code = code.replace(co_filename=file_name, co_name=function, **({"co_qualname": function} if sys.version_info >= (3, 11) else {}))
        t = threading.Thread(target=types.FunctionType(code, globals(), function), args=(name("v", i),), name=name("t", i))
        t.daemon = True
        t.start()
del c, kept, lost, m, t, code
with open("/proc/self/comm", "wb") as f:
    f.write(b"\x1b]0;x\x07\xff\n")
open(sys.argv[1], "w").write("{}")
os.write(1, ("READY %d\n" % os.getpid()).encode())
sys.stdin.readline()
'''


def questions(target, folder, addresses):
    """(name, arguments, format, file that it writes)"""
    for command in ("status", "leaks", "cycles", "garbage", "finalizers", "refcounts", "heap", "dominators", "stacks", "asyncio", "verify", "triage"):
        for form in ("text", "json"):
            yield command, target + [command, "--format", form] + ([] if command in ("status", "asyncio") else ["--limit", "0"]), form, None
    for command, form in (("heap", "csv"), ("leaks", "gc-debug")):
        yield command, target + [command, "--format", form], form, None
    for form in ("text", "json"):
        yield "leaks --audit", target + ["leaks", "--audit", "--limit", "0", "--format", form], form, None
        yield "leaks --redact", target + ["leaks", "--redact", "--limit", "0", "--format", form], form, None
        yield "stacks --locals --native", target + ["stacks", "--locals", "--native", "--show-values", "--format", form], form, None
        yield "heap --memory --waste", target + ["heap", "--memory", "--waste", "--show-values", "--limit", "0", "--format", form], form, None
        yield "verify --types", target + ["verify", "--types", "--format", form], form, None
        yield "show", target + ["show", "--show-values", "--format", form] + addresses, form, None
        yield "value", target + ["value", "--format", form] + addresses, form, None
        for command in ("referents", "referrers", "path"):
            yield command, target + [command, "--format", form, addresses[0]], form, None
        yield "path of a type", target + ["path", "--format", form, "*C0001"], form, None
        yield "expect", target + ["expect", "--gone", "*C0003", "--max-count", "*C0004=0", "--format", form], form, None
        yield "diff", target + ["diff", target[1], "--format", form] if target[0] == "-c" else target + ["status"], form if target[0] == "-c" else "text", None
        yield "sql", target + ["sql", "--show-values", "--limit", "0", "--format", form, "select * from objects join types on types.id = type_id"], form, None
        yield "sql of a name", target + ["sql", "--format", form, "select '\x1b]0;x\x07' as \"\x1b[2J\u202e\""], form, None
    yield "sql", target + ["sql", "--format", "csv", "--limit", "0", "select name, label from types, refs limit 5000"], "csv", None
    for form in ("jsonl", "dot", "heapsnapshot", "sqlite"):
        out = os.path.join(folder, "export." + form)
        yield "export", target + ["export", "--format", form, "-o", out] + (addresses[:1] if form == "dot" else []), form, out
    yield "report", target + ["report", "-o", os.path.join(folder, "r.html")], "html", os.path.join(folder, "r.html")
    yield "no such command", target + ["\x1b[2J\u202e"], "text", None
    yield "no such type", target + ["path", "\x1b]0;x\x07*"], "text", None


def faults(name, form, ran, document, count, missing):
    if ran.code not in ((0, 1, 3) if not name.startswith("no such") else (2, 0, 1, 3)):
        yield "exit %s: %r" % (ran.code, ran.err[-300:])
        return
    for what, data in (("stderr", ran.err.encode()), ("stdout", ran.out.encode()), ("file", document if form != "sqlite" else b"")):
        found = CONTROL.search(data)
        if found:
            yield "a raw byte on %s: %r" % (what, data[max(0, found.start() - 40):found.end() + 20])
    data = document or ran.out.encode()
    if form in ("json", "heapsnapshot", "jsonl"):
        if any(b > 0x7e for b in data):
            yield "JSON that is not ASCII"
        for line in data.splitlines() if form == "jsonl" else [data]:
            json.loads(line.decode())
    if form == "csv":
        list(csv.reader(io.StringIO(data.decode())))
    if form == "html" and re.search(rb"<img |<script>alert", data):
        yield "markup of the target in the page"
    text = data.decode("utf-8")      # whatever it is, it is valid UTF-8
    if missing:
        absent = [i for i in range(count) if "%s%04d" % (missing, i) not in text]
        if absent:
            yield "%d of %d names are not in it (%s%04d)" % (len(absent), count, missing, absent[0])


def database_faults(path):
    with sqlite3.connect(path) as db:
        for table, column in (("types", "name"), ("objects", "label"), ("refs", "label"), ("roots", "detail")):
            db.execute("select %s from %s" % (column, table)).fetchall()     # raises where it is no UTF-8
        if db.execute("select count(*) from types where name like '%C0%'").fetchone()[0] == 0:
            yield "no class in the database"


def triage_faults(core, folder, count):
    """(output, what is wrong with it), of each output of pygc-triage for the core, whose own name is hostile too."""
    own = os.path.join(folder, "core.\x1b]0;x\x07\u202e\u061c\n|=<img src=x onerror=alert(1)>`::error::")
    os.link(core, own)
    outputs = {"html": "html", "json": "jsonl", "markdown": "markdown", "xml": "junit", "sarif": "sarif", "gitlab": "gitlab"}
    files = {option: os.path.join(folder, "triage." + option) for option in outputs.values()}
    try:
        ran = process.run([sys.executable, TRIAGE, own, "--github", "--pygc", process.PYGC, "--fail-on", "never"] + [w for o, f in files.items() for w in ("--" + o, f)], 120)
        yield "standard output", list(faults("pygc-triage", "text", ran, b"", count, None))
        for form, option in outputs.items():
            if not os.path.exists(files[option]):
                yield option, ["it was not written: %s" % ran.err[-300:]]
                continue
            with open(files[option], "rb") as f:
                document = f.read()
            wrong = list(faults("pygc-triage", "jsonl" if form == "json" else form, ran, document, count, None))
            if form == "xml":
                xml.dom.minidom.parseString(document)
            if form in ("sarif", "gitlab"):
                json.loads(document.decode())
            if form == "markdown" and re.search(rb"(?<!`)<img |<script>", document):
                wrong.append("markup of the target in the page")
            if not document:
                wrong.append("it is empty")
            yield option, wrong
    finally:
        os.unlink(own)
        for f in files.values():
            if os.path.exists(f):
                os.unlink(f)


def check(interpreter, options):
    """(passed, failed)"""
    passed = failed = 0
    folder_script = tempfile.mkdtemp(prefix="pygc-names-")
    script = os.path.join(folder_script, "names.py")
    with open(script, "w") as f:
        f.write(PROGRAM)
    program = process.Program(interpreter.path, script, [str(options.count), str(options.seed), "\x1b]0;argv\x07", "\u202eargv"])
    try:
        core = program.gcore()
        rows = json.loads(process.pygc("-c", core, "sql", "--format", "json", "--limit", "0", "select objects.address from objects join types on types.id = type_id "
                                       "where name like '%C0%' order by objects.address limit 20").out)
        addresses = [str(r[0]) for r in rows["result"]["rows"]]
        for target in (["-c", core], ["-p", str(program.pid)]):
            for name, arguments, form, out in questions(target, program.folder, addresses):
                if target[0] == "-p" and name not in ("status", "leaks", "stacks", "heap", "triage", "report"):
                    continue
                ran = process.run([process.PYGC] + arguments, 120)
                document = b""
                if out and os.path.exists(out):
                    with open(out, "rb") as f:
                        document = f.read()
                listed = {"leaks": "C", "heap": "C", "cycles": "C"}.get(name) if form in ("text", "json") else "C" if name == "export" and form in ("jsonl", "heapsnapshot") else None
                try:
                    wrong = list(faults(name, form, ran, document if form != "sqlite" else b"", options.count, listed))
                    if form == "sqlite" and not wrong:
                        wrong = list(database_faults(out))
                except (ValueError, sqlite3.Error) as e:
                    wrong = ["%s: %s" % (type(e).__name__, e)]
                if out and os.path.exists(out):
                    os.unlink(out)
                passed, failed = passed + (not wrong), failed + bool(wrong)
                if wrong or options.verbose:
                    print("%s %s, %s %s, %s%s" % ("FAILED" if wrong else "ok    ", interpreter.version, target[0], name, form, "".join("\n       " + w[:500] for w in wrong)), flush=True)
        for name, wrong in triage_faults(core, program.folder, options.count):
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong or options.verbose:
                print("%s %s, pygc-triage, %s%s" % ("FAILED" if wrong else "ok    ", interpreter.version, name, "".join("\n       " + w[:500] for w in wrong)), flush=True)
    finally:
        program.close()
        os.unlink(script)
        os.rmdir(folder_script)
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interpreter", action="append", default=[])
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    found = [i for i in interpreters.discover() if i.kind == "default"]
    chosen = [next((i for i in found if i.version.startswith(v)), None) for v in options.interpreter or ["2.7", "3.9", "3.13"]]
    passed = failed = 0
    for interpreter in chosen:
        if interpreter is None:
            print("FAILED an interpreter is not here (scripts/interpreters install)")
            failed += 1
            continue
        p, f = check(interpreter, options)
        passed, failed = passed + p, failed + f
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
