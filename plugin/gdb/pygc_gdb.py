python = None  # a GDB without Python takes this file for commands of its own, and this line for its command `python`: it says that it has none, and stops
"""The command `pygc` inside GDB: `source pygc_gdb.py`, then `pygc leaks`.

Says which process is meant, serves memory where only GDB can read it, prints what the engine rendered. The engine runs in a child process behind
libpygc.so, which lies beside this file: a damaged core cannot harm GDB. Works with the Python of GDB 13 and newer.
"""
import csv
import ctypes
import glob
import os
import re
import shutil
import sys
import time

import gdb

_HERE = os.path.dirname(os.path.abspath(os.path.realpath(__file__)))
_ABI = 1
_LINE = 512
_NONE, _OUT, _ERR, _PROGRESS, _READ, _DONE, _DIED, _COPIED = range(8)
_REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()


class _Region(ctypes.Structure):
    _fields_ = [("begin", ctypes.c_uint64), ("end", ctypes.c_uint64), ("readable", ctypes.c_int), ("writable", ctypes.c_int),
                ("executable", ctypes.c_int), ("file", ctypes.c_char_p), ("file_offset", ctypes.c_uint64)]


class _Thread(ctypes.Structure):
    _fields_ = [("tid", ctypes.c_int), ("signal", ctypes.c_int), ("has_registers", ctypes.c_int), ("registers", ctypes.c_uint64 * 27)]


class _Memory(ctypes.Structure):
    _fields_ = [("is_core", ctypes.c_int), ("pid", ctypes.c_int), ("path", ctypes.c_char_p), ("regions", ctypes.POINTER(_Region)),
                ("region_count", ctypes.c_size_t), ("threads", ctypes.POINTER(_Thread)), ("thread_count", ctypes.c_size_t)]


class _Event(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("status", ctypes.c_int), ("bytes", ctypes.c_void_p), ("size", ctypes.c_size_t),
                ("address", ctypes.c_uint64), ("done", ctypes.c_uint64), ("total", ctypes.c_uint64)]

    def data(self):
        return ctypes.string_at(self.bytes, self.size) if self.bytes and self.size else b""


def _load():
    """libpygc.so with its functions declared."""
    path = os.path.join(_HERE, "libpygc.so")
    try:
        lib = ctypes.CDLL(path)
    except OSError as e:
        raise gdb.GdbError("pygc: cannot load %s: %s" % (path, e))
    text, session, words = ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p)
    for name, result, arguments in (
            ("pygc_version", text, []), ("pygc_abi", ctypes.c_int, []),
            ("pygc_help", ctypes.c_size_t, [text, ctypes.c_char_p, ctypes.c_size_t]),
            ("pygc_complete", ctypes.c_size_t, [ctypes.c_size_t, words, ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_size_t]),
            ("pygc_command", ctypes.c_int, [ctypes.c_size_t, ctypes.POINTER(text), ctypes.POINTER(text)]),
            ("pygc_open", session, [ctypes.c_char_p]), ("pygc_close", None, [session]), ("pygc_is_usable", ctypes.c_int, [session]),
            ("pygc_set_core", None, [session, text]), ("pygc_set_stopped_pid", None, [session, ctypes.c_int]),
            ("pygc_set_no_target", None, [session, text]), ("pygc_target_runs", None, [session, text]), ("pygc_set_memory", None, [session, ctypes.POINTER(_Memory)]),
            ("pygc_set_output", None, [session, text, ctypes.c_uint, ctypes.c_int]),
            ("pygc_begin", ctypes.c_int, [session, ctypes.c_size_t, words]),
            ("pygc_next", None, [session, ctypes.c_int, ctypes.POINTER(_Event)]),
            ("pygc_reply", None, [session, ctypes.c_char_p, ctypes.c_size_t]), ("pygc_cancel", None, [session, ctypes.c_int])):
        function = getattr(lib, name, None)
        if function is None:
            version = getattr(lib, "pygc_version", lambda: b"of an unknown version")
            version.restype = text
            raise gdb.GdbError("pygc: %s is pygc %s and has no %s, which this file needs: install both from one build" % (path, version().decode(), name))
        function.restype, function.argtypes = result, arguments
    if lib.pygc_abi() != _ABI:
        raise gdb.GdbError("pygc: %s is pygc %s with interface %d, this file needs interface %d: install both from one build"
                           % (path, lib.pygc_version().decode(), lib.pygc_abi(), _ABI))
    return lib


