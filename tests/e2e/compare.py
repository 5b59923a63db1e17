"""Holds pygc's SQLite export against the truth of the interpreter. Sets and multisets, no tolerance but for the oracle's own frames."""
import sqlite3
from collections import Counter

# The process that is read stands in the oracle's frames; the copy that wrote the truth stood in other ones.
OWN_TYPES = ("frame", "tuple", "list", "dict", "set", "cell")
MAX_OWN = 12


class Difference(Exception):
    """What differs, in one line."""


def _some(items, n=4):
    items = list(items)
    return ", ".join(str(i) for i in items[:n]) + (" ... %d in all" % len(items) if len(items) > n else "")


def compare(database, truth, lower_bound=False):
    """[what differs] (empty: exact) and a dict of counts. lower_bound: pygc itself says that some may be missed, and labels why."""
    con = sqlite3.connect("file:%s?mode=ro" % database, uri=True)
    try:
        return _compare(con, truth, lower_bound)
    finally:
        con.close()


def _compare(con, truth, lower_bound):
    wrong = []
    tracked = {int(k): v for k, v in truth["tracked"].items()}
    rows = con.execute("select o.address, t.name, o.state, o.generation, o.size, o.finalized, o.exact, o.finalizer, o.refcount, o.immortal"
                       " from objects o join types t on t.id = o.type_id"
                       " where o.tracked and coalesce(o.generation, 0) <> 3 and coalesce(o.interpreter, 0) = 0").fetchall()
    mine = {r[0]: r for r in rows}

    def say(what, addresses):
        addresses = list(addresses)
        if addresses:
            wrong.append("%s: %d (%s)" % (what, len(addresses), _some("0x%x %s" % (a, tracked.get(a) or mine[a][1]) for a in addresses)))

    common = sorted(set(tracked) & set(mine))
    say("tracked objects not found", sorted(set(tracked) - set(mine)))
    own = set(truth["own"])
    extra = [a for a in sorted(set(mine) - set(tracked)) if a not in own]
    if len(extra) > MAX_OWN or any(mine[a][1] not in OWN_TYPES for a in extra):
        say("objects that are not tracked", extra)
    say("type wrong", (a for a in common if mine[a][1] != tracked[a]))
    generation = {int(k): v for k, v in truth["generations"].items()}
    say("generation wrong", (a for a in common if a in generation and mine[a][3] is not None and mine[a][3] != generation[a]))
    sizes = {int(k): v for k, v in truth["sizes"].items()}
    say("size wrong", (a for a in common if a in sizes and mine[a][4] is not None and mine[a][4] != sizes[a]))
    unknown_size = sum(1 for a in common if mine[a][4] is None)
    if truth["hexversion"] >= 0x03090000:
        finalized = set(truth["finalized"])
        say("finalized wrong", (a for a in common if bool(mine[a][5]) != (a in finalized)))
    has_del = set(truth["has_del"])
    say("__del__ not seen", (a for a in common if a in has_del and mine[a][7] != "__del__"))
    say("__del__ seen where none is", (a for a in common if a not in has_del and mine[a][7] == "__del__"))

    found = {a for a, r in mine.items() if r[2] in ("unreachable", "uncollectable")}
    want = set(truth["unreachable"])
    stuck = set(truth["garbage"]) | set(truth["held_by_garbage"])
    approximate = [a for a in common if not mine[a][6]]
    if not (lower_bound and approximate):
        say("unreachable missed", sorted(want - found))
    say("unreachable that is not", sorted((found & set(tracked)) - want - stuck))
    uncollectable = set(truth["uncollectable"])
    say("uncollectable wrong", (a for a in sorted(want & found) if (mine[a][2] == "uncollectable") != (a in uncollectable)))
    say("in gc.garbage, not called uncollectable", (a for a in sorted(stuck & set(mine)) if mine[a][2] != "uncollectable"))

    interned = set(truth.get("interned", ()))
    refs = {}
    for source, target in con.execute("select s.address, d.address from refs join objects s on s.id = refs.src"
                                      " join objects d on d.id = refs.dst where s.tracked"):
        refs.setdefault(source, []).append(target)
    labelled, by_type = Counter(), {}
    for a in common:
        expected, got = sorted(truth["refs"][str(a)]), sorted(refs.get(a, []))
        if expected == got or (a in interned and abs(len(expected) - len(got)) <= 8):
            continue
        if not mine[a][6]:
            labelled[tracked[a]] += 1
        else:
            by_type.setdefault(tracked[a], []).append(a)
    for name, addresses in sorted(by_type.items()):
        a = addresses[0]
        expected, got = Counter(truth["refs"][str(a)]), Counter(refs.get(a, []))
        wrong.append("references of %s wrong: %d, for example 0x%x: missed %s, false %s" % (
            name, len(addresses), a, _some("0x%x" % x for x in (expected - got).elements()), _some("0x%x" % x for x in (got - expected).elements())))
    counts = {"missed": len(want - found), "objects": len(tracked), "unreachable": len(want), "approximate": len(approximate), "labelled": sum(labelled.values()),
              "unknown_size": unknown_size, "labelled_types": labelled.most_common(6)}
    return wrong, counts


