#!/usr/bin/env python3
"""pygc sql: every query gives the rows that SQLite gives over the file that `export` wrote of the same core; strings and frames as the process says.

usage: sql.py [--quick] [--interpreter TEXT]... [-v] [--keep]    (--quick: three interpreters)

Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped. Exit 1 where one failed.
"""
import ast
import csv
import io
import json
import os
import re
import sqlite3
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import explain  # noqa: E402
import process  # noqa: E402

QUERIES = """
select * from types order by id
select id, address, interpreter, type_id, size, refcount, immortal, tracked, generation, state, finalizer, finalized, exact, label from objects order by id
select src, dst, label from refs order by rowid
select src, dst, label from owned_refs order by rowid
select src, label from owned_refs where dst in (select dst from owned_refs group by dst order by count(*), dst limit 200) order by dst, rowid
select dst, label from owned_refs where src in (select src from owned_refs group by src order by count(*) desc, src limit 20) order by src, rowid
select key, value from meta where key not in ('audited', 'complete', 'certainty') order by key
select t.name, count(*), sum(o.size) from objects o join types t on t.id = o.type_id group by 1 order by 3 desc, 1 limit 20
select state, count(*) from objects group by 1 order by 1
select generation, tracked, count(*) from objects group by 1, 2 order by 1, 2
select o.address, r.label from refs r join objects o on o.id = r.src where r.dst = (select id from objects where address = {address}) order by r.rowid
select o.address, r.label from refs r join objects o on o.id = r.dst where r.src = (select id from objects where address = {address}) order by r.rowid
select dst, count(*) as n from refs group by dst order by n desc, dst limit 10
select count(*) from objects where type_id in (select id from types where name like '%error' or name glob '*Error')
select id from objects where address in ({address}, 1, null, 'x', {address})
with recursive r(id) as (select id from objects where address = {address} union select dst from refs join r on src = r.id) select count(*), min(id), max(id) from r
select a.type_id, b.type_id, count(*) from refs join objects a on a.id = src join objects b on b.id = dst where a.tracked and b.tracked group by 1, 2 order by 3 desc, 1, 2 limit 15
select label, count(*) from refs where label is not null group by label order by 2 desc, 1 limit 15
select object_id, kind, recorded, found from refcount_findings order by 1, 2
select object_id, kind, detail from roots order by 1, 2, 3
""".strip().splitlines()

REFUSED = ["attach '/tmp/pygc-x.db' as x", "create table t(a)", "delete from objects", "vacuum into '/tmp/pygc-x.db'", "pragma journal_mode = wal", "select load_extension('x')",
           "select nonsense from objects", "selct 1", "select 1; select 2", "", "select value from strings"]


class Dump:
    """A core of the fixture, the database exported of it, and pygc's answers."""

    def __init__(self, program, ask):
        self.program, self.ask, self.core, self.documents = program, ask, program.gcore(), []
        path = os.path.join(program.folder, "heap.db")
        ran = process.pygc("-c", self.core, "export", "--format", "sqlite", "-o", path)
        if ran.code != 0 and not process.only_stacks_missing(ran):
            raise process.CannotTest("export: exit %s: %s" % (ran.code, ran.tail()))
        self.whole = ran.code == 0
        self.database = sqlite3.connect(path)
        self.database.text_factory = str

    def run(self, *arguments, timeout=300):
        return process.pygc("-c", self.core, *arguments, timeout=timeout)

    def sql(self, *queries, values=False):
        """The results of the queries, on one load."""
        path = os.path.join(self.program.folder, "queries")
        with open(path, "w") as f:
            for query in queries:
                f.write("sql --format json --limit 0 %s \"%s\"\n" % ("--show-values" if values else "", query))
        ran = self.run("-x", path)
        if ran.code not in (0, 3):
            raise process.CannotTest("%s: exit %s: %s" % (queries[0][:60], ran.code, ran.tail()))
        decoder, at, results, missing = json.JSONDecoder(), 0, [], set()
        while ran.out[at:].strip():
            document, end = decoder.raw_decode(ran.out, at)
            path = os.path.join(self.program.folder, "sql-%d.json" % len(self.documents))
            with open(path, "w") as f:
                f.write(ran.out[at:end])
            self.documents.append(path)
            results.append(document["result"])
            missing.update(m["what"] for m in document["missing"])
            at = end + 1
        if (ran.code == 3) != bool(missing) or not all(re.match(r"the stacks? of \d+ threads?$", m) for m in missing):
            raise process.CannotTest("%s: exit %s, missing %s" % (queries[0][:60], ran.code, sorted(missing)))
        if len(results) != len(queries):
            raise process.CannotTest("%d results of %d queries" % (len(results), len(queries)))
        return results