def _raw(s):
    return os.fsencode(s)


def _core_path():
    """The core file that GDB has open, or None. `info files` names it; whatever the language, it is the one file named there that is a core."""
    for path in re.findall(r"`([^'\n]+)'", gdb.execute("info files", to_string=True)):
        try:
            with open(path, "rb") as f:
                head = f.read(18)
        except OSError:
            continue
        if head[:4] == b"\x7fELF" and head[16:18] == b"\x04\x00":
            return os.path.abspath(path)
    return None


def _regions(is_core):
    """[(begin, end, permissions, offset, file)]; of a core only what it holds."""
    found = []
    try:
        text = gdb.execute("info proc mappings", to_string=True) if not is_core else ""
    except gdb.error:
        text = ""
    for line in text.splitlines():
        m = re.match(r"\s*0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+([r-][w-][x-][ps-])\s*(.*)$", line)
        if m and not m.group(5).strip().startswith("[vvar"):  # the kernel's clock pages: nobody can read them
            found.append((int(m.group(1), 16), int(m.group(2), 16), m.group(4), int(m.group(3), 16), m.group(5).strip()))
    if not found:
        for line in gdb.execute("info files", to_string=True).splitlines():
            m = re.match(r"\s*0x([0-9a-f]+) - 0x([0-9a-f]+) is load\d+", line)
            if m:
                found.append((int(m.group(1), 16), int(m.group(2), 16), "rw-p", 0, ""))
    return found


def _threads(inferior):
    """Registers of each thread. The selected thread is selected again afterwards."""
    selected = gdb.selected_thread()
    out = []
    try:
        for thread in inferior.threads():
            t = _Thread(tid=thread.ptid[1] or thread.ptid[0])
            try:
                thread.switch()
                frame = gdb.newest_frame()
                for i, name in enumerate(_REGISTERS):
                    try:
                        t.registers[i] = int(frame.read_register(name)) & 0xFFFFFFFFFFFFFFFF
                    except (gdb.error, ValueError):
                        pass
                t.has_registers = 1 if t.registers[19] else 0
            except gdb.error:
                pass
            out.append(t)
    finally:
        if selected is not None and selected.is_valid():
            selected.switch()
    return out


def _is_running(inferior):
    try:
        return any(t.is_running() for t in inferior.threads())
    except gdb.error:   # a remote stub is not asked for its threads while they run
        return True