def compare_planted(database, truth, lower_bound=False):
    """The same for a process in the middle of a collection: only what the fixture planted."""
    con = sqlite3.connect("file:%s?mode=ro" % database, uri=True)
    try:
        mine = {r[0]: r[1:] for r in con.execute("select o.address, t.name, o.state from objects o join types t on t.id = o.type_id where o.tracked")}
    finally:
        con.close()
    planted = {int(k): v for k, v in truth["planted"].items()}
    wrong = []
    lost = [a for a in planted if a not in mine]
    if lost:
        wrong.append("planted objects not found: %d of %d" % (len(lost), len(planted)))
    named = [a for a in planted if a in mine and mine[a][0] != planted[a]]
    if named:
        wrong.append("type wrong: " + _some("0x%x %s" % (a, mine[a][0]) for a in named))
    reachable = [a for a in planted if a in mine and mine[a][1] != "unreachable"]
    if reachable:
        wrong.append("not called unreachable: " + _some("0x%x %s %s" % (a, planted[a], mine[a][1]) for a in reachable))
    return wrong, {"missed": 0, "objects": len(mine), "unreachable": len(planted), "approximate": 0, "labelled": 0, "unknown_size": 0, "labelled_types": []}


def check_claim(truth):
    """What a fixture claims to have built and has not, by the interpreter's own word: a fault of the fixture."""
    if "planted" in truth or "counts" in truth:
        return []
    found = Counter(truth["tracked"][str(a)] for a in truth["unreachable"])
    return ["the fixture claims %d unreachable %s, the interpreter finds %d" % (n, name, found[name])
            for name, n in sorted(truth["expect"].items()) if found[name] != n]


def check_counts(report, truth):
    """The totals of `leaks --format json` of a heap whose truth is only counted."""
    counts, result = truth["counts"], report["result"]
    return ["leaks says %s %s, the interpreter %d" % (key, result[mine], counts[key])
            for key, mine in (("unreachable", "unreachable"), ("garbage", "in_garbage")) if result[mine] != counts[key]]


def check_leaks(report, code, truth):
    """What `leaks --format json` says in its totals and its exit status, against the truth."""
    wrong = []
    result = report["result"]
    unreachable, garbage = len(truth["unreachable"]), len(truth["garbage"])
    if result.get("certainty") == "lower bound":
        upper = result["unreachable_upper"]
        if upper is None and report["complete"]:
            wrong.append("leaks knows no upper bound, and calls itself complete")
        elif not result["unreachable"] <= unreachable <= (unreachable if upper is None else upper):
            wrong.append("leaks says unreachable %s to %s, the collector finds %d" % (result["unreachable"], result["unreachable_upper"], unreachable))
    elif result["unreachable"] != unreachable:
        wrong.append("leaks says unreachable %s, the collector finds %d" % (result["unreachable"], unreachable))
    if result["in_garbage"] != garbage:
        wrong.append("leaks says in_garbage %s, gc.garbage holds %d" % (result["in_garbage"], garbage))
    if list(result)[:4] != ["unreachable", "collectable", "uncollectable", "in_garbage"]:
        wrong.append("the result of leaks starts with " + ", ".join(list(result)[:4]))
    if report["complete"] and code == 3 and result.get("certainty") == "exact":
        wrong.append("complete and exact, and yet exit status 3")
    stuck = bool(garbage or truth.get("stuck", truth["uncollectable"]))
    if (result["uncollectable"] > 0) != stuck:
        wrong.append("leaks says uncollectable %d, a collection leaves %s" % (result["uncollectable"], "some" if stuck else "nothing"))
    if ("never" in result["verdict"]) != stuck:
        wrong.append("leaks says: " + result["verdict"])
    definite = bool(stuck or truth["freeze_count"])
    if definite and not truth["freeze_count"] and code != 1:
        wrong.append("findings are definite, exit status %s" % code)
    if not definite and code not in (0, 3):
        wrong.append("nothing definite, exit status %s" % code)
    return wrong


