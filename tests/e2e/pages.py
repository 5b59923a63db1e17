#!/usr/bin/env python3
"""Runs every command block of the documentation pages and compares what it prints with what the page says; runs the examples of every command's help.

usage: pages.py [--quick] [--write] [--interpreter TEXT] [-v] [PAGE]...

In a page, a block ```LANGUAGE NAME is a file, and a block ```console is a dialogue: lines that start with "$ " are commands, the others what they print. A
page's blocks run in one shell, in a folder of their own. What differs from run to run is masked on both sides (addresses, process ids, sizes, times, totals
of the interpreter's own objects); "[...]" alone on a line stands for any lines. --write puts what was printed into the pages instead.
--quick: files named and linked exist, and every command and option in the pages is one that pygc has; runs nothing else.

Uses $PYGC, or $PYGC_BUILD/bin/pygc, or build/bin/pygc. Last line: N passed, N failed, N skipped.
"""
import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

PAGES = ["plugin/standalone/pages/first-ten-minutes.md", "plugin/standalone/pages/service-leaks.md", "plugin/standalone/pages/ci-core.md",
         "plugin/standalone/pages/c-extension.md", "plugin/gdb/README.md", "core/how-it-works.md"]
LINKED = PAGES + ["plugin/lldb/README.md", "README.md", "SUPPORT.md"]
SECONDS = 180
MASKS = [(r"0x[0-9a-f]{5,}", "ADDRESS"), (r"\bpid \d+", "pid N"), (r"\b(core|early|late|shop)\.\d+", r"\1.N"), (r"thread \d+", "thread N"), (r"/tmp/[^ ]*/", "/TMP/"),
         (r"\b\d[\d,.]* (B|bytes|kB|MB|GB)\b", "SIZE"), (r"\[\d+\]", "[N]"), (r"\d[\d,]* unchanged, \d+ changed", "N unchanged"), (r"\d+ gone", "N gone"), (r"\d+ objects are kept", "N objects are kept"), (r"\d[\d,]* objects (now|in use)", "N objects"), (r"counts [\d/]+", "counts N"), (r"thresholds [\d/]+", "thresholds N"), (r"CPython \d[\d.]*", "CPython N"),
         (r"\bpython3\.\d+", "python3.N"), (r"\d[\d,]* objects tracked", "N objects tracked"), (r"\d+(\.\d+)? ?m?s\b", "TIME"), (r"\d{4}-\d\d-\d\d.\d\d:\d\d(:\d\d)?", "DATE"),
         (r"generation +\d.*", "generation"), (r"\b[0-9a-f]{16}\b", "FINGERPRINT"), (r"\d+(\.\d+)? %", "SHARE")]


class Wrong(Exception):
    pass


class Block:
    """A fenced block: its language, its file's name or None, its lines, and where they stand in the page."""

    def __init__(self, language, name, first, lines):
        self.language, self.name, self.first, self.lines = language, name, first, lines

    def commands(self):
        """[command, lines that it prints]"""
        found = []
        for line in self.lines:
            if line.startswith("$ "):
                found.append([line[2:], []])
            elif not found:
                raise Wrong("line %d: output without a command" % self.first)
            else:
                found[-1][1].append(line)
        return found


def blocks(text):
    lines, found, at = text.split("\n"), [], 0
    while at < len(lines):
        opened = re.match(r"```(\S+)(?: (\S+))?$", lines[at])
        at += 1
        if not opened:
            continue
        end = lines.index("```", at)
        found.append(Block(opened.group(1), opened.group(2), at, lines[at:end]))
        at = end + 1
    return found


def masked(line):
    for pattern, word in MASKS:
        line = re.sub(pattern, word, line)
    return re.sub(r"\s+", " ", line).strip()


def matches(expected, got):
    """Whether the lines printed are those of the page."""
    if not expected:
        return not got
    if expected[0].strip() == "[...]":
        return any(matches(expected[1:], got[i:]) for i in range(len(got) + 1))
    return bool(got) and masked(expected[0]) == masked(got[0]) and matches(expected[1:], got[1:])