class _Engines:
    """The sessions of this GDB, one for each inferior."""

    def __init__(self):
        self.lib = _load()
        self.kept = {}  # inferior number -> (session, key of its target)
        self.type_names = {}    # inferior number -> names of types, as long as nothing runs or is written
        self.values = {}    # (inferior number, address) -> text, as long as nothing runs or is written
        self.current = None  # inferior number whose target was set for values
        self.resumed = {}   # inferior number -> session that has a copy of what it was before pygc let it run again

    def session(self, inferior):
        handle = self.kept.get(inferior.num, (None, None))[0]
        if handle is not None and not self.lib.pygc_is_usable(handle):
            self.lib.pygc_close(handle)
            del self.kept[inferior.num]
            handle = None
        if handle is None:
            line = ctypes.create_string_buffer(_LINE)
            handle = self.lib.pygc_open(line)
            if not handle:
                raise gdb.GdbError("pygc: " + line.value.decode("utf-8", "replace"))
            self.kept[inferior.num] = (handle, None)
        return handle

    def forget(self):
        alive = {i.num for i in gdb.inferiors()}
        for number in [n for n in self.kept if n not in alive]:
            self.lib.pygc_close(self.kept.pop(number)[0])

    def close(self):
        for handle, _ in self.kept.values():
            self.lib.pygc_close(handle)
        self.kept.clear()

    def set_target(self, session, inferior, resume=False):
        """Tells the engine which target is meant. A live process is read anew for every command: it may have run on."""
        lib = self.lib
        if not inferior.pid:
            lib.pygc_set_no_target(session, b"no process: open a core (core-file CORE) or attach to a process (attach PID) first")
            self.kept[inferior.num] = (session, None)
            return
        if _is_running(inferior):
            why = b"the process is running: stop it first (interrupt)"
            if self.resumed.get(inferior.num) == session and not resume:
                lib.pygc_target_runs(session, why)
                return
            lib.pygc_set_no_target(session, why)
            self.kept[inferior.num] = (session, None)
            return
        self.resumed.pop(inferior.num, None)
        connection = getattr(inferior, "connection", None)
        kind = connection.type if connection is not None else "native"
        path = _core_path() if kind == "core" else None
        key = ("core", path, os.stat(path).st_mtime_ns) if path else None
        if key is not None and key == self.kept[inferior.num][1]:
            return
        if path:
            lib.pygc_set_core(session, _raw(path))
        elif kind == "native":
            lib.pygc_set_stopped_pid(session, inferior.pid)
        else:
            lib.pygc_set_no_target(session, b"")
        self.serve(session, inferior, kind == "core", path)
        self.kept[inferior.num] = (session, key)

    def serve(self, session, inferior, is_core, path):
        regions = _regions(is_core)
        rows = (_Region * len(regions))()
        for row, (begin, end, mode, offset, name) in zip(rows, regions):
            row.begin, row.end, row.file_offset = begin, end, offset
            row.readable, row.writable, row.executable = mode[0] == "r", mode[1] == "w", mode[2] == "x"
            row.file = _raw(name) if name else None
        found = _threads(inferior)
        threads = (_Thread * len(found))(*found)
        memory = _Memory(is_core=int(is_core), pid=inferior.pid, path=_raw(path) if path else None, regions=rows, region_count=len(rows),
                         threads=threads, thread_count=len(threads))
        self.lib.pygc_set_memory(session, ctypes.byref(memory))

    def read(self, inferior, address, size):
        """The bytes before the first that cannot be read: by halves, then by pages."""
        try:
            return inferior.read_memory(address, size).tobytes()
        except gdb.MemoryError:
            pass
        page = 4096
        good = b""
        while len(good) < size:
            step = min(size - len(good), page - (address + len(good)) % page)
            try:
                good += inferior.read_memory(address + len(good), step).tobytes()
            except gdb.MemoryError:
                break
        return good

    def run(self, words):
        self.forget()
        self.changed()
        inferior = gdb.selected_inferior()
        session = self.session(inferior)
        resume = "--resume" in words
        self.set_target(session, inferior, resume)
        to_terminal = sys.__stdout__ is not None and os.isatty(1)
        columns = gdb.parameter("width") or (shutil.get_terminal_size().columns if to_terminal else 0)
        colours = to_terminal and bool(gdb.parameter("style enabled"))
        self.lib.pygc_set_output(session, b"gdb", columns if to_terminal else 0, int(colours))
        array = (ctypes.c_char_p * len(words))(*[_raw(w) for w in words])
        if self.lib.pygc_begin(session, len(words), array):
            raise gdb.GdbError("pygc: the engine is gone; repeat the command to start another")
        return self.converse(session, inferior, resume="--quiet" not in words and "-q" not in words if resume else None)

    def resume(self, session, inferior, seconds, loud):
        """Lets the process run in the background. Returns what there is to say of it."""
        connection = getattr(inferior, "connection", None)
        if connection is not None and connection.type == "core":
            return ""
        try:
            gdb.execute("continue %s&" % ("-a " if gdb.parameter("non-stop") else ""), to_string=True)
        except gdb.error as e:
            return "pygc: the process was not resumed: %s\n" % e
        self.resumed[inferior.num] = session
        return "pygc: process %d runs again, after %.0f ms\n" % (inferior.pid, seconds * 1e3) if loud else ""

    def filled(self, function, *arguments):
        """The text that a function of the library writes as snprintf does."""
        size = 1 << 16
        while True:
            out = ctypes.create_string_buffer(size)
            wanted = function(*arguments, out, size)
            if wanted < size:
                return out.value.decode("utf-8", "replace")
            size = wanted + 1

    def types(self):
        """Names of the types that the target has objects of, as far as they are known in two seconds. The process is read once a stop."""
        inferior = gdb.selected_inferior()
        connection = getattr(inferior, "connection", None)
        if not inferior.pid or (connection is not None and connection.type not in ("native", "core")):
            return []
        if inferior.num not in self.type_names:
            self.type_names[inferior.num] = []
            session = self.session(inferior)
            self.set_target(session, inferior)
            self.lib.pygc_set_output(session, b"gdb", 0, 0)
            words = [b"heap", b"--quiet", b"--limit", b"0", b"--format", b"csv"]
            said = []
            if self.lib.pygc_begin(session, len(words), (ctypes.c_char_p * len(words))(*words)) == 0:
                self.converse(session, inferior, said.append, _NoProgress(2))
            rows = list(csv.reader("".join(said).splitlines()))
            if rows and "type" in rows[0]:
                column = rows[0].index("type")
                self.type_names[inferior.num] = sorted({row[column] for row in rows[1:] if len(row) > column})
        return self.type_names[inferior.num]

    def complete(self, words):
        """What the last of the words of a command line could become."""
        array = (ctypes.c_char_p * len(words))(*[_raw(w) for w in words])
        kind = ctypes.c_int()
        found = self.filled(self.lib.pygc_complete, len(words), array, ctypes.byref(kind)).split()
        if kind.value == 2:
            return sorted(name + "/" * os.path.isdir(name) for name in glob.glob(glob.escape(words[-1]) + "*"))   # GDB's own takes the whole line for a name
        if kind.value == 1:
            found += [name for name in self.types() if name.startswith(words[-1])]
        return found

    def value(self, address):
        """Type and value of an object in one line, empty where there is none. The process is read once a stop."""
        inferior = gdb.selected_inferior()
        key = (inferior.num, address)
        if key in self.values:
            return self.values[key]
        connection = getattr(inferior, "connection", None)
        if connection is not None and connection.type not in ("native", "core"):
            return ""   # all of its memory through a remote protocol, for a line beside a variable: too slow
        session = self.session(inferior)
        if self.current != inferior.num:
            self.set_target(session, inferior)
            self.current = inferior.num
        self.lib.pygc_set_output(session, b"gdb", 0, 0)
        words = (ctypes.c_char_p * 3)(b"value", b"--quiet", b"0x%x" % address)
        said = []
        if self.lib.pygc_begin(session, 3, words) == 0:
            self.converse(session, inferior, said.append, _NoProgress())
        self.values[key] = "".join(said).strip()
        return self.values[key]

    def changed(self, *_):
        self.values.clear()
        self.type_names.clear()
        self.current = None

    def converse(self, session, inferior, write=gdb.write, progress=None, resume=None):
        """`resume`: the process is to run again as soon as it is copied; whether that is to be said."""
        event = _Event()
        errors = []
        interrupts = 0
        progress = progress or _ProgressLine()
        while True:
            try:
                if progress.is_over() and not interrupts:
                    interrupts = 1
                    self.lib.pygc_cancel(session, 0)
                self.lib.pygc_next(session, 100, ctypes.byref(event))
                if event.kind == _OUT:
                    progress.wipe()
                    write(event.data().decode("utf-8", "replace"))
                elif event.kind == _ERR:
                    errors.append(event.data().decode("utf-8", "replace"))
                elif event.kind == _PROGRESS:
                    progress.show(event.data(), event.done, event.total)
                elif event.kind == _READ:
                    data = b"" if interrupts else self.read(inferior, event.address, event.size)
                    self.lib.pygc_reply(session, data, len(data))
                elif event.kind == _COPIED and resume is not None:
                    errors.append(self.resume(session, inferior, event.done * 1e-6, resume))
                elif event.kind in (_DONE, _DIED):
                    progress.wipe()
                    if event.kind == _DIED:
                        errors.append("pygc: " + event.data().decode("utf-8", "replace") + "\n")
                    return event.status, "".join(errors).rstrip("\n")
            except KeyboardInterrupt:
                interrupts += 1
                self.lib.pygc_cancel(session, int(interrupts > 1))
                if event.kind == _READ:  # perhaps without its answer yet
                    self.lib.pygc_cancel(session, 1)