DEBUG_FLAGS = ((1, "DEBUG_STATS"), (2, "DEBUG_COLLECTABLE"), (4, "DEBUG_UNCOLLECTABLE"), (8, "DEBUG_INSTANCES"), (16, "DEBUG_OBJECTS"), (32, "DEBUG_SAVEALL"))


def check_status(report, truth):
    """The collector's settings as `status --format json` reads them, against gc's own answers."""
    main = report["result"]["interpreters"][0]
    want = {"enabled": truth["enabled"], "debug_flags": [name for bit, name in DEBUG_FLAGS if truth["debug"] & bit],
            "in_garbage": len(truth["garbage"]), "collecting": False}
    wrong = ["status says %s %s, gc says %s" % (k, main[k], v) for k, v in want.items() if main[k] != v]
    # 3.12 and 3.13 ignore the third threshold, and gc.get_threshold() of some versions says 0 for it.
    if list(main["thresholds"])[:2] != list(truth["threshold"])[:2]:
        wrong.append("status says thresholds %s, gc says %s" % (main["thresholds"], truth["threshold"]))
    permanent = sum(g["objects"] for g in main["generations"] if g["generation"] == "permanent")
    if permanent != truth["freeze_count"]:
        wrong.append("status says %d objects in the permanent generation, gc says %d" % (permanent, truth["freeze_count"]))
    return wrong


def components(nodes, refs):
    """Sizes of the strongly connected components of more than one node, or of one that refers to itself. Kosaraju, no recursion."""
    nodes = set(nodes)
    forward = {a: [b for b in refs[str(a)] if b in nodes] for a in nodes}
    backward = {a: [] for a in nodes}
    for a, targets in forward.items():
        for b in targets:
            backward[b].append(a)
    order, seen = [], set()
    for root in sorted(nodes):
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(forward[root]))]
        while stack:
            a, rest = stack[-1]
            b = next((x for x in rest if x not in seen), None)
            if b is None:
                order.append(a)
                stack.pop()
            else:
                seen.add(b)
                stack.append((b, iter(forward[b])))
    sizes, seen = [], set()
    for root in reversed(order):
        if root in seen:
            continue
        seen.add(root)
        members, stack = [], [root]
        while stack:
            a = stack.pop()
            members.append(a)
            for b in backward[a]:
                if b not in seen:
                    seen.add(b)
                    stack.append(b)
        if len(members) > 1 or root in forward[root]:
            sizes.append(len(members))
    return sorted(sizes)


def check_cycles(report, truth):
    """The number and size of the unreachable components, against components computed from gc.get_referents()."""
    if truth["garbage"] or truth["freeze_count"]:
        return []           # what gc.garbage keeps alive is neither here nor there for this sum
    sizes = components(truth["unreachable"], truth["refs"])
    result = report["result"]
    if result.get("certainty") == "lower bound":
        return []
    wrong = []
    if result["unreachable_components"] != len(sizes):
        wrong.append("cycles says %d unreachable components, the references make %d" % (result["unreachable_components"], len(sizes)))
    if result["unreachable_objects"] != sum(sizes):
        wrong.append("cycles says %d objects in unreachable components, the references make %d" % (result["unreachable_objects"], sum(sizes)))
    return wrong


