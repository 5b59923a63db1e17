#!/usr/bin/env python3
"""The judge judged: an export made from the truth itself is exact, and each single falsehood in it is found.

Runs one fixture on the system's python3, writes a SQLite export out of its truth, falsifies one thing at a time. Needs no pygc."""
import os
import sqlite3
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import compare  # noqa: E402
import process  # noqa: E402

SCHEMA = """
create table types(id integer primary key, address integer, name text);
create table objects(id integer primary key, address integer unique, interpreter integer, type_id integer, size integer, refcount integer,
  immortal integer, tracked integer, generation integer, state text, finalizer text, finalized integer, exact integer, label text);
create table refs(src integer, dst integer, label text);
"""


def write(path, truth):
    con = sqlite3.connect(path)
    con.executescript(SCHEMA)
    types, ids = {}, {}
    stuck = set(truth["garbage"]) | set(truth["held_by_garbage"]) | set(truth["uncollectable"])
    for key, name in truth["tracked"].items():
        a = int(key)
        types.setdefault(name, len(types) + 1)
        ids[a] = len(ids) + 1
        state = "uncollectable" if a in stuck else "unreachable" if a in truth["unreachable"] else "reachable"
        con.execute("insert into objects values (?,?,0,?,?,1,0,1,?,?,?,?,1,'exact')",
                    (ids[a], a, types[name], truth["sizes"].get(key), truth["generations"].get(key), state,
                     "__del__" if a in truth["has_del"] else None, int(a in truth["finalized"])))
    types["other"] = len(types) + 1
    for key, targets in truth["refs"].items():
        for t in targets:
            if t not in ids:
                ids[t] = len(ids) + 1
                con.execute("insert into objects values (?,?,0,?,null,1,0,0,null,'reachable',null,0,1,'exact')", (ids[t], t, types["other"]))
            con.execute("insert into refs values (?,?,null)", (ids[int(key)], ids[t]))
    con.executemany("insert into types values (?,0,?)", [(i, n) for n, i in types.items()])
    con.commit()
    con.close()


class TheJudge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        with process.Program(sys.executable, "finalizer_order") as program:
            cls.truth = program.truth
        with process.Program(sys.executable, "garbage_by_hand") as program:
            cls.garbage = program.truth

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def differences(self, change="", truth=None):
        truth = truth or self.truth
        path = os.path.join(self.folder.name, "x.db")
        if os.path.exists(path):
            os.unlink(path)
        write(path, truth)
        con = sqlite3.connect(path)
        con.executescript(change)
        con.commit()
        con.close()
        return compare.compare(path, truth)[0]

    def test_the_truth_itself_is_exact(self):
        self.assertEqual(self.differences(), [])
        self.assertEqual(self.differences(truth=self.garbage), [])
        self.assertGreater(len(self.truth["tracked"]), 1000)
        self.assertEqual(compare.check_claim(self.truth), [])

    def test_a_false_claim_of_a_fixture_is_found(self):
        self.assertEqual(len(compare.check_claim(dict(self.truth, expect={"__main__.A": 77}))), 1)

    def test_each_falsehood_is_found(self):
        one = "(select min(id) from objects where tracked and state = 'reachable' and refcount = 1)"
        lost = "(select min(id) from objects where state = 'unreachable')"
        for change, word in [
                ("delete from objects where id = %s" % one, "not found"),
                ("update objects set tracked = 0 where id = %s" % lost, "not found"),
                ("update objects set interpreter = 1 where id = %s" % one, "not found"),
                ("update objects set type_id = type_id + 1 where id = %s" % one, "type wrong"),
                ("update objects set generation = 1 - coalesce(generation, 0) where id = %s" % one, "generation wrong"),
                ("update objects set size = size + 8 where id = %s" % one, "size wrong"),
                ("update objects set finalized = 1 - finalized where id = %s" % one, "finalized wrong"),
                ("update objects set finalizer = '__del__' where id = %s" % one, "__del__ seen where"),
                ("update objects set finalizer = null where finalizer = '__del__'", "__del__ not seen"),
                ("update objects set state = 'reachable' where id = %s" % lost, "unreachable missed"),
                ("update objects set state = 'unreachable' where id = %s" % one, "unreachable that is not"),
                ("update objects set state = 'uncollectable' where id = %s" % lost, "uncollectable wrong"),
                ("delete from refs where rowid = (select min(rowid) from refs)", "references of"),
                ("insert into refs select src, dst, label from refs limit 1", "references of"),
                ("insert into objects select 999999, 4711, 0, id, null, 1, 0, 1, 0, 'reachable', null, 0, 1, 'exact' from types where name = 'function'", "not tracked")]:
            if "generation wrong" in word and not self.truth["generations"]:
                continue
            with self.subTest(change):
                found = self.differences(change)
                self.assertTrue(any(word in f for f in found), found)

    def test_garbage_must_be_called_uncollectable(self):
        self.assertTrue(self.differences("update objects set state = 'reachable' where state = 'uncollectable'", self.garbage))

    def test_an_approximate_object_may_differ_and_is_counted(self):
        change = "update objects set exact = 0 where id = 1; delete from refs where src = 1"
        self.assertFalse([f for f in self.differences(change) if "references" in f])

    def test_components_of_the_references(self):
        refs = {"1": [2], "2": [3, 9], "3": [1], "4": [4], "5": [6], "6": [], "7": [8, 8], "8": [7], "9": []}
        self.assertEqual(compare.components(range(1, 10), refs), [1, 2, 3])
        ring = {str(i): [(i + 1) % 20000] for i in range(20000)}
        self.assertEqual(compare.components(range(20000), ring), [20000])

    def test_result_bytes_are_those_of_the_result_alone(self):
        one = '{"schema": "x", "timing": {"a": 1}, "result": {"unreachable": 1}}'
        self.assertEqual(process.result_bytes(one), process.result_bytes(one.replace('"a": 1', '"a": 2')))
        self.assertNotEqual(process.result_bytes(one), process.result_bytes(one.replace('"unreachable": 1', '"unreachable": 2')))


if __name__ == "__main__":
    unittest.main()
