#!/usr/bin/env python3
"""`pygc triage` on real crashes, and scripts/pygc-triage on 50 mixed cores in one run: nothing lost, right groups, right exit status, every output valid.

usage: triage.py [--interpreter TEXT]... [-v]

Crashed, cut off, empty, packed, not Python, huge, vanished, unreadable cores. Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc.
Last line: N passed, N failed, N skipped.
"""
import gzip
import json
import os
import resource
import shutil
import stat
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import chromium  # noqa: E402
import interpreters  # noqa: E402
import process  # noqa: E402
import prompt  # noqa: E402

SCRIPT = os.path.join(process.ROOT, "scripts", "pygc-triage")
SERVICE = os.path.join(HERE, "triage", "service.py")
SCHEMAS = os.path.join(process.ROOT, "core", "report", "schema")
SARIF_SCHEMA = os.path.join(HERE, "triage", "sarif-2.1.0-rtm.5.json")
MOST_SECONDS = 240


class Wrong(Exception):
    pass


def check(good, what):
    if not good:
        raise Wrong(what)


def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def kernel_core(folder, interpreter, how, what, shift=0):
    """A core that the kernel wrote of service.py, its source moved down by `shift` lines."""
    work = tempfile.mkdtemp(dir=folder)
    program = os.path.join(work, "service.py")
    with open(SERVICE) as f:
        text = f.read()
    with open(program, "w") as f:
        f.write(text.replace("\n\n\nclass Node", "\n" * (3 + shift) + "class Node"))
    child = subprocess.Popen([interpreter, program, how, what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=work, preexec_fn=limits,
                             env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")})
    try:
        if not child.stdout.readline().startswith(b"READY"):
            raise process.CannotTest("service.py did not start under " + interpreter)
        if how == "stopped":
            subprocess.run(["gcore", "-o", os.path.join(work, "core"), str(child.pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            child.kill()
        else:
            child.stdin.write(b"\n")
            child.stdin.flush()
        child.wait(60)
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    cores = [n for n in os.listdir(work) if n.startswith("core")]
    if not cores:
        raise process.CannotTest("no core was written (kernel.core_pattern has to be a plain name)")
    return os.path.join(work, cores[0])


def sleep_core(folder):
    """A core of a program that is not Python."""
    work = tempfile.mkdtemp(dir=folder)
    child = subprocess.Popen(["sleep", "100"], cwd=work, preexec_fn=limits)
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGABRT)
    child.wait(60)
    return os.path.join(work, os.listdir(work)[0])


def run(arguments, timeout=MOST_SECONDS, env=None):
    return subprocess.run([sys.executable, SCRIPT, "--pygc", process.PYGC] + arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                          env=dict(os.environ, **(env or {})))


def validate(document, name):
    try:
        import jsonschema
    except ImportError:
        return
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    store = {}
    for file_name in os.listdir(SCHEMAS):
        with open(os.path.join(SCHEMAS, file_name)) as f:
            schema = json.load(f)
        store[schema["$id"]] = schema
    resolver = jsonschema.RefResolver(store[name]["$id"], store[name], store)
    errors = [e.message for e in jsonschema.Draft202012Validator(store[name], resolver=resolver).iter_errors(document)]
    check(not errors, "not as %s says: %s" % (name, errors[:2]))


# ---- the engine's command

def one_core(core, how, what):
    """The report on one crash says what happened."""
    ran = process.pygc("-c", core, "triage")
    lines = ran.out.splitlines()
    check(ran.code == 0, "exit %s: %s" % (ran.code, ran.tail()))
    check(all(len(line) <= 80 or len(line.split()) <= 2 for line in lines) and "\u2026" not in ran.out.replace("\u2026 ", ""), "cut off, or too long, where there is no terminal: %s" % lines)
    screen = prompt.on_terminal(80, ["-c", core, "triage"], os.path.dirname(core)).rstrip("\n").split("\n")
    check(5 < len(screen) <= 23 and all(len(line) <= 80 for line in screen), "on a terminal: %d lines, longest %d" % (len(screen), max(map(len, screen))))
    report = json.loads(process.pygc("-c", core, "triage", "--format", "json").out)
    validate(report, "triage.1.schema.json")
    crash = report["result"]["crash"]
    wanted = {"null": ("signal", "SIGSEGV", "string_at"), "abort": ("signal", "SIGABRT", "by_abort"), "thread": ("signal", "SIGABRT", "by_abort"), "stopped": ("stopped", None, "main")}[how]
    got = (crash["kind"], crash["signal_name"], crash["python"] and crash["python"]["function"])
    check(got == wanted, "crash: %s, not %s" % (got, wanted))
    blamed = crash["program_frame"]
    wanted = {"null": "by_null", "abort": "by_abort", "thread": "by_abort", "stopped": "main"}[how]
    check(blamed["function"] == wanted and blamed["file"].endswith("service.py"), "the program's own frame is %s, not %s" % (blamed, wanted))
    check(wanted + "()" in ran.out and (how != "null" or "innermost  string_at() at" in ran.out), "no line for it: " + ran.out[:400])
    if how in ("abort", "thread"):
        line = crash["python"]["line"]
        with open(os.path.join(os.path.dirname(core), "service.py")) as f:
            check("os.abort()" in f.read().splitlines()[line - 1], "the line of the crash is %d" % line)
    stopped = [t for t in report["result"]["stacks"]["threads"] if t["signal"]]
    check(how == "stopped" or len(stopped) == 1 and stopped[0]["native_id"] in (None, crash["thread"]), "the threads of the signal: %s" % [t["thread_id"] for t in stopped])
    leaks = report["result"]["leaks"]
    check(bool(leaks["groups"]) == (what != "nothing"), "groups: %d" % len(leaks["groups"]))
    full = json.loads(process.pygc("-c", core, "leaks", "--redact", "--limit", "5", "--format", "json").out)["result"]
    check(full == leaks, "leaks inside triage differ from those of `leaks --redact`")
    for fail_on, status in (("never", 0), ("definite", int(what == "garbage")), ("pending", int(what != "nothing"))):
        ran = process.pygc("-c", core, "triage", "--fail-on", fail_on)
        check(ran.code == status, "--fail-on %s: exit %s, not %d" % (fail_on, ran.code, status))
    baseline = os.path.join(os.path.dirname(core), "baseline.json")
    with open(baseline, "w") as f:
        json.dump(report, f)
    for command in ("triage", "leaks"):
        ran = process.pygc("-c", core, command, "--fail-on", "pending", "--baseline", baseline, "--format", "json")
        result = json.loads(ran.out)["result"]
        result = result.get("leaks", result)
        check(ran.code == 0 and not result["groups"] and result["groups_known"] == len(leaks["groups"]), "%s --baseline: exit %s, %s" % (command, ran.code, result["groups_known"]))
    ran = process.pygc("-c", core, "leaks", "--baseline", SERVICE)
    check(ran.code == 2 and "is not JSON" in ran.err, "a baseline that is none: exit %s: %s" % (ran.code, ran.tail()))
    other = os.path.join(os.path.dirname(core), "status.json")
    with open(other, "w") as f:
        f.write(process.pygc("-c", core, "status", "--format", "json").out)
    for command in ([process.PYGC, "-c", core, "leaks"], [sys.executable, SCRIPT, core, "-q", "--pygc", process.PYGC]):
        ran = process.run(command + ["--baseline", other], 60)
        check(ran.code == 2 and "is no baseline" in ran.err, "a report without fingerprints as a baseline: exit %s: %s" % (ran.code, ran.tail()))


SURPLUS = """
import ctypes, sys
class Held(object):
    pass
class Other(object):
    pass
held, other = [Held() for _ in range(20)], [Other() for _ in range(20)]
def leak(objects, times):
    for o in objects:
        for _ in range(times):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(o))
leak(held, int(sys.argv[1]))
if len(sys.argv) > 2:
    leak(other, 1)
leak([object() for _ in range(20)], 0)
sys.stdout.write('READY\\n')
sys.stdout.flush()
sys.stdin.readline()
"""


def wrong_counts(folder, interpreter):
    """refcounts --baseline: the same wrong count of another process, by another number, is known; one of another type is new."""
    baseline = os.path.join(folder, "counts.json")
    for arguments, options, wanted, known in ((["1"], [], {"__main__.Held"}, 0), (["3"], ["--baseline", baseline], set(), 15), (["1", "more"], ["--baseline", baseline], {"__main__.Other"}, 15)):
        child = subprocess.Popen([interpreter, "-c", SURPLUS] + arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            check(child.stdout.readline() == b"READY\n", "the program did not start")
            ran = process.pygc("-p", child.pid, "refcounts", "--format", "json", "--limit", "0", *options)
            report = json.loads(ran.out)
            validate(report, "refcounts.1.schema.json")
            result = report["result"]
            found = {f["type"] for f in result["refcount_findings"]}
            # A word on a stack may explain a count or two: those are no findings.
            check(found == wanted and known <= result["findings_known"] <= 20 and 15 * len(wanted) <= result["surpluses"] <= 20 * len(wanted), "%s: found %s, %d, %d known" % (arguments, found, result["surpluses"], result["findings_known"]))
            check(ran.code == (1 if wanted else 0 if report["complete"] else 3), "%s: exit %s" % (arguments, ran.code))
            if not options:
                with open(baseline, "w") as f:
                    f.write(ran.out)
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


# ---- crashes without a Python function

NATIVE = """%(lines)s
#include <pthread.h>
#include <stdlib.h>
static int %(name)s(int n) {
  if (n > 3) abort();
  return n + 1;
}
static int walk(int n) {
  n = n %% 7 ? walk(n + 1) + 1 : %(name)s(n);
  return n;
}
static void *run(void *ignored) {
  walk(1);
  return ignored;
}
void start(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, run, NULL);
  pthread_join(thread, NULL);
}
"""


def native_core(folder, interpreter, name, shift):
    """A core of an abort in a thread that is none of Python's; the function that called abort is `name`, in a source moved down by `shift` lines and functions."""
    if shutil.which("cc") is None:
        raise process.CannotTest("there is no C compiler")
    work = tempfile.mkdtemp(dir=folder)
    with open(os.path.join(work, "work.c"), "w") as f:
        f.write(NATIVE % {"name": name, "lines": "".join("int moved_%d(int n) { return n * %d; }\n" % (i, i) for i in range(shift))})
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-fno-optimize-sibling-calls", "-fno-inline", "-o", os.path.join(work, "libwork.so"), os.path.join(work, "work.c"), "-pthread"], check=True, timeout=60)
    subprocess.run([interpreter, "-c", "import ctypes; ctypes.CDLL('./libwork.so').start()"], cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=limits, timeout=60)
    cores = [n for n in os.listdir(work) if n.startswith("core")]
    if not cores:
        raise process.CannotTest("no core was written (kernel.core_pattern has to be a plain name)")
    return os.path.join(work, cores[0])


def native(folder, interpreter):
    """Aborts in native threads: equal ones are one group over addresses and small changes of the source; another function is another group, and a baseline of the first does not hide it."""
    same = [native_core(folder, interpreter, "on_timer", shift) for shift in (0, 0, 9)]
    other = native_core(folder, interpreter, "flush_log", 0)
    prints = []
    for core in same + [other]:
        crash = json.loads(process.pygc("-c", core, "triage", "--format", "json").out)["result"]["crash"]
        functions = [f["function"] for f in crash["native"]]
        check(crash["program_frame"] is None and functions[:3] == ["flush_log" if core == other else "on_timer", "walk", "run"], "the native functions: %s" % crash["native"])
        check("walk (libwork.so) ← run (libwork.so)" in " ".join(process.pygc("-c", core, "triage").out.split()), "triage does not name them")
        prints.append(crash["fingerprint"])
    check(len(set(prints[:3])) == 1 and prints[3] != prints[0], "fingerprints: %s" % prints)
    known, out = os.path.join(folder, "native.json"), os.path.join(folder, "native.jsonl")
    check(run(same + ["--write-baseline", known, "--jsonl", out]).returncode == 1, "a crash that is new")
    ran = run(same + [other, "--baseline", known])
    said = ran.stdout.decode()
    check(ran.returncode == 1 and said.count("NEW ") == 1 and "SIGABRT in flush_log() of libwork.so" in said, "the new crash behind a baseline: exit %d: %s" % (ran.returncode, said))
    check(run(same + ["--baseline", known]).returncode == 0, "the known crash again")
    for core in same + [other]:
        shutil.rmtree(os.path.dirname(core))


def leak_prints(folder, interpreter, shift, words):
    """The fingerprints of triage/leaks.py, its source moved down by `shift` lines."""
    work = tempfile.mkdtemp(dir=folder)
    with open(os.path.join(HERE, "triage", "leaks.py")) as f:
        text = f.read()
    program = os.path.join(work, "leaks.py")
    with open(program, "w") as f:
        f.write(text.replace("\n\n\nclass A", "\n" * (3 + shift) + "class A"))
    child = subprocess.Popen([interpreter, program] + words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")})
    try:
        check(child.stdout.readline().startswith(b"READY"), "leaks.py did not start")
        prints = []
        for options in ([], ["--redact"]):
            groups = json.loads(process.pygc("-p", str(child.pid), "leaks", "--limit", "0", *options, "--format", "json").out)["result"]["groups"]
            prints.append([g["fingerprint"] for g in groups])
        check(sorted(prints[0]) == sorted(prints[1]), "other fingerprints with --redact")
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
        shutil.rmtree(work)
    return set(prints[0])


def told_apart(folder, interpreter):
    """Leaks of equal shape that other functions, classes and keys of the program make are different findings; the same ones in another run, with other data and shifted lines, are not."""
    whole = leak_prints(folder, interpreter, 0, ["mary"])
    again = leak_prints(folder, interpreter, 7, ["paul"])
    check(whole == again, "another run has other fingerprints: %s" % (whole ^ again))
    check(len(whole) == 9, "%d fingerprints of 9 leaks" % len(whole))
    for left_out in "abcdefgh":
        less = leak_prints(folder, interpreter, 0, ["mary", left_out])
        check(len(whole - less) == 1 and less < whole, "without leak %s: %d fewer, %d others" % (left_out, len(whole - less), len(less - whole)))


# ---- the script

def copies(folder, source, names):
    for name in names:
        shutil.copyfile(source, os.path.join(folder, name))


def cut(source, path, share):
    with open(source, "rb") as f, open(path, "wb") as out:
        out.write(f.read(int(os.path.getsize(source) * share)))


def mixed(folder, cores):
    """50 inputs in `folder`; returns {name: (statuses possible, findings it must have)}."""
    expected = {}
    tree, alias = "leak tree", "leak alias"
    plan = (("null-tree", 10, {"SIGSEGV", tree}), ("null-tree-shifted", 6, {"SIGSEGV", tree}), ("abort-alias", 6, {"SIGABRT", alias}), ("thread-nothing", 5, {"SIGABRT thread"}),
            ("stopped-garbage", 4, {"garbage"}), ("stopped-nothing", 4, set()))
    for name, number, findings in plan:
        for i in range(number):
            path = os.path.join(folder, "core.%s.%d" % (name, i))
            if i == 1:      # one of each kind is packed, under a name that says nothing of what it is
                path = os.path.join(folder, "%s.gz" % name)
                with open(cores[name], "rb") as f, gzip.open(path, "wb", 1) as out:
                    shutil.copyfileobj(f, out)
            else:
                shutil.copyfile(cores[name], path)
            expected[os.path.basename(path)] = ({"analysed"}, findings)
    for i, share in enumerate((0.001, 0.3, 0.6, 0.9)):
        cut(cores["null-tree"], os.path.join(folder, "core.cut.%d" % i), share)
        expected["core.cut.%d" % i] = ({"partial", "not-analysable"}, None)
    for i in range(4):
        shutil.copyfile(cores["sleep"], os.path.join(folder, "core.sleep.%d" % i))
        expected["core.sleep.%d" % i] = ({"not-analysable"}, set())
    for i in range(2):
        open(os.path.join(folder, "core.empty.%d" % i), "w").close()
        expected["core.empty.%d" % i] = ({"not-analysable"}, set())
    for i in range(2):      # huge: a core with 200 GB of hole behind it
        path = os.path.join(folder, "core.huge.%d" % i)
        shutil.copyfile(cores["null-tree"], path)
        os.truncate(path, 200 << 30)
        expected["core.huge.%d" % i] = ({"analysed"}, {"SIGSEGV", tree})
    hostile = "core.\x1b[31m|<b>::error::%0A&'\"\n.null"
    shutil.copyfile(cores["null-tree"], os.path.join(folder, hostile))
    expected[hostile] = ({"analysed"}, {"SIGSEGV", tree})
    for name in ("notes.txt", "libcore.so"):    # no cores, not looked at
        with open(os.path.join(folder, name), "w") as f:
            f.write("no core")
    with gzip.open(os.path.join(folder, "log.gz"), "wb") as f:
        f.write(b"no core")
    return expected


def kind_of(finding, tree_and_alias):
    if finding["kind"] == "crash":
        return finding["type"] + (" thread" if finding["fingerprint"] == tree_and_alias["thread"] else "")
    return "garbage" if finding["severity"] == "definite" else "leak tree" if finding["type"].endswith("Node") else "leak alias"


def fifty(folder, cores):
    """50 cores in one run with every output."""
    inputs, out = os.path.join(folder, "in"), os.path.join(folder, "out")
    os.makedirs(os.path.join(inputs, "deeper"))
    os.makedirs(out)
    expected = mixed(inputs, cores)
    gone = os.path.join(inputs, "core.gone")
    fifo = os.path.join(folder, "core.fifo")
    os.mkfifo(fifo)
    check(len(expected) + 2 == 50, "%d inputs" % (len(expected) + 2))
    names = {n: os.path.join(out, "triage." + n) for n in ("markdown", "junit", "sarif", "gitlab", "jsonl", "html")}
    arguments = [inputs, gone, fifo, "--github", "--source-root", os.path.dirname(cores["null-tree"]), "--write-baseline", os.path.join(out, "baseline.json"), "--timeout", "120"]
    for name, path in names.items():
        arguments += ["--" + name, path]
    started = time.time()
    ran = run(arguments)
    seconds = time.time() - started
    check(ran.returncode == 1, "exit %d: %s" % (ran.returncode, ran.stderr.decode(errors="replace")[-300:]))
    with open(names["jsonl"]) as f:
        rows = {os.path.basename(r["core"]): r for r in map(json.loads, f)}
    wanted = dict(expected, **{"core.gone": ({"gone"}, set()), "core.fifo": ({"not-analysable"}, set())})
    check(set(rows) == set(wanted), "lost or invented: %s" % sorted(set(rows) ^ set(wanted)))
    thread = [f["fingerprint"] for f in rows["core.thread-nothing.0"]["findings"] if f["kind"] == "crash"]
    for name, (states, findings) in wanted.items():
        check(rows[name]["status"] in states, "%s is %s: %s" % (name, rows[name]["status"], rows[name]["reason"]))
        got = {kind_of(f, {"thread": thread[0]}) for f in rows[name]["findings"]}
        check(findings is None or got == findings, "%s: found %s, not %s" % (name, got, findings))
        check(rows[name]["status"] == "analysed" or rows[name]["reason"], "%s: no reason" % name)
    groups, whole = {}, set()
    for row in rows.values():
        for f in row["findings"]:
            if row["status"] == "analysed":
                whole.add(f["fingerprint"])
            groups.setdefault((f["kind"], f["fingerprint"]), set()).add(kind_of(f, {"thread": thread[0]}))
    check(all(len(kinds) == 1 for kinds in groups.values()) and len(whole) == 6, "groups: %s" % groups)    # a core cut off may have lost its stack, and with it its group
    outputs(ran, names, rows, groups)
    print("        %d inputs in %.1f s, %d groups" % (len(rows), seconds, len(groups)))
    return out, inputs


def outputs(ran, names, rows, groups):
    said = ran.stdout.decode("utf-8", "replace")
    check("\x1b" not in said, "control bytes on standard output")
    annotations = [line for line in said.splitlines() if line.startswith("::")]
    definite = {f["fingerprint"] for r in rows.values() for f in r["findings"] if f["severity"] == "definite"}
    check(sum(a.startswith("::error") for a in annotations) == len(definite) and not any(line.startswith("::error::") for line in said.splitlines()), "annotations: %s" % annotations[:5])
    junit = ElementTree.parse(names["junit"]).getroot()
    cases = junit.findall(".//testcase")
    check(len(cases) == len(rows) == int(junit.find("testsuite").get("tests")), "%d cases of %d" % (len(cases), len(rows)))
    passed = [c.get("name") for c in cases if c.find("failure") is None and c.find("error") is None and c.find("skipped") is None]
    of_null = next(c for c in cases if c.get("name") == "core.null-tree.0")
    check((of_null.get("file"), of_null.find("failure").text.splitlines()[1]) == ("service.py", "  at service.py:" + of_null.get("line")), "the place of a case: %s" % ElementTree.tostring(of_null))
    said = of_null.find("system-out")
    check(said is not None and said.text.startswith("pending 5 x __main__.Node"), "what is pending is not in JUnit: %s" % ElementTree.tostring(of_null))
    check(any("file=service.py,line=%s,title=pygc%%3A crash/SIGSEGV" % of_null.get("line") in a for a in annotations), "annotations name no line of the program: %s" % annotations[:3])
    check(all(rows[n]["status"] == "analysed" for n in passed if n in rows) and len(passed) == 4, "passed: %s" % passed)
    with open(names["sarif"]) as f:
        sarif = json.load(f)
    try:
        import jsonschema
        with open(SARIF_SCHEMA) as f:
            schema = json.load(f)
        errors = [e.message[:200] for e in jsonschema.Draft4Validator(schema).iter_errors(sarif)]
        check(not errors, "SARIF: %s" % errors[:2])
    except ImportError:
        print("        python3-jsonschema is not installed: SARIF not held against its schema")
    results = sarif["runs"][0]["results"]
    check({r["partialFingerprints"]["pygcFingerprint/v1"] for r in results} == {fp for _, fp in groups} and len(results) == len(groups), "SARIF results: %d" % len(results))
    with open(names["gitlab"]) as f:
        check({e["fingerprint"] for e in json.load(f)} == {fp for _, fp in groups}, "GitLab")
    with open(names["html"], encoding="utf-8") as f:
        page = f.read()
    check("<b>" not in page and "<script" not in page and page.count("<tr class=") == len(groups), "HTML")
    try:
        browser = chromium.Browser(os.path.dirname(names["html"]))
    except process.CannotTest as e:
        print("        the page was not opened: %s" % e)
    else:
        try:
            for width in (380, 1200):
                browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
                browser.open(names["html"])
                wider = browser.value("[document.documentElement, ...document.querySelectorAll('.wide')].map((e) => e.scrollWidth - e.clientWidth)")
                check(len(wider) == 3 and max(wider) <= 0, "the page at %d pixels: wider by %s" % (width, wider))
                check(not browser.complaints(names["html"]), "Chromium: %s" % browser.complaints(names["html"])[:2])
        except chromium.Wrong as e:
            raise Wrong(str(e))
        finally:
            browser.close()
    with open(names["markdown"], encoding="utf-8") as f:
        text = f.read()
    check("<b>" not in text and all(fp in text for _, fp in groups), "Markdown")


def with_baseline(out, inputs):
    """Nothing is new in the second run; without one group of the baseline that one is."""
    path = os.path.join(out, "baseline.json")
    ran = run([inputs, "--baseline", path, "--jsonl", os.path.join(out, "second.jsonl")])
    check(ran.returncode == 3, "the same again: exit %d, not 3 (some could not be read): %s" % (ran.returncode, ran.stdout.decode(errors="replace")[:300]))
    whole = os.path.join(out, "whole")
    os.mkdir(whole)
    for n in os.listdir(inputs):
        if n.startswith(("core.null-tree.0", "core.stopped-garbage.0", "core.abort-alias.0")):
            os.link(os.path.join(inputs, n), os.path.join(whole, n))
    check(run([whole, "--baseline", path]).returncode == 0, "known findings of whole cores: not 0")
    with open(path) as f:
        baseline = json.load(f)
    less = dict(baseline, findings=[e for e in baseline["findings"] if e["kind"] != "crash"])
    with open(os.path.join(out, "less.json"), "w") as f:
        json.dump(less, f)
    ran = run([whole, "--baseline", os.path.join(out, "less.json")])
    check(ran.returncode == 1 and ran.stdout.count(b"NEW ") == 2, "two crashes are new: exit %d: %s" % (ran.returncode, ran.stdout))
    core = os.path.join(whole, "core.stopped-garbage.0")
    check(process.pygc("-c", core, "leaks").code == 1 and process.pygc("-c", core, "leaks", "--baseline", path).code == 0, "the same file for `pygc leaks`")
    tree = os.path.join(inputs, "core.null-tree.0")
    check(process.pygc("-c", tree, "expect", "--max-unreachable", "0").code == 1 and process.pygc("-c", tree, "expect", "--max-unreachable", "0", "--baseline", path).code == 0,
          "the same file for `pygc expect`")
    pipe = os.path.join(out, "pipe")
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        run([tree, "--markdown", pipe, "--fail-on", "never"])
        check(stat.S_ISFIFO(os.stat(pipe).st_mode) and b"| severity |" in reader.communicate(timeout=60)[0], "a pipe is written into")


def exits(folder, cores):
    """Exit status by what there is."""
    empty = os.path.join(folder, "nothing")
    os.mkdir(empty)
    rows = ((0, [empty]), (2, [empty, "--sarif", os.path.join(empty, "no", "x")]), (2, [empty, "--baseline", os.path.join(empty, "no")]), (2, []), (4, [cores["sleep"]]), (4, [os.path.join(empty, "core")]),
            (0, [cores["stopped-nothing"]]), (1, [cores["abort-alias"]]), (0, [cores["abort-alias"], "--fail-on", "never"]), (0, [cores["stopped-tree"]]), (1, [cores["stopped-tree"], "--fail-on", "pending"]),
            (3, [cores["stopped-nothing"], cores["sleep"]]))
    for status, arguments in rows:
        ran = run(arguments)
        check(ran.returncode == status, "%s: exit %d, not %d: %s" % (arguments, ran.returncode, status, (ran.stdout + ran.stderr).decode(errors="replace")[-200:]))


def annotated_paths(folder, cores):
    """Annotations name files of the repository by their paths in it, however the process spelled them, and no other file."""
    work = os.path.join(folder, "paths")
    os.mkdir(work)
    report = json.loads(process.pygc("-c", cores["abort-alias"], "triage", "--format", "json").out)
    rows = (("/srv/app/src/../src/./a.py", "src/a.py"), ("/srv/app/../app/b.py", "b.py"), ("src/../c.py", "c.py"), ("./d.py", "d.py"), ("/srv/app/../other/e.py", None), ("../f.py", None),
            ("src/../../g.py", None), ("/srv/application/h.py", None), ("/usr/lib/python3/i.py", None), ("<string>", None))
    for number, (name, wanted) in enumerate(rows):
        crash = report["result"]["crash"]
        for frame in (crash["python"], crash["program_frame"]):
            frame["file"] = name
        core, engine, quality = (os.path.join(work, "%d.%s" % (number, end)) for end in ("core", "sh", "json"))
        shutil.copyfile(cores["sleep"], core)
        with open(engine + ".json", "w") as f:
            json.dump(report, f)
        with open(engine, "w") as f:
            f.write("#!/bin/sh\ncat '%s.json'\n" % engine)
        os.chmod(engine, 0o755)
        ran = subprocess.run([sys.executable, SCRIPT, "--pygc", engine, core, "--github", "--gitlab", quality, "--source-root", "/srv/app/", "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        errors = [line for line in ran.stdout.decode().splitlines() if line.startswith("::error ")]
        check(len(errors) == 1, "%s: %s" % (name, ran.stdout.decode()[:300]))
        file = errors[0].split("file=")[1].split(",")[0] if "file=" in errors[0] else None
        check(file == wanted, "GitHub: %s is %s, not %s" % (name, file, wanted))
        with open(quality) as f:
            paths = [e["location"]["path"] for e in json.load(f) if e["severity"] == "critical"]
        check(paths == [wanted or os.path.basename(core)], "GitLab: %s is %s, not %s" % (name, paths, wanted))


def broken_engine(folder, cores):
    """An engine that prints rubbish, dies, hangs or deletes the core: the core is listed with what happened, the others go on."""
    work = os.path.join(folder, "broken")
    os.mkdir(work)
    rows = (("rubbish", "printf 'no json'; exit 0", "fault", 6), ("dies", "kill -SEGV $$", "fault", 6), ("other", "printf '{\"schema\": \"other/1\"}'; exit 0", "fault", 6),
            ("deletes", "rm -f \"$2\"; echo gone >&2; exit 4", "gone", 4), ("refused", "exit 5", "not-permitted", 5))
    for name, text, status, code in rows:
        core, engine, out = (os.path.join(work, name + end) for end in (".core", ".sh", ".jsonl"))
        shutil.copyfile(cores["sleep"], core)
        with open(engine, "w") as f:
            f.write("#!/bin/sh\n%s\n" % text)
        os.chmod(engine, 0o755)
        ran = subprocess.run([sys.executable, SCRIPT, "--pygc", engine, core, "--jsonl", out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        with open(out) as f:
            row = json.loads(f.read())
        check(row["status"] == status and ran.returncode == code, "%s: %s, exit %d" % (name, row["status"], ran.returncode))


def from_coredumpctl(folder, cores):
    """--coredumpctl with a program of that name that answers as systemd's does: one core in a file, one in the journal, one gone."""
    work = os.path.join(folder, "systemd")
    os.mkdir(work)
    entries = [{"time": 1, "pid": p, "uid": 0, "gid": 0, "sig": 11, "corefile": c, "exe": "/usr/bin/python3", "size": 1} for p, c in ((1, "present"), (2, "journal"), (3, "missing"))]
    with open(os.path.join(work, "coredumpctl"), "w") as f:
        f.write("""#!/bin/sh
case "$1 $3" in
  "list "*) printf '%%s' '%s' ;;
  "info 1") echo "       Storage: %s (present)" ;;
  "info "*) echo "       Storage: none" ;;
  "dump "*) [ "$5" = 2 ] && cp '%s' "$4" || exit 1 ;;
esac
""" % (json.dumps(entries), cores["null-tree"], cores["abort-alias"]))
    os.chmod(os.path.join(work, "coredumpctl"), 0o755)
    out = os.path.join(work, "out.jsonl")
    ran = run(["--coredumpctl", "--jsonl", out], env={"PATH": work + ":" + os.environ["PATH"]})
    with open(out) as f:
        rows = [json.loads(line) for line in f]
    check(ran.returncode == 1 and sorted(r["status"] for r in rows) == ["analysed", "analysed", "gone"], "exit %d, %s" % (ran.returncode, [r["status"] for r in rows]))


def main():
    arguments, names, verbose = sys.argv[1:], [], False
    while arguments:
        if arguments[0] == "--interpreter" and len(arguments) > 1:
            names.append(arguments[1])
            arguments = arguments[2:]
        elif arguments[0] == "-v":
            verbose, arguments = True, arguments[1:]
        else:
            print(__doc__)
            return 0 if arguments[0] in ("-h", "--help") else 2
    found = [i for i in interpreters.discover() if i.kind == "default" and (not names or any(i.version.startswith(n) for n in names))]
    if not names:
        found = [i for i in found if i.version.startswith(("2.7", "3.9", "3.12", "3.13"))] or found
    passed = failed = 0
    folder = tempfile.mkdtemp(prefix="pygc-triage-test-")

    def attempt(name, function, *how):
        nonlocal passed, failed
        try:
            started = time.time()
            result = function(*how)
            passed += 1
            if verbose:
                print("passed  %s (%.1f s)" % (name, time.time() - started))
            return result
        except (Wrong, process.CannotTest, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as e:
            failed += 1
            print("FAILED  %s: %s: %s" % (name, type(e).__name__, str(e)[:700]))

    try:
        seen = set()
        for i in found:
            if i.version[:4] in seen or "free" in i.kind:
                continue
            seen.add(i.version[:4])
            for how, what in (("null", "tree"), ("thread", "nothing"), ("stopped", "garbage")):
                core = kernel_core(folder, i.path, how, what)
                attempt("%s: %s, %s" % (i.version, how, what), one_core, core, how, what)
                shutil.rmtree(os.path.dirname(core))
        for i in found:
            if i.version[:4] in seen and not i.version.startswith("2"):     # 2.7 has no qualified names
                seen.discard(i.version[:4])
                attempt("%s: leaks told apart" % i.version, told_apart, folder, i.path)
        of_many = next((i for i in found if i.version.startswith("3.12")), found[-1]).path
        wanted = (("null-tree", "null", "tree", 0), ("null-tree-shifted", "null", "tree", 7), ("abort-alias", "abort", "alias", 0), ("thread-nothing", "thread", "nothing", 0),
                  ("stopped-garbage", "stopped", "garbage", 0), ("stopped-nothing", "stopped", "nothing", 0), ("stopped-tree", "stopped", "tree", 0))
        cores = {name: kernel_core(folder, of_many, how, what, shift) for name, how, what, shift in wanted}
        cores["sleep"] = sleep_core(folder)
        made = attempt("50 mixed cores", fifty, folder, cores)
        if made:
            attempt("a baseline", with_baseline, *made)
        attempt("crashes without a Python function", native, folder, of_many)
        attempt("wrong counts and a baseline", wrong_counts, folder, of_many)
        attempt("exit status", exits, folder, cores)
        attempt("a broken engine", broken_engine, folder, cores)
        attempt("paths of annotations", annotated_paths, folder, cores)
        attempt("coredumpctl", from_coredumpctl, folder, cores)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