class _ProgressLine:
    """One line on the terminal, after a moment: stage, how far, how fast, and how long still."""

    def __init__(self):
        self.begun = time.monotonic()
        self.next = self.begun + 0.3
        self.stage, self.stage_begun, self.first = None, self.begun, 0
        self.visible = False
        self.on = os.isatty(2)

    def is_over(self):
        return False

    def show(self, stage, done, total):
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.stage_begun, self.first = stage, now, done
        if not self.on or now < self.next:
            return
        self.next = now + 0.1
        line = "".join(c if 32 <= ord(c) < 127 else "?" for c in stage.decode("ascii", "replace"))[:60]
        line += "  %d %%" % (100 * min(done, total) // total) if total else "  %d" % done if done else ""
        seconds = now - self.stage_begun
        rate = (done - self.first) / seconds if seconds >= 1 else 0
        if rate > 0:
            line += "  %.1f M/s" % (rate / 1e6) if rate >= 1e6 else "  %.1f k/s" % (rate / 1e3) if rate >= 1e3 else "  %.0f/s" % rate
        line += "  %.0f s" % (now - self.begun)
        if rate > 0 and total:
            line += ", %.0f s left" % max(1, (total - min(done, total)) / rate)
        os.write(2, ("\r%s\x1b[K" % line[:max(20, shutil.get_terminal_size().columns - 1)]).encode())
        self.visible = True

    def wipe(self):
        if self.visible:
            os.write(2, b"\r\x1b[K")
            self.visible = False


class _NoProgress:
    """Shows nothing; with a number of seconds the command is to end by then with what is known."""

    def __init__(self, seconds=None):
        self.end = None if seconds is None else time.monotonic() + seconds

    def is_over(self):
        return self.end is not None and time.monotonic() >= self.end

    def show(self, *_):
        pass

    def wipe(self):
        pass


try:
    _engines = _Engines()
except gdb.GdbError as e:
    _engines = None
    gdb.write("%s\n" % e, gdb.STDERR)


class _ObjectPrinter:
    """A pointer to an object as `0x7f12ab34cd50 dict {'a': 1}`."""

    def __init__(self, value, text):
        self.pointer, self.text = int(value), text

    def to_string(self):
        return "0x%x %s" % (self.pointer, self.text)


class _ObjectPrinters:
    """For `PyObject *` and pointers to the structures of built-in types, in a process that pygc can read. Off: disable pretty-printer global pygc"""

    name, enabled = "pygc", True

    def __call__(self, value):
        pointer = value.type.strip_typedefs()
        if pointer.code != gdb.TYPE_CODE_PTR:
            return None
        target = pointer.target().unqualified()
        if not re.match(r"(_object|PyObject|Py[A-Za-z]*Object|_typeobject)$", str(target.name or target.strip_typedefs().tag or "")):
            return None
        try:
            address = int(value)
            text = _engines.value(address) if address and gdb.selected_inferior().pid else ""
        except (gdb.error, gdb.MemoryError, OSError):
            return None
        return _ObjectPrinter(value, text) if text else None


# Words for an address that are none yet: a variable, a register, a member of one, with casts: nothing that calls or writes.
_EXPRESSION = re.compile(r"(?:\((?:struct )?[A-Za-z_][\w:]*\s*\**\)|[*&])*\$?[A-Za-z_]\w*(?:\[\d+\]|->[A-Za-z_]\w*|\.[A-Za-z_]\w*)*\Z|\$+\d*\Z")
_TAKE_ADDRESSES = ("show", "value", "referents", "referrers")
_TAKE_TYPES_TOO = ("path", "why", "graph", "export")    # a plain name is a type there
_FLAGS = ("-q", "--quiet", "-h", "--help", "--redact", "--show-values", "--audit", "--trust-file", "--trust-anon-code", "--resume")


def _evaluated(text):
    """The address that an expression of the selected frame has. Nothing runs in the process. Errors: gdb.error."""
    may_call = gdb.parameter("may-call-functions")
    gdb.execute("set may-call-functions off", to_string=True)
    try:
        value = gdb.parse_and_eval(text)
        if value.is_optimized_out:
            raise gdb.error("it was optimized out")
        if value.type.strip_typedefs().code in (gdb.TYPE_CODE_REF, gdb.TYPE_CODE_RVALUE_REF):
            value = value.referenced_value()
        if value.type.strip_typedefs().code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
            if value.address is None:
                raise gdb.error("it has no address")
            value = value.address
        return int(value) & 0xffffffffffffffff
    finally:
        gdb.execute("set may-call-functions %s" % ("on" if may_call else "off"), to_string=True)


def _with_addresses(words):
    """The words with expressions in place of addresses evaluated; what GDB does not know stays as it is, for the engine to say what is wrong with it."""
    if not words or words[0] not in _TAKE_ADDRESSES + _TAKE_TYPES_TOO:
        return words
    out = words[:1]
    for before, word in zip(words, words[1:]):
        of_option = before.startswith("-") and before not in _FLAGS and "=" not in before
        marked = word[:1] in "$(&" or "->" in word
        if not of_option and _EXPRESSION.match(word) and (marked or words[0] in _TAKE_ADDRESSES):
            try:
                word = "0x%x" % _evaluated(word)
            except (gdb.error, TypeError, ValueError) as e:
                if marked:
                    raise gdb.GdbError("pygc: %s: %s" % (word, e))
        out.append(word)
    return out


def _invoke(words):
    status, errors = _engines.run(_with_addresses(words))
    if status in (0, 1, 3):
        if errors:
            gdb.write(errors + "\n", gdb.STDERR)
    else:
        raise gdb.GdbError(errors or ("pygc: interrupted" if status == 130 else "pygc: the command ended with status %d" % status))


class _Pygc(gdb.Command):
    """Find leaks in the selected CPython process or core: pygc leaks, pygc status, ..."""

    def __init__(self):
        self.__doc__ = _engines.filled(_engines.lib.pygc_help, b"").rstrip("\n")
        super().__init__("pygc", gdb.COMMAND_DATA, prefix=True)

    def invoke(self, argument, from_tty):
        _invoke(gdb.string_to_argv(argument) or ["--help"])


class _Subcommand(gdb.Command):
    def __init__(self, name):
        self.name = name
        # GDB shows the first line in lists and says the rest in `help pygc NAME`.
        self.__doc__ = _engines.filled(_engines.lib.pygc_help, name.encode()).partition(": ")[2].rstrip("\n")
        super().__init__("pygc " + name, gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        _invoke([self.name] + gdb.string_to_argv(argument))

    def complete(self, text, word):
        try:
            before = gdb.string_to_argv(text)
        except gdb.error:
            return []
        if not before or text[-1:].isspace():
            before.append("")
        if word is None:    # GDB asks first where the word begins that it is to complete
            return None
        # GDB's word may begin behind a sign in ours, "app." of app.Session: what it gets starts where its word starts.
        return [found[len(before[-1]) - len(word):] for found in _engines.complete([self.name] + before)]


def _register():
    _Pygc()
    name, summary = ctypes.c_char_p(), ctypes.c_char_p()
    index = 0
    while _engines.lib.pygc_command(index, ctypes.byref(name), ctypes.byref(summary)):
        _Subcommand(name.value.decode())
        index += 1
    _Subcommand("why")
    import gdb.printing
    gdb.printing.register_pretty_printer(None, _ObjectPrinters(), replace=True)
    for name in ("cont", "exited", "memory_changed", "register_changed", "inferior_call", "new_objfile", "inferior_deleted"):
        if hasattr(gdb.events, name):
            getattr(gdb.events, name).connect(_engines.changed)
    if hasattr(gdb.events, "gdb_exiting"):
        gdb.events.gdb_exiting.connect(lambda _: _engines.close())


if _engines is not None:
    _register()