def check_garbage(report, truth):
    result = report["result"]
    wrong = []
    if result["in_garbage"] != len(truth["garbage"]):
        wrong.append("garbage says %d, gc.garbage holds %d" % (result["in_garbage"], len(truth["garbage"])))
    listed = {int(a, 16) for g in result["groups"] for a in g["addresses"]}
    if listed != set(truth["garbage"]):
        wrong.append("garbage lists other objects than gc.garbage: missed %s, false %s" % (
            _some(hex(a) for a in set(truth["garbage"]) - listed), _some(hex(a) for a in listed - set(truth["garbage"]))))
    saved = sum(g["objects"] for g in result["groups"] if g["reason"] == "debug-saveall")
    if truth["debug"] & 32 and truth["garbage"] and not saved:
        wrong.append("gc.garbage was filled by DEBUG_SAVEALL, no group says so")
    return wrong


def check_finalizers(report, truth):
    result = report["result"]
    listed = sum(g["objects"] for g in result["groups"] if g["kind"] == "__del__")
    if listed != len(truth["has_del"]):
        return ["finalizers lists %d objects with __del__, there are %d" % (listed, len(truth["has_del"]))]
    return []


def check_verify(report, truth):
    """Both readers agree on every object that has both, nothing is inconsistent, and hardly anything had to be left out."""
    result = report["result"]
    t = result["traverse"]
    wrong = ["verify: %s: %d of %d wrong: %s" % (c["name"], c["findings"], c["checked"], "; ".join(c["details"][:3])) for c in result["checks"] if c["findings"]]
    for d in t["differences"][:3]:
        wrong.append("two readers: %s %s: native %s (%d), tp_traverse %s (%d), from [%d]" % (
            d["type"], d["object"], _some(d["native"]), d["native_count"], _some(d["machine"]), d["machine_count"], d["first_difference"]))
    if t["different"] and not t["differences"]:
        wrong.append("two readers: %d differences" % t["different"])
    if t["not_compared"]:
        wrong.append("two readers: %d objects not compared: %s" % (t["not_compared"], "; ".join("%s: %s" % (r["type"], r["reason"]) for r in t["types"][:3])))
    if t["compared"] < len(truth["tracked"]) * 9 // 10:
        wrong.append("two readers: only %d objects compared, %d are tracked" % (t["compared"], len(truth["tracked"])))
    return wrong


def check_interpreters(results, truth):
    """Two interpreters in one process: the figures of the first are what its own gc says, and each group names the one it belongs to."""
    if truth["hexversion"] < 0x03090000:
        return []           # all interpreters share the collector's lists
    leaks = results["leaks"]
    wrong = []
    if len(leaks["interpreters"]) != 2:
        return ["leaks knows %d interpreters" % len(leaks["interpreters"])]
    if leaks["interpreters"][0]["unreachable"] != len(truth["unreachable"]):
        wrong.append("leaks says %s unreachable in the main interpreter, its gc %d" % (leaks["interpreters"][0]["unreachable"], len(truth["unreachable"])))
    if sum(i["unreachable"] for i in leaks["interpreters"]) != leaks["unreachable"]:
        wrong.append("the interpreters' unreachable objects do not make up the %s in all" % leaks["unreachable"])
    for command in ("leaks", "cycles"):
        of = {g.get("name") or g["type"]: g["interpreter"] for g in results[command]["groups"] if not g["state"].startswith("reachable")}
        if of.get("__main__.Inner") != 1 or of.get("__main__.Pair") != 0:
            wrong.append("%s says Inner is interpreter %s's and Pair %s's: %s" % (command, of.get("__main__.Inner"), of.get("__main__.Pair"), of))
    if {g["interpreter"] for g in results["finalizers"]["groups"]} - {0, 1}:
        wrong.append("finalizers names interpreters %s" % {g["interpreter"] for g in results["finalizers"]["groups"]})
    return wrong


REPORTS = {"status": check_status, "cycles": check_cycles, "garbage": check_garbage, "finalizers": check_finalizers, "verify": check_verify}