def check_queries(dump):
    wrong, address = [], dump.program.truth["objects"]["slot"]
    queries = [query.format(address=address) for query in QUERIES]
    if dump.whole:  # an export tells roots, so it may be partial where a query of these rows is not
        queries.append("select key, value from meta where key in ('complete', 'certainty') order by key")
    for query, got in zip(queries, dump.sql(*queries)):
        cursor = dump.database.execute(query)
        want = [list(row) for row in cursor]
        wrong += explain.differ(query[:50] + ": columns", got["columns"], [d[0] for d in cursor.description])
        if got["rows"] != want:
            first = next((i for i, (a, b) in enumerate(zip(got["rows"], want)) if a != b), min(len(want), len(got["rows"])))
            wrong.append("%s: %d rows, the file has %d; first difference at %d: %s, %s" %
                         (query[:80], len(got["rows"]), len(want), first, got["rows"][first:first + 1], want[first:first + 1]))
        if not want and "findings" not in query:
            wrong.append("%s: says nothing about anything" % query[:80])
    return wrong


def check_type_names(dump):
    """objects has the names of the types as a column that * does not show."""
    named = "select type, count(*), sum(size) from objects %s group by type order by 1"
    joined = "select t.name, count(*), sum(o.size) from objects o join types t on t.id = o.type_id %s group by 1 order by 1"
    address = dump.program.truth["objects"]["slot"]
    got, some, one = dump.sql(named % "", named % "where type like '__main__.%'", "select type from objects where address = %d" % address)
    want, wanted_some = [[list(row) for row in dump.database.execute(joined % how)] for how in ("", "where t.name like '__main__.%'")]
    wrong = explain.differ("objects by type", got["rows"], want) + explain.differ("objects of the program's types", some["rows"], wanted_some)
    name, = dump.database.execute("select t.name from objects o join types t on t.id = o.type_id where o.address = %d" % address)
    return wrong + explain.differ("type of one", one["rows"], [list(name)]) + ([] if wanted_some else ["no type of the program"])


def check_lines(dump):
    """JSON Lines have the references of the SQLite export, with their labels."""
    path, got = os.path.join(dump.program.folder, "heap.jsonl"), []
    ran = dump.run("export", "--format", "jsonl", "-o", path)
    if ran.code != 0 and not process.only_stacks_missing(ran):
        return ["export: exit %s: %s" % (ran.code, ran.tail())]
    with open(path, encoding="utf-8") as f:
        for o in map(json.loads, f):
            if o.get("record") == "object":
                got += [(o["id"], dst, label) for kind in ("ref", "owned_ref") for dst, label in zip(o.get(kind + "s", []), o.get(kind + "_labels", []))]
    want = [tuple(row) for row in dump.database.execute("select src, dst, label from refs union all select src, dst, label from owned_refs")]
    wrong = explain.differ("references", len(got), len(want))
    key = lambda row: (row[0], row[1], row[2] or "")    # noqa: E731
    differing = [(g, w) for g, w in zip(sorted(got, key=key), sorted(want, key=key)) if g != w]
    return wrong + (["first of %d that differ: %s" % (len(differing), differing[0])] if differing else [])


def check_strings(dump):
    """Texts that modules hold are there with their length and value; equal digests mean equal texts."""
    truth = json.loads(ast.literal_eval(dump.ask("json.dumps(sorted([id(k), len(k), k] for m in list(__import__('sys').modules.values()) for k in list(getattr(m, '__dict__', {}).values()) if type(k) is str and len(k) < 1000 and all(c < chr(128) for c in k)))")))
    wanted = ", ".join(str(t[0]) for t in truth)
    got, clash = dump.sql("select distinct address, length, value from strings where address in (%s) order by address" % wanted,
                          "select digest from strings group by digest having count(distinct value) > 1", values=True)
    wrong = explain.differ("strings", got["rows"], [list(t) for t in sorted(set(map(tuple, truth)))])
    return wrong + explain.differ("digests of different texts", clash["rows"], []) + ([] if len(truth) > 50 else ["only %d texts" % len(truth)])


def check_frames(dump):
    stacks = json.loads(dump.run("stacks", "--format", "json", "--limit", "0").out)["result"]["threads"]
    want = sorted([t["thread_id"], i, f["function"], f["file"], f["line"]] for t in stacks for i, f in enumerate(t["frames"]))
    got = dump.sql("select thread, depth, function, file, line from frames")[0]["rows"]
    return explain.differ("frames", sorted(got), want) + ([] if len(want) > 2 else ["no frames"])


