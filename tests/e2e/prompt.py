#!/usr/bin/env python3
"""Many commands on one load: the prompt on a terminal of its own, -x FILE, a core on standard input.

usage: prompt.py [-v] [--all] [TEST...]

Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc, and the system's python3. Last line: N passed, N failed, N skipped. Exit 1 where one failed.
"""
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import process  # noqa: E402

ENDLESS = "sql \"with recursive r(n) as (values(1) union all select n + 1 from r) select max(n) from r\""


class Terminal:
    """pygc at a prompt."""

    def __init__(self, home, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environment = dict(os.environ, TERM="xterm", NO_COLOR="1", HOME=home)
            environment.pop("XDG_STATE_HOME", None)
            os.execve(process.PYGC, [process.PYGC] + list(arguments), environment)
        self.said = b""

    def wait_for(self, text, seconds=60):
        """What came until the next `text`."""
        end = time.time() + seconds
        while text.encode() not in self.said:
            left = end - time.time()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise AssertionError("no %r within %d s, but %r" % (text, seconds, self.said[-400:]))
            try:
                self.said += os.read(self.fd, 65536)
            except OSError:
                raise AssertionError("ended before %r: %r" % (text, self.said[-400:]))
        before, _, self.said = self.said.partition(text.encode())
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", before.decode(errors="replace"))

    def type(self, text):
        os.write(self.fd, text.encode())

    def interrupt_line(self):
        """Ctrl-C until a new prompt comes: one that falls between two reads of the line's letters is for nobody."""
        for _ in range(20):
            time.sleep(0.3)
            self.type("\x03")
            if select.select([self.fd], [], [], 2)[0]:
                try:
                    return self.wait_for("pygc> ", 2)
                except AssertionError:
                    pass
        raise AssertionError("Ctrl-C gives no new prompt: %r" % self.said[-200:])

    def command(self, line, seconds=60):
        self.type(line + "\n")
        return self.wait_for("pygc> ", seconds)

    def end(self):
        """Exit status once the program has ended."""
        limit = time.time() + 30
        while time.time() < limit:
            try:
                if select.select([self.fd], [], [], 0.05)[0] and not os.read(self.fd, 65536):
                    pass
            except OSError:
                pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError("did not end")


def equal(what, got, want):
    if got != want:
        raise AssertionError("%s: %r, not %r" % (what, got, want))


def has(text, *parts):
    for part in parts:
        if part not in text:
            raise AssertionError("no %r in %r" % (part, text[-600:]))


def lines_file(folder, *lines):
    path = os.path.join(folder, "commands")
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")
    return path


def timings(documents):
    return [json.dumps(d["timing"], sort_keys=True) for d in documents]


def documents_of(text):
    decoder, out, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        document, at = decoder.raw_decode(text, at)
        out.append(document)
        at += 1
    return out


def test_prompt(core, folder):
    t = Terminal(folder, "-c", core)
    t.wait_for("pygc> ")
    has(t.command("status"), "CPython 3")
    has(t.command("leeks"), "did you mean 'leaks'")
    has(t.command("show 'x"), "is not closed")
    has(t.command("sql \"select 40 + 2 as answer\""), "answer", "42", "1 row")
    has(t.command("help sql"), "usage: pygc")
    has(t.command("leaks --help"), "Exit status")
    equal("an empty line", t.command("").strip(), "")
    equal("a comment", t.command("# nothing").replace("# nothing", "").strip(), "")  # a busy machine shows it twice: as typed, and as the editor draws it
    has(t.command("sql \"select nonsense from objects\""), "no such column")
    t.type("quit\n")
    equal("exit status", t.end(), 0)
    mode = os.stat(os.path.join(folder, ".local/state/pygc/history")).st_mode & 0o777 if has_editing() else 0o600
    equal("mode of the history", mode, 0o600)


def has_editing():
    return "libedit" in subprocess.run(["ldd", process.PYGC], stdout=subprocess.PIPE).stdout.decode()


def test_completion_and_history(core, folder):
    t = Terminal(folder, "-c", core)
    t.wait_for("pygc> ")
    for part in ("fin\t", "--form\t", "js\t"):
        t.type(part)
        time.sleep(0.3)                          # as a hand would: the echo comes in pieces
    t.type("\n")
    has(t.wait_for("pygc> "), "pygc.finalizers/1")
    t.type("quit\n")
    equal("exit status", t.end(), 0)
    t = Terminal(folder, "-c", core)            # another day
    t.wait_for("pygc> ")
    for part in ("\x1b[A", "\x1b[A", "\n"):      # up, up: quit, then the one before
        t.type(part)
        time.sleep(0.3)
    has(t.wait_for("pygc> "), "pygc.finalizers/1")
    t.type("\x04")                               # the end of input
    equal("exit status", t.end(), 0)


def test_interrupts(core, folder):
    """Ctrl-C ends the command, not the prompt; at the prompt it ends nothing; and the load is still there."""
    t = Terminal(folder, "-c", core)
    t.wait_for("pygc> ")
    t.command("sql \"select count(*) from objects\"")
    t.type(ENDLESS + "\n")
    time.sleep(1)
    t.type("\x03")
    has(t.wait_for("pygc> ", 30), "interrupted")
    t.type("half a li")
    t.interrupt_line()
    before = time.time()
    has(t.command("sql \"select 40 + 2\""), "42")
    t.type("exit\n")
    equal("exit status", t.end(), 0)
    return "%.2f s" % (time.time() - before)


def test_worker_dies(core, folder):
    """A worker that is killed costs one command."""
    t = Terminal(folder, "-c", core)
    t.wait_for("pygc> ")
    t.command("status")
    children = subprocess.run(["pgrep", "-P", str(t.pid)], stdout=subprocess.PIPE).stdout.split()
    equal("workers", len(children), 1)
    os.kill(int(children[0]), signal.SIGKILL)
    has(t.command("status"), "worker")
    has(t.command("status"), "CPython 3")
    t.type("quit\n")
    equal("exit status", t.end(), 0)


def test_file(core, folder):
    path = lines_file(folder, "# a list", "", "status --format json", "leaks --format json --fail-on never", "  sql --format json 'select count(*) from objects'",
                      "sql --format json \"select 1\"")
    ran = process.pygc("-c", core, "-x", path)
    equal("exit status, errors", (ran.code, ran.err), (0, ""))
    documents = documents_of(ran.out)
    equal("reports", [d["schema"] for d in documents], ["pygc.status/1", "pygc.leaks/1", "pygc.sql/1", "pygc.sql/1"])
    for document, command in zip(documents, (["status"], ["leaks", "--fail-on", "never"], ["sql", "select count(*) from objects"])):
        alone = json.loads(process.pygc("-c", core, *command, "--format", "json").out)
        equal("result of %s" % command[0], document["result"], alone["result"])
    times = timings(documents[2:])
    equal("one load for both queries: times of the snapshot", times[0], times[1])
    equal("the same for leaks and status", timings(documents[:2])[0], timings(documents[:2])[1])


def on_terminal(columns, arguments, folder, rows=24):
    """What pygc prints on a terminal so wide and high, without colours."""
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execve(process.PYGC, [process.PYGC, *arguments], dict(os.environ, TERM="xterm", NO_COLOR="1", HOME=folder))
    said = b""
    try:
        while select.select([fd], [], [], 60)[0]:
            piece = os.read(fd, 65536)
            if not piece:
                break
            said += piece
    except OSError:     # the terminal's way to say that nobody is there any more
        pass
    os.close(fd)
    os.waitpid(pid, 0)
    lines = said.decode(errors="replace").replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\x1b[K")[2].rpartition("\r")[2] for line in lines)    # without the progress that was wiped


def test_narrow_terminal(core, folder):
    """40 columns: no line is wider, apart from words that are, and no word is lost; 200 columns: nothing is broken"""
    address = json.loads(process.pygc("-c", core, "leaks", "--format", "json", "--fail-on", "never").out)["result"]["groups"][0]["addresses"][0]
    asked = (["leaks"], ["heap"], ["path", "dict"], ["status"], ["show", address], ["triage"], ["dominators"], ["stacks"], ["finalizers"], ["cycles"], ["verify"], ["garbage"],
                  ["refcounts"], ["expect", "--max-unreachable", "0"], ["sql", "select * from types limit 3"], ["referrers", address], ["asyncio"], ["--help"], ["leaks", "--help"])
    for words in asked if "--all" in sys.argv else (asked[0], asked[1], asked[-1]):
        arguments = words if "--help" in words else ["-c", core] + words
        wide = process.pygc(*arguments).out
        narrow = on_terminal(40, arguments, folder)
        for line in narrow.split("\n"):
            if len(line) > 40 and len(line.split()) > 1:
                raise AssertionError("%s: a line of %d: %r" % (words[0], len(line), line))
        of_wide_terminal = on_terminal(200, arguments, folder)
        if words[0] != "triage":    # which keeps to one screen on a terminal
            equal("%s on 200 columns" % words[0], of_wide_terminal.split(), wide.split())
        equal("words of %s" % words[0], narrow.split(), of_wide_terminal.split())


def test_hints(core, folder):
    has(process.pygc("-c", core, "leaks", "--json").err, "did you mean --format json?")
    ran = process.pygc("-c", core, typed="leaks\n")
    has(ran.err, "-x - takes commands from there")
    equal("what is not a terminal gets an overview", ran.code, 0)
    ran = process.pygc("-c", core, "value", "0x10")
    has(ran.out, "0x10 is no object: no memory of the process")
    equal("--quiet says nothing of it", process.pygc("-c", core, "value", "0x10", "--quiet").out.strip(), "")
    has(process.pygc("-c", core, "sql", ".tables").out, "refcount_findings", "id, address, interpreter, type_id")
    has(process.pygc("-c", core, "sql", ".schema objects").out, "type_id", "INTEGER")
    equal("other commands of sqlite3", process.pygc("-c", core, "sql", ".dump").code, 2)
    has(process.pygc("-c", core, "sql", "select address, name from types where name = 'dict'").out, " 0x")


def test_expect_baseline(core, folder):
    known = os.path.join(folder, "known.json")
    words = ["-c", core, "expect", "--max-unreachable", "0", "--max-count", "dict=1"]
    equal("violated", process.pygc(*words, "--format", "json", "-o", known).code, 1)
    ran = process.pygc(*words, "--baseline", known)
    equal("known", ran.code, 0)
    has(ran.out, "2 violated as the baseline has it")
    equal("another bound is another assertion", process.pygc("-c", core, "expect", "--max-unreachable", "1", "--max-count", "dict=2", "--baseline", known).code, 1)


def test_overview_audit(core, folder):
    audited = json.loads(process.pygc("-c", core, "triage", "--audit", "--format", "json").out)["result"]["leaks"]
    equal("triage --audit", audited["audited"], True)
    equal("triage", json.loads(process.pygc("-c", core, "triage", "--format", "json").out)["result"]["leaks"]["audited"], False)
    for words, there in ((["--audit"], False), ([], True)):
        page = os.path.join(folder, "page.html")
        equal("report", process.pygc("-c", core, "report", "-o", page, *words).code, 0)
        with open(page, encoding="utf-8") as f:
            equal("report %s says what was not looked for" % words, "not looked for" in f.read(), there)


def test_worst_status(core, folder):
    cases = [(["status"], 0), (["leaks --fail-on pending", "status"], 1), (["leaks --fail-on pending", "leeks", "status"], 2),
             (["sql 'select nonsense'", "status"], 2), (["quit", "leaks --fail-on pending"], 0), ([ENDLESS + " --timeout 0.2", "leeks"], 3)]
    for lines, want in cases:
        ran = process.pygc("-c", core, "-x", lines_file(folder, *lines))
        equal("exit status of %r" % lines, ran.code, want)
        if "leeks" in lines:
            has(ran.err, "commands:%d: unknown command 'leeks'" % (1 + lines.index("leeks")))
        if lines[-1] == "status":
            has(ran.out, "CPython 3")
    for name, where, why in (("a file that is not there", os.path.join(folder, "none"), "No such file or directory"), ("a folder", folder, "Is a directory")):
        ran = process.pygc("-c", core, "-x", where)
        equal(name, (ran.code, ran.err.strip().endswith(": " + why)), (2, True))
    equal("a command beside -x", process.pygc("-c", core, "-x", "/dev/null", "leaks").code, 2)
    equal("an empty list", process.pygc("-c", core, "-x", "/dev/null").code, 0)
    equal("no such core", process.pygc("-c", core + ".none", "-x", lines_file(folder, "status", "leaks")).code, 4)


def test_any_order(core, folder):
    """What a command says does not depend on what ran before it on the same load: each directly after each of the others, and alone."""
    rows = json.loads(process.pygc("-c", core, "sql", "--format", "json", "select printf('0x%x', o.address), printf('0x%x', t.address) from objects o "
                                   "join types t on t.id = o.type_id where t.name like '%Node' order by o.address limit 2").out)["result"]["rows"]
    other, one = rows[0]  # an object, and its class, to which many refer
    kinds = ["heap", "heap --waste --memory", "dominators", "path " + one, "path --exclude list " + other, "path Node", "show " + one, "referrers " + one, "referents " + one, "leaks",
             "leaks --audit", "refcounts", "finalizers", "stacks", "cycles", "expect --gone Node", "sql 'select count(*), sum(object_id) from referrers'",
             "sql 'select count(*) from dominators'", "diff " + core, "triage"]
    alone = {}
    for kind in kinds:
        ran = process.pygc("-c", core, *shlex.split(kind), "--format", "json")
        has(ran.out, '"result"')
        alone[kind] = json.loads(ran.out)["result"]
    rest = [[b for b in kinds if b != a] for a in kinds]
    wanted = {(a, b) for a, after in zip(kinds, rest) for b in after}
    runs = 0
    while wanted:
        chain = [min(wanted)[0]]
        while True:
            follows = [b for a, b in sorted(wanted) if a == chain[-1]]
            if not follows:
                break
            wanted.discard((chain[-1], follows[0]))
            chain.append(follows[0])
        ran = process.pygc("-c", core, "-x", lines_file(folder, *[kind + " --format json" for kind in chain]))
        said = documents_of(ran.out)
        equal("answers of %s" % chain, (len(said), "worker" in ran.err), (len(chain), False))
        for i, kind in enumerate(chain):
            equal("%s after %s" % (kind, chain[i - 1] if i else "nothing"), said[i]["result"], alone[kind])
        runs += len(chain)
    return "%d answers" % runs


def test_standard_input(core, folder):
    result = json.loads(process.pygc("-c", core, "leaks", "--fail-on", "never", "--format", "json").out)["result"]
    said = process.run(["sh", "-c", "cat '%s' | '%s' -c - leaks --fail-on never --format json" % (core, process.PYGC)])
    equal("a core through a pipe", (said.code, json.loads(said.out)["result"]), (0, result))
    said = process.run(["sh", "-c", "gzip -1 < '%s' | '%s' -c - leaks --fail-on never --format json" % (core, process.PYGC)])
    equal("a compressed core through a pipe", (said.code, json.loads(said.out)["result"]), (0, result))
    said = process.run(["sh", "-c", "'%s' -c - leaks --fail-on never --format json < '%s'" % (process.PYGC, core)])
    equal("a core as standard input", (said.code, json.loads(said.out)["result"]), (0, result))
    path = lines_file(folder, "status --format json", "leaks --format json --fail-on never", "sql --format json 'select 1'")
    said = process.run(["sh", "-c", "cat '%s' | '%s' -c - -x '%s'" % (core, process.PYGC, path)])
    equal("several commands on it", (said.code, len(documents_of(said.out))), (0, 3))
    said = process.run(["sh", "-c", "echo status | '%s' -c '%s' -x -" % (process.PYGC, core)])
    equal("commands on standard input", (said.code, "CPython 3" in said.out), (0, True))
    equal("both on standard input", process.pygc("-c", "-", "-x", "-").code, 2)
    said = process.run(["sh", "-c", "true | '%s' -c - leaks" % process.PYGC])
    equal("nothing on standard input", (said.code, said.err.count("\n")), (4, 1))


def test_no_terminal(core, folder):
    """Without a command and a terminal: one report."""
    ran = process.pygc("-c", core)
    equal("exit status", ran.code, 0)
    has(ran.out, "CPython 3")
    equal("no target", process.pygc().code, 2)


TESTS = [test_narrow_terminal, test_hints, test_expect_baseline, test_overview_audit, test_prompt, test_completion_and_history, test_interrupts, test_worker_dies, test_file, test_worst_status, test_any_order, test_standard_input, test_no_terminal]


def main():
    passed = failed = skipped = 0
    only = [a for a in sys.argv[1:] if not a.startswith("-")]
    with process.Program(sys.executable, "node_tree") as program:
        core = program.gcore()
        for test in [t for t in TESTS if not only or t.__name__[5:] in only]:
            if test is test_completion_and_history and not has_editing():
                print("SKIPPED %s: built without libedit" % test.__name__)
                skipped += 1
                continue
            try:
                with tempfile.TemporaryDirectory(prefix="pygc-prompt-") as folder:
                    note = test(core, folder)
                passed += 1
                if "-v" in sys.argv:
                    print("ok      %s %s" % (test.__name__[5:], note or ""))
            except (AssertionError, OSError, ValueError, KeyError) as e:
                failed += 1
                print("FAILED  %s: %s: %s" % (test.__name__[5:], type(e).__name__, str(e)[:700]))
            sys.stdout.flush()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