def trimmed(lines):
    lines = list(lines)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def run_page(page_blocks, interpreter):
    """The lines that each command of the page printed, in order."""
    folder = tempfile.mkdtemp(prefix="pygc-page-")
    try:
        script = []
        for block in page_blocks:
            if block.name is not None:
                with open(os.path.join(folder, block.name), "w") as f:
                    f.write("\n".join(block.lines) + "\n")
            elif block.language == "console":
                for command, _ in block.commands():
                    script.append(command + "\nprintf '\\n@@END@@\\n'\n")
        path = os.pathsep.join([os.path.dirname(os.path.realpath(process.PYGC)), os.path.join(process.ROOT, "scripts"), os.path.dirname(interpreter), os.environ["PATH"]])
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYGC")) and k not in ("GITHUB_STEP_SUMMARY", "COLUMNS")}
        environment.update(PATH=path, PYGC=process.PYGC, LC_ALL="C.UTF-8", NO_COLOR="1", LIB=os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(process.PYGC))), "lib"))
        with open(os.path.join(folder, ".script"), "w") as f:
            f.write("cd %s\n%s" % (shlex.quote(folder), "".join(script)))
        child = subprocess.Popen(["bash", os.path.join(folder, ".script")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                                 start_new_session=True)
        try:
            said = child.communicate(timeout=SECONDS)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            raise Wrong("no end after %d s" % SECONDS)
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)    # what the page left behind
            except OSError:
                pass
            child.wait()
        for name in (folder, folder.replace("_", "\\_")):     # the pages name no folder of whoever ran them
            said = said.replace(name, "/srv/app")
        pieces = said.split("\n@@END@@\n")
        pieces.pop()
        return [trimmed([l for l in piece.split("\n") if not re.match(r".*\.script: line \d+: .*(Terminated|Killed|Aborted)", l)]) for piece in pieces]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_page(page, interpreter, write):
    path = os.path.join(process.ROOT, page)
    with open(path) as f:
        text = f.read()
    page_blocks = blocks(text)
    if not any(b.language == "console" for b in page_blocks):
        raise Wrong("no block with commands")
    printed = run_page(page_blocks, interpreter)
    lines, wrong, shift = text.split("\n"), [], 0
    for block in page_blocks:
        if block.name is not None or block.language != "console":
            continue
        new = []
        for command, expected in block.commands():
            if not printed:
                raise Wrong("the shell ended before: " + command)
            got = printed.pop(0)
            new += ["$ " + command] + got
            if not matches(trimmed(expected), got):
                near = next((i for i, (a, b) in enumerate(zip(expected, got)) if masked(a) != masked(b)), min(len(expected), len(got)))
                wrong.append("$ %s\n    page:  %r\n    is:    %r" % (command, (expected + ["(end)"])[near], (got + ["(end)"])[near]))
        if write:
            begin = block.first + shift
            lines[begin:begin + len(block.lines)] = new
            shift += len(new) - len(block.lines)
    if write:
        with open(path, "w") as f:
            f.write("\n".join(lines))
    elif wrong:
        raise Wrong("\n  ".join(wrong))


# ---- what needs no process

def commands_of_pygc():
    return re.findall(r"^  ([a-z-]+) +\S", process.pygc("--help").out.split("Commands (")[1].split("\n\n")[0], re.M)


def options_of(command):
    return set(re.findall(r"(?<![\w-])(--[a-z-]+)", process.pygc(command, "--help").out)) | {"--help"}


def check_words(page):
    """Every `pygc ... COMMAND --option` of a dialogue names a command and options that there are."""
    with open(os.path.join(process.ROOT, page)) as f:
        found = blocks(f.read())
    commands, known = commands_of_pygc(), {}
    for block in found:
        if block.name is not None or block.language != "console":
            continue
        for line, _ in block.commands():
            for part in re.findall(r"(?<![\w./-])pygc ((?:[^|;&'\"]|'[^']*'|\"[^\"]*\")*)", line):
                try:
                    words = shlex.split(part)
                    if " -ex " in part:
                        raise ValueError(part)
                except ValueError:      # it ends in the quotes of another program
                    words = part.split("'")[0].split()
                command = next((w for w in words if w in commands), None)
                if command is None:
                    continue    # a name in a sentence, or the target alone
                known.setdefault(command, options_of(command))
                for word in words:
                    option = word.split("=")[0]
                    if option.startswith("--") and not any(k.startswith(option.split("'")[0].strip()) for k in known[command]):
                        raise Wrong("%s has no %s" % (command, option))