# Of the table `roots`: not those that are words which only may be references; nothing hangs on such a one in the tree of dominators.
NO_WORDS = "kind not in ('stack', 'register', 'native') and not (kind = 'static' and detail glob '*+0x[0-9a-f]*')"


def check_dominators(dump):
    """What the top dominators retain is everything that is reached (heap.py checks single ones in a second way); the roots lead to all of it, and nothing
    dominates a root."""
    whole, tops, left, dominated = dump.sql(
        "select count(*), sum(o.size) from dominators d join objects o on o.id = d.object_id",
        "select sum(retained_objects), sum(retained) from dominators where dominator_id is null",
        "with recursive r(id) as (select object_id from roots union select dst from all_refs join r on src = r.id) select count(*) from dominators where object_id not in (select id from r)",
        "select count(*) from roots r join dominators d on d.object_id = r.object_id where d.dominator_id is not null "
        "and " + NO_WORDS)
    wrong = explain.differ("objects that no root leads to", left["rows"], [[0]]) + explain.differ("roots that something dominates", dominated["rows"], [[0]])
    return wrong + explain.differ("objects, bytes", tops["rows"], whole["rows"]) + ([] if whole["rows"][0][0] > 10000 else ["only %s objects" % whole["rows"]])


def check_referrers(dump):
    address = dump.program.truth["objects"]["slot"]
    want = json.loads(dump.run("referrers", hex(address), "--format", "json", "--limit", "0").out)["result"]["references"]
    got = dump.sql("select referrer_address, referrer_type, label from referrers where object_id = (select id from objects where address = %d)" % address)[0]["rows"]
    return explain.differ("referrers", sorted(got), sorted([int(r["address"], 16), r["type"], r["label"]] for r in want if r["kind"] == "object"))


def check_csv(dump):
    query = "select t.name, count(*) from objects o join types t on t.id = o.type_id group by 1 order by 1"
    rows = list(csv.reader(io.StringIO(dump.run("sql", "--format", "csv", "--limit", "0", query).out)))
    wrong = explain.differ("csv", rows[1:], [[str(v) for v in r] for r in dump.database.execute(query)])
    cut = dump.run("sql", "--format", "csv", "--limit", "7", query)
    whole = dump.run("sql", "--format", "csv", "--limit", "0", query)
    wrong += explain.differ("csv cut off", [cut.out.count("\n"), "the first 7 rows of the query, there are more (--limit 0 for all)" in cut.err], [8, True])
    return wrong + explain.differ("csv of all", "--limit 0" in whole.err, False)


def check_refused(dump):
    wrong = []
    for query in REFUSED:
        ran = dump.run("sql", query)
        if ran.code != 2 or ran.err.count("\n") != 1 or ran.out:
            wrong.append("%s: exit %s, %s" % (query, ran.code, ran.tail()))
    return wrong + (["a file was written"] if os.path.exists("/tmp/pygc-x.db") else [])


def check_endless(dump):
    """A query without an end stops at --timeout, and is partial."""
    started = time.time()
    ran = dump.run("sql", "with recursive r(n) as (values(1) union all select n + 1 from r) select max(n) from r", "--timeout", "1", timeout=60)
    wrong = explain.differ("exit status", ran.code, 3)
    said = "stopped before the end of the query: no row was found until then"
    wrong += [] if ran.out.startswith("PARTIAL: rows of the query") and said in ran.out and "0 rows" not in ran.out else ["does not say that it was stopped: " + ran.out[-200:]]
    some = dump.run("sql", "with recursive r(n) as (values(1) union all select n + 1 from r) select n from r where n < 4", "--timeout", "1", "--format", "json", timeout=60)
    report = json.loads(some.out)
    wrong += explain.differ("what it had", (some.code, report["complete"], report["result"]["interrupted"], report["result"]["rows"]), (3, False, True, [[1], [2], [3]]))
    wrong += [] if "with 3 rows so far" in report["missing"][0]["reason"] else ["missing: %s" % report["missing"]]
    return wrong + (["took %.0f s" % (time.time() - started)] if time.time() - started > 30 else [])


def check_all(live):
    dump = Dump(live.program, live.ask)
    return [(check.__name__[6:], check(dump), "") for check in (check_queries, check_type_names, check_lines, check_strings, check_frames, check_dominators, check_referrers, check_csv, check_refused,
                                                              check_endless, explain.check_schemas)]


if __name__ == "__main__":
    sys.exit(explain.main((("holders", check_all),), __doc__))
