"""Takes an ELF core apart and writes it again with one thing changed: for tests that need a core which no kernel writes today.

A Core holds the program headers and where their bytes lie in the file that was read; write() lays everything out anew. Nothing of pygc is used.
"""
import os
import struct

PT_LOAD, PT_NOTE = 1, 4
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE = 1, 3, 6, 0x46494C45
PAGE = 4096
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_NOTE = struct.Struct("<III")


class Segment:
    """One program header, with the bytes that belong to it."""

    def __init__(self, kind, flags, address, memory_size, data, align=PAGE):
        self.kind, self.flags, self.address, self.memory_size, self.data, self.align = kind, flags, address, memory_size, data, align

    @property
    def end(self):
        return self.address + len(self.data)


class Core:
    def __init__(self, path):
        with open(path, "rb") as f:
            whole = f.read()
        header = list(_EHDR.unpack_from(whole))
        self.ident, self.machine = header[0], header[2]
        count = header[10]
        if count == 0xFFFF:
            count = _SHDR.unpack_from(whole, header[6])[7]
        self.segments = []
        for i in range(count):
            kind, flags, offset, address, _, size, memory, align = _PHDR.unpack_from(whole, header[5] + i * _PHDR.size)
            self.segments.append(Segment(kind, flags, address, memory, bytearray(whole[offset:offset + size]), align))

    # ---- what is there

    def loads(self):
        return [s for s in self.segments if s.kind == PT_LOAD]

    def notes(self):
        """[(name, type, bytes)] of all note segments."""
        found = []
        for segment in self.segments:
            at = 0
            while segment.kind == PT_NOTE and at + _NOTE.size <= len(segment.data):
                name_size, size, kind = _NOTE.unpack_from(segment.data, at)
                at += _NOTE.size
                name = bytes(segment.data[at:at + name_size])
                at += (name_size + 3) & ~3
                found.append((name, kind, bytes(segment.data[at:at + size])))
                at += (size + 3) & ~3
        return found

    def load_at(self, address):
        return next((s for s in self.loads() if s.address <= address < s.end), None)

    def read(self, address, size):
        s = self.load_at(address)
        return None if s is None else bytes(s.data[address - s.address:address - s.address + size])

    # ---- changes

    def set_notes(self, notes):
        data = bytearray()
        for name, kind, body in notes:
            data += _NOTE.pack(len(name), len(body), kind) + name.ljust((len(name) + 3) & ~3, b"\0") + body.ljust((len(body) + 3) & ~3, b"\0")
        self.segments = [s for s in self.segments if s.kind != PT_NOTE]
        self.segments.insert(0, Segment(PT_NOTE, 0, 0, 0, data, 4))

    def retag(self, kind, to=0x7E57):
        """Notes of type `kind` become notes that nobody knows."""
        self.set_notes([(name, to if k == kind else k, body) for name, k, body in self.notes()])

    def change_note(self, kind, change):
        self.set_notes([(name, k, change(body) if k == kind else body) for name, k, body in self.notes()])

    def drop(self, wanted):
        """Takes away the loads for which `wanted(segment)` holds; returns how many."""
        before = len(self.segments)
        self.segments = [s for s in self.segments if s.kind != PT_LOAD or not wanted(s)]
        return before - len(self.segments)

    def elide(self, wanted):
        """The loads for which `wanted(segment)` holds keep their header and lose their bytes, as coredump_filter does it."""
        chosen = [s for s in self.loads() if wanted(s) and s.data]
        for s in chosen:
            s.data = bytearray()
        return len(chosen)

    def order(self, key, reverse=False):
        loads = sorted(self.loads(), key=key, reverse=reverse)
        self.segments = [s for s in self.segments if s.kind != PT_LOAD] + loads

    def split(self, size):
        """Each load becomes loads of at most `size` bytes that touch."""
        pieces = []
        for s in self.segments:
            if s.kind != PT_LOAD or len(s.data) <= size or s.memory_size > len(s.data):
                pieces.append(s)
                continue
            for at in range(0, len(s.data), size):
                part = s.data[at:at + size]
                pieces.append(Segment(s.kind, s.flags, s.address + at, len(part), part, s.align))
        self.segments = pieces

    def patch(self, address, data):
        s = self.load_at(address)
        if s is None or address + len(data) > s.end:
            raise ValueError("no bytes at %#x in the core" % address)
        s.data[address - s.address:address - s.address + len(data)] = data

    # ---- writing

    def write(self, path, extended_count=False, machine=None, cut=None):
        """Lays the core out anew. extended_count: PN_XNUM, with the section header at the end of the file as the kernel puts it. Returns the offsets at
        which each segment's bytes end, for tests that cut there."""
        table = _EHDR.size
        at = table + len(self.segments) * _PHDR.size
        headers, places = bytearray(), []
        for s in self.segments:
            if s.kind == PT_LOAD:
                at = (at + PAGE - 1) & ~(PAGE - 1)
            headers += _PHDR.pack(s.kind, s.flags, at, s.address, 0, len(s.data), s.memory_size, s.align)
            places.append((at, s))
            at += len(s.data)
        count = len(self.segments)
        wide = extended_count or count >= 0xFFFF
        head = _EHDR.pack(self.ident, 4, self.machine if machine is None else machine, 1, 0, table, at if wide else 0, 0, _EHDR.size, _PHDR.size,
                          0xFFFF if wide else count, _SHDR.size if wide else 0, 1 if wide else 0, 0)
        with open(path, "wb") as f:
            f.write(head + headers)
            for offset, s in places:
                f.seek(offset)
                f.write(s.data)
            f.seek(at)
            if wide:
                f.write(_SHDR.pack(0, 0, 0, 0, 0, 0, 0, count, 0, 0))
            f.truncate(f.tell())
        if cut is not None:
            os.truncate(path, cut)
        return [offset + len(s.data) for offset, s in places]