def check_links(page):
    path = os.path.join(process.ROOT, page)
    with open(path) as f:
        text = f.read()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        if not os.path.exists(os.path.join(os.path.dirname(path), target)):
            raise Wrong("link to %s, which is not there" % target)
    # Tests and scripts that a page names in `...`; a later word may be an option.
    for name in re.findall(r"`((?:tests|scripts|plugin|core|fixtures)/[^` ]+)", text):
        if not os.path.exists(os.path.join(process.ROOT, name.rstrip("/"))):
            raise Wrong("%s is named, and is not there" % name)


def examples_of(command):
    """The command lines of the examples in its help."""
    text = process.pygc(command, "--help").out.split("\nExamples:\n")[1].split("\n\n")[0]
    return [line.strip() for line in text.split("\n") if re.match(r"  pygc ", line)]


def check_examples_parse(command):
    """They are two, and nothing in them is unknown: with a core that is not there they end for that alone."""
    found = examples_of(command)
    if len(found) != 2:
        raise Wrong("%d examples" % len(found))
    for line in found:
        words = shlex.split(line)[1:]
        if command == "self-test":
            words.append("--help")
        ran = process.pygc(*["/nonexistent/core" if w == "core.4711" else w for w in words], timeout=60)
        if ran.code == 2 or (command != "self-test" and ran.code != 4):
            raise Wrong("%s: exit status %s: %s" % (line, ran.code, ran.tail()))


def run_examples(commands, interpreter, verbose):
    """Every example of every help, on a core of a process with what they name: an object, a type, an older core."""
    wrong = []
    with process.Program(interpreter, os.path.join(HERE, "pages_target.py")) as p:
        core = p.gcore()
        shutil.copy(core, os.path.join(p.folder, "core.4711"))
        shutil.copy(core, os.path.join(p.folder, "core.4700"))
        made = process.pygc("-c", core, "export", "--format", "sqlite", "-o", os.path.join(p.folder, "heap.db"))
        if made.code not in (0, 3):
            raise Wrong("export: " + made.tail())
        for command in commands:
            for line in examples_of(command):
                if command == "export" and "heap.db" in line:
                    os.replace(os.path.join(p.folder, "heap.db"), os.path.join(p.folder, "old.db"))
                line = line.replace("0x7f12ab34cd50", p.truth["session"]).replace("139716871310672", str(int(p.truth["session"], 16)))
                ran = process.run([process.PYGC] + shlex.split(line)[1:], 300, cwd=p.folder)
                allowed = (0, 1) if command in ("leaks", "refcounts", "garbage", "verify", "expect", "triage") else (0,)
                said = bool(ran.out) or " -o " in line
                if ran.code not in allowed or not said:
                    wrong.append("%s: exit status %s: %s" % (line, ran.code, ran.tail()))
                elif verbose:
                    print("    %s: %s" % (line, ran.code))
    if wrong:
        raise Wrong("\n  ".join(wrong))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--interpreter", default="3.12")
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    started = time.time()
    sums = {"passed": 0, "failed": 0, "skipped": 0}

    def one(name, test, *arguments):
        try:
            test(*arguments)
            sums["passed"] += 1
            if options.v:
                print("passed   " + name)
        except process.CannotTest as e:
            sums["skipped"] += 1
            print("SKIPPED  %s: %s" % (name, e))
        except (Wrong, IndexError, ValueError, OSError) as e:
            sums["failed"] += 1
            print("FAILED   %s: %s" % (name, e))

    pages = [p for p in PAGES if not options.pages or any(word in p for word in options.pages)]
    for page in pages if options.pages else LINKED:
        one("links: " + page, check_links, page)
    for page in pages:
        one("words: " + page, check_words, page)
    commands = commands_of_pygc()
    if not options.pages and not options.quick:
        for command in commands:
            one("examples parse: " + command, check_examples_parse, command)
    if not options.quick:
        found = [i for i in interpreters.discover() if i.kind == "default" and i.version.startswith(options.interpreter)]
        if not found:
            print("SKIPPED  pages: no interpreter like %s" % options.interpreter)
            sums["skipped"] += 1
        else:
            for page in pages:
                with open(os.path.join(process.ROOT, page)) as f:
                    if not any(b.language == "console" for b in blocks(f.read())):
                        continue
                one("runs: " + page, check_page, page, found[0].path, options.write)
            if not options.pages:
                one("examples run", run_examples, [c for c in commands if c != "self-test"], found[0].path, options.v)
    print("%.1f s" % (time.time() - started))
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % sums)
    return 1 if sums["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
