#!/usr/bin/env python3
"""Derives core/cpython/layouts/*.layout: where each field of CPython's structures lies in one build.

A new CPython release is a new layout file and no code:

  scripts/gen_layout.py write --python PATH        from the DWARF of that interpreter's files (needs gdb); --found: of all on this machine
  scripts/gen_layout.py check                      re-derives every file for which this machine has the build, and compares
  scripts/gen_layout.py rules 3.16.0               prints the constants that would be written: the questions to answer below
  scripts/gen_layout.py headers --include DIR --free-threaded
                                                   of a build that cannot be had: from the headers of a -dev package of that very version
  scripts/gen_layout.py json --dir DIR             the same from struct layouts dumped as JSON

Names come from core/cpython/layout_schema.def. Offsets come from the build; what no debug information says (flag bits, which
references a tp_traverse reports) stands in constants() below, with the place in CPython's sources where it can be checked.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAYOUTS = os.path.join(ROOT, "core", "cpython", "layouts")
SCHEMA = os.path.join(ROOT, "core", "cpython", "layout_schema.def")

# Schema name -> names in CPython's sources, first that is found wins. Default: the name, _name, and the struct tags of both.
STRUCT_NAMES = {
    "PyOSErrorObject": ["PyOSErrorObject", "PyEnvironmentErrorObject"],
    "PyBytesObject": ["PyBytesObject", "PyStringObject"],
    "PyDictKeysObject": ["PyDictKeysObject", "struct _dictkeysobject"],
    "PyDictValues": ["PyDictValues", "struct _dictvalues"],
    "PyDictViewObject": ["_PyDictViewObject", "dictviewobject"],
    "mappingproxyobject": ["mappingproxyobject", "proxyobject"],
    "PyFrameObject": ["PyFrameObject", "struct _frame"],
    "PyCFrame": ["_PyCFrame", "CFrame"],
    "PyInterpreterState": ["PyInterpreterState", "struct _is"],
    "PyThreadState": ["PyThreadState", "struct _ts"],
    "PyRuntimeState": ["_PyRuntimeState", "struct pyruntimestate"],
    "PyODictObject": ["PyODictObject", "struct _odictobject"],
    "odictnode": ["struct _odictnode", "_odictnode"],
    "dequeblock": ["BLOCK", "block"],
    "static_type_state": ["managed_static_type_state", "static_builtin_state"],
    "PyTracebackObject": ["PyTracebackObject", "struct _traceback"],
    "PyLongObject": ["PyLongObject", "struct _longobject"],
    "PyMethodDef": ["PyMethodDef", "struct PyMethodDef"],
    "PyMemberDef": ["PyMemberDef", "struct PyMemberDef"],
    "PyGetSetDef": ["PyGetSetDef", "struct PyGetSetDef"],
    "DebugOffsets": ["_Py_DebugOffsets"],
    "PyErr_StackItem": ["_PyErr_StackItem"],
    "PyStackChunk": ["_PyStackChunk", "struct _stack_chunk"],
    "listiterobject": ["listiterobject", "_PyListIterObject"],
    "tupleiterobject": ["tupleiterobject", "_PyTupleIterObject"],
    "mi_heap": ["struct mi_heap_s", "mi_heap_s"],
    "mi_page": ["struct mi_page_s", "mi_page_s"],
    "mi_segment": ["struct mi_segment_s", "mi_segment_s"],
    "mi_page_queue": ["struct mi_page_queue_s", "mi_page_queue_s"],
    "mi_subproc": ["struct mi_subproc_s", "mi_subproc_s"],
    "object_freelists": ["struct _Py_object_freelists"],
    "type_cache_entry": ["struct type_cache_entry", "struct method_cache_entry"],
    "PyCoCached": ["_PyCoCached"],
    "Py_Identifier": ["_Py_Identifier"],
    "abc_data": ["_abc_data"],
    "Py_hashtable": ["_Py_hashtable_t"],
    "Py_hashtable_entry": ["_Py_hashtable_entry_t"],
    "tracemalloc_trace": ["trace_t"],
    "tracemalloc_traceback": ["struct tracemalloc_traceback", "traceback_t"],
    "atexit_callback": ["atexit_py_callback", "atexit_callback"],
    "tracemalloc_frame": ["struct tracemalloc_frame", "frame_t"],
}

# Structures of the interpreter of which every member that points to an object is listed ("owned" lines): references that the audit counts.
OWNERS = ["PyRuntimeState", "PyInterpreterState", "PyThreadState"]

# Members of them that point to objects without owning a reference, or whose ownership depends on more than the pointer. They are left out; the audit then
# takes such a word for a possible reference only.
NOT_OWNED = re.compile(
    r"free_?list|freelist|numfree|callable_cache|objreduce|pyexitmodule|_initial_thread|_main_interpreter|tracemalloc|static_objects|static_types|types\.|type_cache|"
    r"delete_later|slice_cache|common_consts|executor|optimizer|func_state|func_version|code_state|interned|type_slots|small_objects|"
    r"current_frame|trace_info|^frame$|ob_type|ob_item|c_array|monitors|last_resort|obmalloc|unique_ids|dict_state|jit|(^|\.)base_frame|_preallocated")

# Structures whose C name is used for something else too: taken from the file that defines this function.
ANCHOR = {"dequeblock": "deque_traverse", "dequeobject": "deque_traverse", "classmethod": "cm_traverse", "staticmethod": "sm_traverse",
          "setentry": "set_traverse", "partialobject": "partial_traverse", "gc_generation": "untrack_tuples"}

# A member that tells the right one apart from others of the same name (struct block of Python/pyarena.c).
TELLING_MEMBER = {"dequeblock": "leftlink", "tracemalloc_trace": "traceback", "tracemalloc_frame": "filename", "atexit_callback": "args"}

# (structure, field) -> member paths, first found wins. Default: the field's name against every path with '.' turned into '_'
# and leading underscores dropped.
FIELD_PATHS = {
    ("PyGC_Head", "gc_next"): ["_gc_next", "gc.gc_next"],
    ("PyGC_Head", "gc_prev"): ["_gc_prev", "gc.gc_prev"],
    ("PyGC_Head", "gc_refs"): ["gc.gc_refs"],
    ("gc_runtime_state", "generations"): ["generations", "young"],
    ("PyInterpreterState", "threads_head"): ["threads.head", "tstate_head"],
    ("PyInterpreterState", "modules"): ["imports.modules", "modules"],
    ("PyInterpreterState", "modules_by_index"): ["imports.modules_by_index", "modules_by_index"],
    ("PyInterpreterState", "codec_search_path"): ["codecs.search_path", "codec_search_path"],
    ("PyInterpreterState", "codec_search_cache"): ["codecs.search_cache", "codec_search_cache"],
    ("PyInterpreterState", "codec_error_registry"): ["codecs.error_registry", "codec_error_registry"],
    ("PyInterpreterState", "import_func"): ["imports.import_func", "import_func"],
    ("PyInterpreterState", "importlib"): ["imports.importlib", "importlib"],
    ("PyInterpreterState", "static_types"): ["types.builtins.initialized", "types.builtins"],
    ("PyInterpreterState", "static_extension_types"): ["types.for_extensions.initialized"],
    ("PyInterpreterState", "freelists"): ["object_state.freelists", "freelists"],
    ("PyInterpreterState", "unicode_ids_size"): ["unicode.ids.size"],
    ("PyInterpreterState", "unicode_ids_array"): ["unicode.ids.array"],
    ("PyInterpreterState", "type_cache"): ["types.type_cache", "type_cache"],
    ("PyInterpreterState", "interned_strings"): ["cached_objects.interned_strings"],
    ("object_freelists", "slice_cache"): ["slices.slice_cache", "slice_cache"],
    ("PyThreadState", "delete_later"): ["delete_later", "trash.delete_later", "trash_delete_later"],
    ("PyThreadState", "cframe"): ["cframe"],
    ("PyDictObject", "ma_version_tag"): ["ma_version_tag", "_ma_watcher_tag"],
    ("PyInterpreterFrame", "f_executable"): ["f_executable", "f_code"],
    ("PyInterpreterFrame", "f_funcobj"): ["f_funcobj", "f_func"],
    ("PyCodeObject", "co_linetable"): ["co_linetable", "co_lnotab"],
    ("PyCoroObject", "cr_origin_or_finalizer"): ["cr_origin_or_finalizer", "cr_origin"],
    ("PyAsyncGenObject", "ag_origin_or_finalizer"): ["ag_origin_or_finalizer", "ag_finalizer"],
    ("PyLongObject", "lv_tag"): ["long_value.lv_tag"],
    ("PyLongObject", "ob_digit"): ["long_value.ob_digit", "ob_digit"],
    ("PyBytesObject", "ob_shash"): ["ob_shash"],
    ("PyUnicodeObject", "data"): ["data"],
    ("mappingproxyobject", "mapping"): ["mapping", "dict"],
    ("PyODictObject", "od_inst_dict"): ["od_inst_dict"],
    ("PyCFunctionObject", "m_weakreflist"): ["m_weakreflist"],
    ("PyObject", "ob_refcnt"): ["ob_refcnt"],
    ("lockobject", "mutex"): ["lock._bits"],
    ("rlockobject", "mutex"): ["lock.mutex._bits"],
    ("rlockobject", "rlock_owner"): ["rlock_owner", "lock.thread"],
    ("rlockobject", "level"): ["lock.level"],
    ("PyInterpreterState", "atexit_callbacks"): ["atexit.callbacks"],
    ("PyInterpreterState", "atexit_ncallbacks"): ["atexit.ncallbacks"],
    ("Py_hashtable", "nentries"): ["nentries", "entries"],
    ("Py_hashtable", "nbuckets"): ["nbuckets", "num_buckets"],
    ("mi_segment", "abandoned_next"): ["abandoned_next", "abandoned_os_next"],
}

# Structures without an object head, which a free-threaded build does not shift. All others of .c files begin with PyObject_HEAD or
# PyObject_VAR_HEAD, both 16 bytes larger there. (lru_cache_object.root is the head itself: it stays at 0.)
NOT_OBJECTS = {"dequeblock", "odictnode", "PyMethodDef", "PyGetSetDef", "PyMemberDef", "setentry", "PyDictKeyEntry", "PyStackChunk",
               "arena_object", "pool_header", "type_cache_entry", "PyCoCached", "Py_Identifier", "wrapperbase", "Py_hashtable", "Py_hashtable_entry",
               "tracemalloc_trace", "tracemalloc_traceback", "tracemalloc_frame", "atexit_callback"}


# Members of PyInterpreterState that follow each other and have nothing but free lists and their lengths: what 3.13 gathers in _Py_object_freelists [3.10-3.12].
FREE_LISTS = ["float_state", "slice_cache", "tuple", "list", "dict_state", "frame", "async_gen", "context"]
FREE_LIST_PATHS = {"tuples_items": "tuple.free_list", "dictkeys_items": "dict_state.keys_free_list", "dictkeys_numfree": "dict_state.keys_numfree",
                   "slice_cache": "slice_cache", "frames": "frame.free_list"}

# Free-threaded structures of .c files: 3.13.5 by DWARF, the same in 3.14 and 3.15. For builds of which only headers were to be had.
FREE_THREADED = {
    "PyObjectStackChunk": {"size": 2048, "fields": {"prev": [0, 8], "n": [8, 8], "objs": [16, 2032]}},
    "mem_work_chunk": {"size": 4096, "fields": {"node": [0, 16], "rd_idx": [16, 8], "wr_idx": [24, 8], "array": [32, 4064]}},
}
# pycore_interp_structs.h [3.15+]: with Py_GIL_DISABLED each generation keeps the statistics of one collection only.
GC_STATS_BUFFER = {"size": 72, "fields": {"items": [0, 64], "index": [64, 1]}}
C_STACK_REF = {"size": 16, "fields": {"ref": [0, 8], "next": [8, 8]}}  # pycore_structs.h, 3.14+


def schema():
    """([structure], {structure: [field]}, [constant]) in the order of the .def."""
    structs, fields, constants = [], {}, []
    with open(SCHEMA) as f:
        for line in f:
            m = re.match(r"PYGC_STRUCT\((\w+)\)", line)
            if m:
                structs.append(m.group(1))
                fields[m.group(1)] = []
            m = re.match(r"PYGC_FIELD\((\w+), (\w+), k\w+\)", line)
            if m:
                fields[m.group(1)].append(m.group(2))
            m = re.match(r"PYGC_CONSTANT\((\w+)\)", line)
            if m:
                constants.append(m.group(1))
    return structs, fields, constants


def candidates(structure):
    return STRUCT_NAMES.get(structure) or [structure, "_" + structure, "struct " + structure, "struct _" + structure]


# ---------------------------------------------------------------------------------------------------------------------------------
# From DWARF, through gdb

GDB_SCRIPT = r"""
import gdb, json
WANTED = json.load(open({wanted!r}))
out = {{}}
def flatten(t, base, prefix, into, depth):
    for f in t.fields():
        if not hasattr(f, "bitpos"):
            continue
        ft = f.type.strip_typedefs()
        if f.bitsize:
            size = ft.sizeof
            off = base + f.bitpos // 8 // size * size
        else:
            size = ft.sizeof if ft.sizeof < 1 << 40 else 0
            off = base + f.bitpos // 8
        if f.name is None:
            flatten(ft, off, prefix, into, depth)
            continue
        path = prefix + f.name
        into[path] = [off, size]
        if ft.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION) and depth < 4:
            flatten(ft, off, path + ".", into, depth + 1)
def is_object(t, depth=0):
    t = t.strip_typedefs()
    if t.code != gdb.TYPE_CODE_STRUCT or depth > 4:
        return False
    if t.tag in ("_object", "_typeobject"):
        return True
    fields = t.fields()
    return bool(fields) and fields[0].name in ("ob_base", "_base", "ob_refcnt") and (fields[0].name == "ob_refcnt" or is_object(fields[0].type, depth + 1))
def object_pointers(t, base, prefix, into, depth):
    for f in t.fields():
        if not hasattr(f, "bitpos") or f.bitsize:
            continue
        place(f.type.strip_typedefs(), base + f.bitpos // 8, prefix + (f.name or ""), into, depth)
def place(t, offset, path, into, depth):
    if t.code == gdb.TYPE_CODE_PTR:
        if is_object(t.target()):
            into.append([path, offset])
    elif t.code == gdb.TYPE_CODE_STRUCT and depth < 6 and not is_object(t):
        object_pointers(t, offset, path + "." if path else "", into, depth + 1)
    elif t.code == gdb.TYPE_CODE_ARRAY and depth < 6:
        low, high = t.range()
        element = t.target().strip_typedefs()
        for i in range(low, min(high, low + 1023) + 1):
            place(element, offset + i * element.sizeof, "%s[%d]" % (path, i), into, depth + 1)
def find(name, block):
    for n in ([name] if name.startswith("struct ") else [name, "struct " + name]):
        try:
            t = gdb.lookup_type(n, block) if block is not None else gdb.lookup_type(n)
        except gdb.error:
            continue
        s = t.strip_typedefs()
        try:
            fields = s.fields()
        except TypeError:
            continue
        if fields:
            return s
    return None
for key, names, anchor, member in WANTED:
    block = None
    if anchor:
        try:
            sym = gdb.lookup_static_symbol(anchor) or gdb.lookup_global_symbol(anchor)
            if sym is not None:
                block = sym.symtab.static_block()
        except gdb.error:
            pass
    for name in names:
        t = (find(name, block) if block is not None else None) or find(name, None)
        if t is not None and (member is None or any(f.name == member for f in t.fields())):
            fields = {{}}
            flatten(t, 0, "", fields, 0)
            out[key] = {{"size": t.sizeof if t.sizeof < 1 << 40 else 0, "fields": fields}}
            if key in {owners!r}:
                out[key]["pointers"] = []
                object_pointers(t, 0, "", out[key]["pointers"], 0)
            break
json.dump(out, open({output!r}, "w"))
"""


def from_dwarf(elf, wanted, debug_dir=None):
    """{schema structure: {size, fields: {path: [offset, size]}}} of one ELF file with debug information (inside or linked)."""
    with tempfile.TemporaryDirectory() as tmp:
        wanted_path, output, script = (os.path.join(tmp, n) for n in ("wanted.json", "out.json", "script.py"))
        with open(wanted_path, "w") as f:
            json.dump([(s, candidates(s), ANCHOR.get(s), TELLING_MEMBER.get(s)) for s in wanted], f)
        with open(script, "w") as f:
            f.write(GDB_SCRIPT.format(wanted=wanted_path, output=output, owners=OWNERS))
        command = ["gdb", "-nx", "-batch", "-ex", "set auto-load off"]
        if debug_dir:
            command += ["-ex", "set debug-file-directory " + debug_dir]
        command += ["-ex", "file " + elf, "-x", script]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
        if not os.path.exists(output):
            raise SystemExit("gen_layout: gdb gave nothing for %s:\n%s" % (elf, run.stdout.decode(errors="replace")))
        with open(output) as f:
            return json.load(f)


def has_section(elf, name):
    run = subprocess.run(["readelf", "-SW", elf], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return (" " + name + " ").encode() in run.stdout


def build_id(elf):
    run = subprocess.run(["readelf", "-n", elf], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    m = re.search(rb"Build ID: ([0-9a-f]+)", run.stdout)
    return m.group(1).decode() if m else ""


PROBE = r"""
import sys, os
def config(n):
    try:
        import sysconfig
        return sysconfig.get_config_var(n)
    except Exception:
        return None
maps = open("/proc/self/maps").read().split("\n")
files = []
for name in ("_collections", "_functools", "itertools", "_socket"):
    try:
        m = __import__(name)
        if getattr(m, "__file__", None): files.append(m.__file__)
    except ImportError: pass
core = sorted(set(l.split()[-1] for l in maps if "libpython" in l)) or [os.path.realpath(sys.executable)]
sys.stdout.write(repr({"hex": sys.hexversion, "debug": hasattr(sys, "gettotalrefcount"), "refs": hasattr(sys, "getobjects"),
  "threaded": bool(config("Py_GIL_DISABLED")), "core": core[0], "files": files, "text": sys.version}))
"""


def probe(python):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    run = subprocess.run([python, "-W", "ignore", "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, env=env, check=True)
    return eval(run.stdout.decode(), {"__builtins__": {}}, {"True": True, "False": False})  # our own repr


def debug_file(elf, debug_dirs):
    """(file to give gdb, debug directory): the file itself where it has DWARF, or linked by build-id; None where there is none."""
    if has_section(elf, ".debug_info"):
        return elf, None
    b = build_id(elf)
    for d in debug_dirs:
        if b and os.path.exists(os.path.join(d, ".build-id", b[:2], b[2:] + ".debug")):
            return elf, d
    return None


def derive_from_python(python, debug_dirs):
    """(info, structures) or (info, None) where the interpreter has no debug information."""
    info = probe(python)
    structs, _, _ = schema()
    source = debug_file(info["core"], debug_dirs)
    if source is None:
        return info, None
    found = from_dwarf(source[0], structs, source[1])
    for extra in info["files"]:
        missing = [s for s in structs if s not in found]
        source = debug_file(extra, debug_dirs)
        if source:
            for s, t in from_dwarf(source[0], missing, source[1]).items():
                found.setdefault(s, t)
    info["build_id"] = build_id(info["core"])
    return info, found


# ---------------------------------------------------------------------------------------------------------------------------------
# From JSON dumps: {C name: {size, fields: {path: {off, size, type}}}}

def from_json(paths):
    """Merged: a structure is taken whole from the first file that has it."""
    found = {}
    structs, _, _ = schema()
    for path in paths:
        with open(path) as f:
            data = json.load(f)
        for s in structs:
            if s in found:
                continue
            for name in candidates(s):
                t = data.get(name.replace("struct ", ""))
                if t and t["fields"]:
                    found[s] = {"size": t["size"] or 0, "fields": {p: [v["off"], v["size"] or 0] for p, v in t["fields"].items()}}
                    if s in OWNERS:
                        found[s]["pointers"] = pointers_of_json(t["fields"])
                    break
    return found


def pointers_of_json(fields):
    """[[path, offset]] of members that are pointers to objects, or arrays of such."""
    result = []
    for path, v in fields.items():
        m = re.match(r"(?:struct )?_?[Pp]y\w*[Oo]bject \*(?:\[(\d+)\])?$", v.get("type") or "")
        if m and m.group(1):
            result += [["%s[%d]" % (path, i), v["off"] + 8 * i] for i in range(min(int(m.group(1)), 1024))]
        elif m:
            result.append([path, v["off"]])
    return result


def from_layout(path):
    """The same out of a layout file, with its members' paths as the schema spells them."""
    found = {}
    with open(path) as f:
        for line in f:
            m = re.match(r"(\w+) (\d+)$", line.strip())
            if m:
                found[m.group(1)] = {"size": int(m.group(2)), "fields": {}, "spelled": True}
            m = re.match(r"(\w+)\.(\w+)  (\d+) (\d+)$", line.strip())
            if m:
                found[m.group(1)]["fields"][m.group(2)] = [int(m.group(3)), int(m.group(4))]
            m = re.match(r"owned (\w+) (\S+) (\d+) (\d+) (\d+)$", line.strip())
            if m:
                first, count, stride = (int(m.group(i)) for i in (3, 4, 5))
                found[m.group(1)].setdefault("pointers", []).extend([m.group(2), first + i * stride] for i in range(count))
    return found


def add_missing(found, other, free_threaded):
    """Structures of .c files that `found` (headers only) lacks, from another build of the series."""
    for s, t in other.items():
        if s in found or (free_threaded and (s.startswith("mi_") or s in ("PyGC_Head", "PyThreadStateImpl"))):
            continue
        shift = 16 if free_threaded and s not in NOT_OBJECTS else 0
        found[s] = dict(t, size=t["size"] + shift, fields={p: [o + shift if o >= 16 else o, z] for p, (o, z) in t["fields"].items()})


# ---------------------------------------------------------------------------------------------------------------------------------
# From headers

# Those that define what the schema names. Others are left out: some cannot be compiled alone.
HEADERS = """pycore_interp.h pycore_runtime.h pycore_tstate.h pycore_gc.h pycore_dict.h pycore_frame.h pycore_interpframe.h pycore_interpframe_structs.h
    pycore_object.h pycore_object_stack.h pycore_mimalloc.h pycore_pymem.h pycore_obmalloc.h pycore_freelist.h pycore_descrobject.h pycore_function.h
    pycore_code.h pycore_genobject.h pycore_typeobject.h pycore_context.h pycore_hamt.h pycore_namespace.h pycore_unionobject.h pycore_weakref.h
    pycore_list.h pycore_tuple.h pycore_moduleobject.h pycore_memoryobject.h pycore_brc.h pycore_stackref.h pycore_cell.h pycore_lock.h
    pycore_global_objects.h pycore_debug_offsets.h pycore_structs.h pycore_uniqueid.h""".split()


def from_headers(include, free_threaded):
    """(hexversion, structures) of the headers below `include` (.../include/pythonX.Y), compiled with debug information."""
    have = [h for h in HEADERS if os.path.exists(os.path.join(include, "internal", h))]
    with tempfile.TemporaryDirectory() as tmp:
        source, output = os.path.join(tmp, "all.c"), os.path.join(tmp, "all.o")
        with open(source, "w") as f:
            f.write("#define Py_BUILD_CORE 1\n%s#include \"Python.h\"\n#include \"structmember.h\"\n" % ("#define Py_GIL_DISABLED 1\n" if free_threaded else ""))
            f.writelines('#include "internal/%s"\n' % h for h in have)
            f.write("#include \"frameobject.h\"\nconst unsigned long version_of_headers = PY_VERSION_HEX;\n")
        # Debian's pyconfig.h is found by <x86_64-linux-gnu/pythonX.Y/pyconfig.h>.
        run = subprocess.run(["cc", "-c", "-g", "-w", "-fno-eliminate-unused-debug-types", "-I", include, "-I", os.path.join(include, "internal"),
                              "-I", os.path.join(include, "internal", "mimalloc"), "-I", os.path.dirname(include), "-o", output, source],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if run.returncode:
            raise SystemExit("gen_layout: the headers in %s cannot be compiled:\n%s" % (include, run.stdout.decode(errors="replace")[:2000]))
        structs, _, _ = schema()
        found = from_dwarf(output, structs)
        with open(os.path.join(include, "patchlevel.h")) as f:
            text = f.read()
        numbers = [int(re.search(r"#define %s\s+(\w+)" % n, text).group(1), 0) for n in ("PY_MAJOR_VERSION", "PY_MINOR_VERSION", "PY_MICRO_VERSION")]
        return numbers[0] << 24 | numbers[1] << 16 | numbers[2] << 8 | 0xF0, found


def command_headers(args):
    """Writes, or with --compare holds against the file that is there, the layout that a version's own headers give."""
    include = os.path.realpath(args.include)
    hexversion, found = from_headers(include, args.free_threaded)
    flavor = "free-threaded" if args.free_threaded else "default"
    name = file_name(hexversion, flavor, "")
    own, here = set(found), os.path.join(LAYOUTS, name)
    version = version_tuple(hexversion)
    if args.compare:
        with open(here) as f:
            stored = facts(f.read())
        new = facts("\n".join("%s.%s  %d %d" % (s, f, o, z) for s, _, fs in resolve(found) for f, o, z in fs))
        new.update({s: (str(z),) for s, z, _ in resolve(found)})
        different = [k for k in sorted(new) if k in stored and stored[k] != new[k]]
        for k in different:
            print("DIFFERS %s: file says %s, headers say %s" % (k, " ".join(stored[k]), " ".join(new[k])))
        print("%d facts of %d structures agree, %d differ: %s" % (len(new) - len(different), len(own), len(different), name))
        return 1 if different else 0
    series = [n for n in os.listdir(LAYOUTS) if n.startswith("cpython-%d.%d." % version[:2]) and n.endswith("-default-lp64.layout")]
    if not series:
        raise SystemExit("gen_layout: no default build of %d.%d is there to take the structures of .c files from" % version[:2])
    other = min(series, key=lambda n: abs(int(n.split("-")[1].split(".")[2]) - version[2]))
    add_missing(found, from_layout(os.path.join(LAYOUTS, other)), args.free_threaded)
    if args.free_threaded:
        for s, t in list(FREE_THREADED.items()) + ([("PyCStackRef", C_STACK_REF)] if version >= (3, 14, 0) else []):
            found.setdefault(s, t)
    derived = "headers of that version compiled%s; structures of .c files from %s%s" % (
        " with Py_GIL_DISABLED" if args.free_threaded else "", other.split("-")[1], ", shifted" if args.free_threaded else "")
    write(name, text_of(hexversion, flavor, "", found, args.source or "headers of CPython %s" % ".".join(map(str, version)), [], derived, False))
    return 0


# ---------------------------------------------------------------------------------------------------------------------------------
# Text

def resolve(found):
    """[(structure, size, [(field, offset, bytes)])] of what the schema names and the build has."""
    structs, fields, _ = schema()
    result = []
    for s in structs:
        if s not in found:
            continue
        paths = found[s]["fields"]
        normal = {}
        for p in paths:
            key = "_".join(part.lstrip("_") for part in p.split("."))
            normal.setdefault(key, p)
        rows = []
        for name in fields[s]:
            wanted = None if found[s].get("spelled") else FIELD_PATHS.get((s, name))
            path = next((p for p in wanted if p in paths), None) if wanted else normal.get(name)
            if path is None and s not in ("PyObject",):  # members of an embedded head or base
                path = next((p for p in paths if p.startswith(("ob_base.", "_base.")) and p.split(".")[-1] == name and wanted is None), None)
            if path is not None:
                rows.append((name, paths[path][0], paths[path][1]))
        result.append((s, found[s]["size"], rows))
    return result


def gather_free_lists(version, found):
    """Adds to `found` what FREE_LISTS says, of a build of 3.10 to 3.12."""
    state = found.get("PyInterpreterState")
    if state is None or version[:2] not in ((3, 10), (3, 11), (3, 12)) or "tuple.free_list" not in state["fields"]:
        return
    fields = state["fields"]
    # Those before the last other member in between are left out: 3.12 has float_state elsewhere.
    places = sorted((fields[m][0], fields[m][0] + fields[m][1], m) for m in FREE_LISTS if m in fields)
    others = [o for m, (o, _) in fields.items() if "." not in m and m not in FREE_LISTS]
    begin = min(b for b, _, _ in places if not any(b < o < places[-1][0] for o in others))
    state["fields"]["freelists"] = [begin, places[-1][1] - begin]
    lists = {name: [fields[path][0] - begin, fields[path][1]] for name, path in FREE_LIST_PATHS.items() if path in fields}
    if version[:2] == (3, 10):  # tuple.free_list[0] is the empty tuple, and owns it
        state.setdefault("pointers", []).append(["tuple.empty", fields["tuple.free_list"][0]])
        lists["tuples_items"] = [lists["tuples_items"][0] + 8, lists["tuples_items"][1] - 8]
    found["object_freelists"] = {"size": places[-1][1] - begin, "fields": lists}


def owned_members(pointers):
    """[(path, offset of the first, how many, bytes from one to the next)] of the members that own what they point to; arrays are one entry: path[]."""
    groups = {}
    for path, offset in sorted(pointers, key=lambda p: p[1]):
        if not NOT_OWNED.search(path):
            groups.setdefault(re.sub(r"^ast\.\w+$", "ast.*", re.sub(r"\[\d+\]", "[]", path)), []).append(offset)
    result = []
    for path, offsets in groups.items():
        while offsets:
            n = 1
            stride = offsets[1] - offsets[0] if len(offsets) > 1 else 8
            while n < len(offsets) and offsets[n] - offsets[n - 1] == stride:
                n += 1
            result.append((path, offsets[0], n, stride))
            offsets = offsets[n:]
    return sorted(result, key=lambda r: r[1])


def constants(version, free_threaded, rows, variant=""):
    """{constant: (value, where it stands in CPython's sources)} of a release. THE PLACE TO LOOK AT FOR A NEW RELEASE: three questions
    that no debug information answers are marked (1) - (3)."""
    v = version[:2]
    has = {s + "." + f: (o, z) for s, _, fs in rows for f, o, z in fs}
    sizes = {s: z for s, z, _ in rows}
    c = {}

    def put(name, value, source):
        c[name] = (value, source)

    # (1) The collector: Modules/gcmodule.c up to 3.12, Python/gc.c, Python/gc_free_threading.c; bits in pycore_gc.h.
    incremental = "gc_runtime_state.visited_space" in has and not free_threaded
    put("GC_COLLECTOR", 2 if free_threaded else 1 if incremental else 0, "Python/gc.c")
    if not free_threaded:
        if v >= (3, 8):
            put("GC_POINTER_MASK", -4, "pycore_gc.h: _PyGC_PREV_MASK")
            put("GC_NEXT_UNREACHABLE", 2 if incremental else 1, "Python/gc.c: NEXT_MASK_UNREACHABLE")
            if incremental:
                put("GC_NEXT_OLD_SPACE", 1, "pycore_gc.h: _PyGC_NEXT_MASK_OLD_SPACE_1")
            put("GC_PREV_FINALIZED", 1, "pycore_gc.h: _PyGC_PREV_MASK_FINALIZED")
            put("GC_PREV_COLLECTING", 2, "pycore_gc.h: _PyGC_PREV_MASK_COLLECTING")
            put("GC_PREV_REFS_SHIFT", 2, "pycore_gc.h: _PyGC_PREV_SHIFT")
        else:
            put("GC_POINTER_MASK", -1, "Include/objimpl.h: PyGC_Head")
            put("GC_REFS_SHIFT", 1 if v >= (3, 4) else 0, "Include/objimpl.h: _PyGC_REFS_SHIFT")
            if v >= (3, 4):
                put("GC_REFS_FINALIZED", 1, "Include/objimpl.h: _PyGC_REFS_MASK_FINALIZED")
            put("GC_REFS_UNTRACKED", -2, "Include/objimpl.h: _PyGC_REFS_UNTRACKED")
            put("GC_REFS_REACHABLE", -3, "Include/objimpl.h: _PyGC_REFS_REACHABLE")
            put("GC_REFS_TENTATIVELY_UNREACHABLE", -4, "Include/objimpl.h: _PyGC_REFS_TENTATIVELY_UNREACHABLE")
    else:
        for name, bit in (("TRACKED", 1), ("FINALIZED", 2), ("UNREACHABLE", 4), ("FROZEN", 8), ("DEFERRED", 64)):
            put("GC_BITS_" + name, bit, "pycore_gc.h: _PyGC_BITS_" + name)
    if has.get("gc_runtime_state.generation_stats", (0, 72))[1] == 8:
        put("GC_STATS_IS_POINTER", 1, "pycore_interp_structs.h: struct gc_stats")
    put("GC_DEFAULT_THRESHOLD0", 2000 if v >= (3, 13) else 700, "_PyGC_InitState")

    # Reference counts: Include/object.h, Include/refcount.h.
    put("REFCOUNT_FORMAT", 3 if free_threaded else 2 if v >= (3, 14) else 1 if v >= (3, 12) else 0, "Include/refcount.h: _Py_IsImmortal")
    if free_threaded:
        put("REF_SHARED_SHIFT", 2, "Include/refcount.h: _Py_REF_SHARED_SHIFT")
        if v >= (3, 14):
            put("REF_DEFERRED", 0x0FFFFFFFFFFFFFFF, "pycore_object_deferred.h: _Py_REF_DEFERRED")
        else:
            put("RULE_DEFERRED_HOLDS_ONE", 1, "Objects/object.c: _PyObject_SetDeferredRefcount")
        if v >= (3, 14):
            put("RULE_DELAYED_FREE_HOLDS_ONE", 1, "Objects/obmalloc.c: free_work_item")

    if v >= (3, 8):
        put("RULE_INSTANCES_OWN_HEAP_TYPE", 1, "Objects/object.c: _PyObject_Init")

    # tp_flags: Include/object.h.
    for name, bit in (("HEAPTYPE", 9), ("BASETYPE", 10), ("READY", 12), ("HAVE_GC", 14), ("LONG_SUBCLASS", 24), ("LIST_SUBCLASS", 25),
                      ("TUPLE_SUBCLASS", 26), ("BYTES_SUBCLASS", 27), ("UNICODE_SUBCLASS", 28), ("DICT_SUBCLASS", 29),
                      ("BASE_EXC_SUBCLASS", 30), ("TYPE_SUBCLASS", 31)):
        put("TPFLAGS_" + name, 1 << bit, "Include/object.h")
    if v >= (3, 4):
        put("TPFLAGS_HAVE_FINALIZE", 1, "Include/object.h: Py_TPFLAGS_HAVE_FINALIZE")
    if v >= (3, 10):
        put("TPFLAGS_IMMUTABLETYPE", 1 << 8, "Include/object.h")
    if v >= (3, 11):
        put("TPFLAGS_MANAGED_DICT", 1 << 4, "Include/cpython/object.h: Py_TPFLAGS_MANAGED_DICT")
        put("TPFLAGS_PREHEADER", 0x10 if v == (3, 11) else 0x18, "pycore_object.h: _PyType_PreHeaderSize")
        put("PREHEADER_BYTES", 16, "pycore_object.h: _PyType_PreHeaderSize")
    if v >= (3, 12):
        put("TPFLAGS_STATIC_BUILTIN", 1 << 1, "Include/object.h: _Py_TPFLAGS_STATIC_BUILTIN")
        put("TPFLAGS_MANAGED_WEAKREF", 1 << 3, "Include/object.h: Py_TPFLAGS_MANAGED_WEAKREF")
        put("TPFLAGS_ITEMS_AT_END", 1 << 23, "Include/object.h: Py_TPFLAGS_ITEMS_AT_END")
    if v >= (3, 13):
        put("TPFLAGS_INLINE_VALUES", 1 << 2, "Include/object.h: Py_TPFLAGS_INLINE_VALUES")
    if v < (3, 0):
        put("TPFLAGS_HAVE_CLASS", 1 << 8, "Include/object.h: Py_TPFLAGS_HAVE_CLASS")
        put("TPFLAGS_HAVE_WEAKREFS", 1 << 6, "Include/object.h: Py_TPFLAGS_HAVE_WEAKREFS")
        put("TPFLAGS_INT_SUBCLASS", 1 << 23, "Include/object.h: Py_TPFLAGS_INT_SUBCLASS")
    if v >= (3, 9):
        put("METH_METHOD", 0x200, "Include/cpython/methodobject.h")
    put("T_OBJECT", 6, "Include/structmember.h, Include/descrobject.h: _Py_T_OBJECT")
    put("T_OBJECT_EX", 16, "Include/structmember.h, Include/descrobject.h: Py_T_OBJECT_EX")
    if v >= (3, 15):
        put("MEMBER_AFTER_ITEMS", 1 << 4, "Include/descrobject.h: _Py_AFTER_ITEMS")

    # Attributes of instances: Objects/typeobject.c subtype_traverse, pycore_object.h MANAGED_DICT_OFFSET, MANAGED_WEAKREF_OFFSET.
    if v >= (3, 11):
        put("MANAGED_DICT_OFFSET", -8 if free_threaded else -24, "pycore_object.h: MANAGED_DICT_OFFSET")
    if v == (3, 11):
        put("MANAGED_VALUES_OFFSET", -32, "pycore_object.h: _PyObject_ValuesPointer")
    if v >= (3, 12):
        put("MANAGED_WEAKREF_OFFSET", -16 if free_threaded else -32, "pycore_object.h: MANAGED_WEAKREF_OFFSET")
    if v == (3, 12):
        put("MANAGED_DICT_TAG_VALUES", 1, "pycore_object.h: PyDictOrValues")
    if v >= (3, 13):
        put("RULE_INLINE_VALUES_AT", 1 if v == (3, 13) else 2, "pycore_object.h: _PyObject_InlineValues")

    # (2) What tp_traverse functions visit: Objects/dictobject.c dict_traverse, PyObject_VisitManagedDict; typeobject.c; genobject.c; ...
    if v < (3, 0):
        put("RULE_DICT_VISITS_KEYS_ALWAYS", 1, "Objects/dictobject.c: dict_traverse")
    elif v <= (3, 10):
        put("RULE_DICT_VISITS_KEYS_BY_LOOKDICT", 1, "Objects/dictobject.c: dict_traverse")
    else:
        put("RULE_DICT_VISITS_KEYS_BY_KIND", 1, "Objects/dictobject.c: dict_traverse")
        put("DICT_KEYS_GENERAL", 0, "pycore_dict.h: DictKeysKind")
        put("DICT_KEYS_UNICODE", 1, "pycore_dict.h: DictKeysKind")
        put("DICT_KEYS_SPLIT", 2, "pycore_dict.h: DictKeysKind")
    if v >= (3, 13):  # gh-130327
        if version >= (3, 15, 0) or (v == (3, 14) and version >= (3, 14, 4)) or (v == (3, 13) and version >= (3, 13, 13)) or variant == "debian":
            put("RULE_MANAGED_DICT_PREFERS_DICT", 1, "Objects/dictobject.c: PyObject_VisitManagedDict")
        else:
            put("RULE_DICT_SKIPS_EMBEDDED_VALUES", 1, "Objects/dictobject.c: dict_traverse")
    if v <= (3, 8):
        put("RULE_HEAP_TYPE_VISITED_ALWAYS", 1, "Objects/typeobject.c: subtype_traverse")
    else:
        put("RULE_HEAP_TYPE_VISITED_UNLESS_BASE_DOES", 1, "Objects/typeobject.c: subtype_traverse")
        put("RULE_STRUCTSEQ_VISITS_TYPE", 1, "Objects/structseq.c: structseq_traverse")
        put("RULE_MODULE_STATE_NEEDS_STATE", 1, "Objects/moduleobject.c: module_traverse")
    if v >= (3, 10):
        put("RULE_PARTIAL_VISITS_TYPE", 1, "Modules/_functoolsmodule.c: partial_traverse")
    if v >= (3, 12):
        put("RULE_DEQUE_VISITS_TYPE", 1, "Modules/_collectionsmodule.c: deque_traverse")
    if v in ((3, 5), (3, 6)) or (3, 7) <= tuple(version[:3]) < (3, 7, 7) or (3, 8) <= tuple(version[:3]) < (3, 8, 3):  # bpo-39778
        put("RULE_ODICT_VISITS_WEAKREFLIST", 1, "Objects/odictobject.c: odict_traverse")
    if v >= (3, 14):
        put("RULE_GEN_CLEARED_VISITS_EXECUTABLE", 1, "Objects/genobject.c: gen_traverse")
    if v >= (3, 11):
        put("RULE_FRAME_OBJECT_OWNS_WHEN", 2, "Objects/frameobject.c: frame_traverse")
    if free_threaded:
        put("RULE_CODE_IS_GC", 1, "Objects/codeobject.c: code_traverse")
    if (3, 4) <= v <= (3, 7):
        put("RULE_FINALIZE_NEEDS_FLAG", 1, "Modules/gcmodule.c: finalize_garbage")
    if v < (3, 0):
        put("RULE_LEGACY_DEL", 1, "Modules/gcmodule.c: has_finalizer")
        put("GEN_BLOCK_SETUP_LOOP", 120, "Include/opcode.h: SETUP_LOOP; Objects/genobject.c: PyGen_NeedsFinalizing")
    if v == (3, 12):
        put("RULE_IMMORTAL_TO_PERMANENT", 1, "Modules/gcmodule.c: update_refs")
    elif v >= (3, 13):
        put("RULE_IMMORTAL_UNTRACKED", 1, "Python/gc.c: update_refs")
    if free_threaded:
        put("RULE_COLLECTOR_UNTRACKS_TUPLES", 1, "Python/gc_free_threading.c: update_refs")
        if v == (3, 13):
            put("RULE_COLLECTOR_UNTRACKS_DICTS", 1, "Python/gc_free_threading.c: update_refs")
    put("RULE_TYPE_VISITS_BASE", 1, "Objects/typeobject.c: type_traverse")
    if v >= (3, 6):
        put("RULE_ASYNC_GEN_VISITS_FINALIZER", 1, "Objects/genobject.c: async_gen_traverse")

    # (3) Numbers of frames: pycore_frame.h _framestate and _frameowner (3.10: Include/cpython/frameobject.h); pycore_stackref.h tags.
    states = {}
    if v == (3, 10) or v == (3, 11) or v == (3, 12):
        states = {"CREATED": -2, "SUSPENDED": -1, "EXECUTING": 0, "CLEARED": 4}
        if v >= (3, 11):
            states["COMPLETED"] = 1
    elif v in ((3, 13), (3, 14)):
        states = {"CREATED": -3, "SUSPENDED": -2, "SUSPENDED_YIELD_FROM": -1, "EXECUTING": 0, "COMPLETED": 1, "CLEARED": 4}
    elif v >= (3, 15):
        states = {"CREATED": 0, "SUSPENDED": 1, "SUSPENDED_YIELD_FROM": 2, "SUSPENDED_YIELD_FROM_LOCKED": 3, "EXECUTING": 4, "CLEARED": 5}
    for name, value in states.items():
        put("FRAME_" + name, value, "pycore_frame.h: _framestate")
    if v >= (3, 11):
        put("FRAME_OWNED_BY_THREAD", 0, "pycore_frame.h: _frameowner")
        put("FRAME_OWNED_BY_GENERATOR", 1, "pycore_frame.h: _frameowner")
        put("FRAME_OWNED_BY_FRAME_OBJECT", 2, "pycore_frame.h: _frameowner")
    if v >= (3, 14):
        put("FRAME_OWNED_BY_INTERPRETER", 3, "pycore_frame.h: _frameowner")
    if v in ((3, 12), (3, 13)):
        put("FRAME_OWNED_BY_CSTACK", 3, "pycore_frame.h: _frameowner")
    elif v == (3, 14):
        put("FRAME_OWNED_BY_CSTACK", 4, "pycore_frame.h: _frameowner")
    if v >= (3, 12):
        put("FRAME_OWNER_ENTRY", 3, "pycore_frame.h: _frameowner")
    if v >= (3, 14):
        put("STACKREF_TAGGED", 1, "pycore_stackref.h")
        put("STACKREF_TAG_MASK", 3, "pycore_stackref.h: Py_TAG_BITS")
        put("STACKREF_TAG_BORROWED", 1, "pycore_stackref.h: Py_TAG_REFCNT")
        put("STACKREF_TAG_INT", 3, "pycore_stackref.h: Py_INT_TAG")

    # Texts, numbers, line tables.
    put("LINETABLE_FORMAT", 0 if v <= (3, 9) else 1 if v == (3, 10) else 2, "Objects/lnotab_notes.txt, Objects/locations.md")
    if v <= (3, 10):
        put("LASTI_UNIT_BYTES", 2 if v == (3, 10) else 1, "Include/cpython/frameobject.h: f_lasti")
    if v >= (3, 3):
        wide = free_threaded and v >= (3, 14)
        put("UNICODE_INTERNED_SHIFT", 0, "Include/cpython/unicodeobject.h: PyASCIIObject.state")
        put("UNICODE_INTERNED_MASK", 255 if wide else 3, "the same")
        put("UNICODE_KIND_SHIFT", 8 if wide else 2, "the same")
        put("UNICODE_COMPACT_SHIFT", 11 if wide else 5, "the same")
        put("UNICODE_ASCII_SHIFT", 12 if wide else 6, "the same")
    digit = has.get("PyLongObject.ob_digit", (0, 4))[1]
    put("INT_DIGIT_BITS", 15 if digit == 2 else 30, "Include/cpython/longintrepr.h: PyLong_SHIFT")
    if v >= (3, 12):
        put("INT_TAG_DIGITS_SHIFT", 3, "pycore_long.h: NON_SIZE_BITS")
    if v >= (3, 11):
        for name, bit in (("LOCAL", 0x20), ("CELL", 0x40), ("FREE", 0x80)) + ((("HIDDEN", 0x10),) if v >= (3, 12) else ()):
            put("CO_KIND_" + name, bit, "pycore_code.h: CO_FAST_" + name)

    # Allocators.
    put("OBMALLOC_ARENA_BYTES", 1 << 20 if v >= (3, 10) else 256 << 10, "pycore_obmalloc.h, Objects/obmalloc.c: ARENA_BITS")
    put("OBMALLOC_POOL_BYTES", 16 << 10 if v >= (3, 10) else 4 << 10, "pycore_obmalloc.h, Objects/obmalloc.c: POOL_BITS")
    put("OBMALLOC_ALIGNMENT", 16, "pycore_obmalloc.h, Objects/obmalloc.c: ALIGNMENT")
    if v >= (3, 13):
        put("OBMALLOC_IS_POINTER", 1, "pycore_interp.h: PyInterpreterState.obmalloc")
    put("DEBUG_ALLOC_HEADER_BYTES", 16, "Objects/obmalloc.c: _PyMem_DebugRawAlloc")
    if "mi_page" in sizes:
        new = "mi_page.page_start" in has
        put("MIMALLOC_VERSION", 20502 if new else 20102, "Include/internal/mimalloc/mimalloc.h: MI_MALLOC_VERSION")
        if not new:
            put("MI_PAGE_TAG_SHIFT", 3, "mimalloc/types.h: mi_page_s.tag")
        put("MI_SEGMENT_BYTES", 32 << 20, "mimalloc/types.h: MI_SEGMENT_SIZE")
        put("MI_SLICE_BYTES", 64 << 10, "mimalloc/types.h: MI_SEGMENT_SLICE_SIZE")
        put("MI_QUEUES", 75, "mimalloc/types.h: MI_BIN_FULL + 1")
    if v >= (3, 15):
        put("TRACEMALLOC_C_FILE_NAMES", 1, "pycore_tracemalloc.h: struct tracemalloc_frame")
    return c


def version_tuple(hexversion):
    return (hexversion >> 24, (hexversion >> 16) & 255, (hexversion >> 8) & 255)


def text_of(hexversion, flavor, variant, found, source, build_ids, derived, tried):
    """The layout file's text. Only lines that Parse reads, and comments."""
    if flavor.startswith("free-threaded"):
        found = {s: t for s, t in found.items() if s != "PyGC_Head"}  # declared there too, but no object has one
    else:
        found = {s: t for s, t in found.items() if s not in FREE_THREADED and s != "PyCStackRef"}  # declared there too, but not in use
    version = version_tuple(hexversion)
    gather_free_lists(version, found)
    rows = resolve(found)
    lines = ["# Layout of CPython %d.%d.%d%s. Made by scripts/gen_layout.py; do not edit, derive it again." % (version + (" " + variant if variant else "",))]
    lines.append("version 0x%08x" % hexversion)
    lines.append("flavor " + flavor)
    if variant:
        lines.append("variant " + variant)
    lines.append("source " + source)
    for b in build_ids:
        if b:
            lines.append("build-id " + b)
    lines.append("derived " + derived)
    lines.append("tried " + ("yes" if tried else "no"))
    for s, size, fields in rows:
        lines.append("")
        lines.append("%s %d" % (s, size))
        for name, offset, width in fields:
            lines.append("%s.%s  %d %d" % (s, name, offset, width))
        lines += ["owned %s %s %d %d %d" % (s, path, offset, count, stride) for path, offset, count, stride in owned_members(found[s].get("pointers", []))]
    lines.append("")
    values = constants(version, flavor.startswith("free-threaded"), rows, variant)
    _, _, order = schema()
    for name in order:
        if name in values:
            lines.append("%s = %d  # %s" % (name, values[name][0], values[name][1]))
    unknown = set(values) - set(order)
    if unknown:
        raise SystemExit("gen_layout: constants that the schema does not name: %s" % ", ".join(sorted(unknown)))
    return "\n".join(lines) + "\n"


def flavor_of(info):
    text = "free-threaded" if info["threaded"] else "default"
    if info["debug"]:
        text += " debug"
    if info["refs"] and version_tuple(info["hex"]) < (3, 13, 0):
        text += " trace-refs"
    return text


def file_name(hexversion, flavor, variant):
    serial = {0xA: "a", 0xB: "b", 0xC: "rc"}.get((hexversion >> 4) & 15)
    version = "%d.%d.%d" % version_tuple(hexversion) + (serial + str(hexversion & 15) if serial else "")
    return "cpython-%s%s-%s-lp64.layout" % (version, "-" + variant if variant else "", flavor.replace(" ", "-"))


def variant_of(hexversion, found):
    """debian where the patched PyGC_Head puts the generation heads 4 bytes lower than the declaration says."""
    places = {f: o for s, _, fs in resolve(found) if s == "gc_runtime_state" for f, o, _ in fs}
    return "debian" if places.get("generations") == 20 and version_tuple(hexversion)[:2] == (3, 13) else ""


# ---------------------------------------------------------------------------------------------------------------------------------
# Builds that cannot be had: file -> (version, flavor, variant, JSON files in order, where C-file structures come from, derived)

# "file" in place of a JSON name takes a layout file that was derived from DWARF.
RECIPES = [
    (0x030B02F0, "default", "", [], "3.11.2-default-debug", "DWARF of Debian's debug build of that version; 3.11.7 has the same offsets", True),
    (0x030D05F0, "default", "", ["u3.13.5", "3.13"], "3.13.0-default", "headers of that version compiled; structures of .c files from 3.13.0", False),
    (0x030D0DF0, "default", "", ["u3.13.15", "3.13"], "3.13.0-default",
     "headers of 3.13.15 compiled (3.13.13 is the first release with gh-130327); structures of .c files from 3.13.0", False),
    (0x030D0FF0, "default", "", ["u3.13.15", "3.13"], "3.13.0-default", "headers of that version compiled; structures of .c files from 3.13.0", False),
    (0x030D12F0, "default", "debian", ["u3.13.18", "deb3.13"], "3.13.5-debian-default",
     "Debian's headers of that version compiled; structures of .c files from 3.13.5", False),
    (0x030E00F0, "default", "", ["deb3.14.0"], "3.14.10-default", "DWARF of Ubuntu's build", False),
    (0x030E04F0, "default", "", ["deb3.14.4"], "3.14.10-default", "DWARF of Ubuntu's build", False),
    (0x030E05F0, "default", "", ["u3.14.5", "deb3.14"], "3.14.10-default", "headers of that version compiled; structures of .c files from 3.14.10", False),
    (0x030E08F0, "default", "", ["u3.14.8", "deb3.14"], "3.14.10-default", "headers of that version compiled; structures of .c files from 3.14.10", False),
    (0x030F00F0, "default", "", ["u3.15.0", "deb3.15"], "3.15.2-default", "headers of that version compiled; structures of .c files from 3.15.2", False),
] + [(h, "free-threaded", "", [j], o, "headers of that version compiled; structures of .c files from %s, shifted" % o.split("-")[0], False) for h, j, o in (
    (0x030D0FF0, "u3.13.15t", "3.13.0-default"), (0x030D12F0, "u3.13.18t", "3.13.0-default"),
    (0x030E00F0, "u3.14.0t", "3.14.0-default"), (0x030E04F0, "u3.14.4t", "3.14.4-default"), (0x030E05F0, "u3.14.5t", "3.14.10-default"),
    (0x030E08F0, "u3.14.8t", "3.14.10-default"), (0x030F00F0, "u3.15.0t", "3.15.2-default"))]


def command_json(args):
    """Writes the files of RECIPES: builds that cannot be had."""
    for hexversion, flavor, variant, files, other, derived, tried in RECIPES:
        free_threaded = flavor.startswith("free-threaded")
        found = from_json([os.path.join(args.dir, f + ".json") for f in files[:1]])
        for f in files[1:]:
            add_missing(found, from_json([os.path.join(args.dir, f + ".json")]), free_threaded)
        if free_threaded and version_tuple(hexversion) >= (3, 15, 0):
            found.update({s: GC_STATS_BUFFER for s in ("gc_young_stats_buffer", "gc_old_stats_buffer")})
        add_missing(found, from_layout(os.path.join(LAYOUTS, "cpython-%s-lp64.layout" % other)), free_threaded)
        if free_threaded:
            for s, t in list(FREE_THREADED.items()) + ([("PyCStackRef", C_STACK_REF)] if version_tuple(hexversion) >= (3, 14, 0) else []):
                found.setdefault(s, t)
        source = "struct layouts dumped as JSON: " + ", ".join(files) if files else "layout of " + other
        write(file_name(hexversion, flavor, variant), text_of(hexversion, flavor, variant, found, source, [], derived, tried))


def write(name, text):
    """Writes a file of layouts/. Where one is there with the same facts, its build-ids stay: several builds may share a layout."""
    os.makedirs(LAYOUTS, exist_ok=True)
    place = os.path.join(LAYOUTS, name)
    if os.path.exists(place):
        with open(place) as f:
            old = f.read()
        if facts(old) == facts(text):
            ids = [line for line in old.split("\n") if line.startswith("build-id ") and line not in text]
            text = text.replace("\nderived ", "".join("\n" + i for i in ids) + "\nderived ", 1)
    with open(place, "w") as f:
        f.write(text)
    print("wrote core/cpython/layouts/" + name)


def layout_of_python(python, debug_dirs):
    """(file name, text) or (None, why not)."""
    info, found = derive_from_python(python, debug_dirs)
    if found is None:
        return None, "no debug information for " + os.path.basename(info["core"])
    variant = variant_of(info["hex"], found)
    flavor = flavor_of(info)
    core = os.path.basename(info["core"])
    text = text_of(info["hex"], flavor, variant, found, "DWARF of %s, %s" % (core, info["text"].split("[")[0].strip()), [info["build_id"]],
                   "from DWARF by gdb", True)
    return file_name(info["hex"], flavor, variant), text


def command_write(args):
    targets = [(p, args.debug_dir) for p in args.python or []]
    if args.found:
        targets += [(p, d) for p, d, _ in interpreters()]
    if not targets:
        raise SystemExit("gen_layout: give --python PATH or --found")
    for python, debug_dirs in targets:
        name, text = layout_of_python(python, debug_dirs)
        if name is None and args.found:
            print("skipped %s: %s" % (python, text))
        elif name is None:
            raise SystemExit("gen_layout: %s: %s; install its debug package, or give --debug-dir" % (python, text))
        else:
            write(name, text)


def interpreters():
    """[(path, [debug directories])] of what this machine has, through scripts/interpreters."""
    tool = os.path.join(ROOT, "scripts", "interpreters")
    run = subprocess.run([sys.executable, tool, "list", "--json"], stdout=subprocess.PIPE)
    listed = json.loads(run.stdout.decode())
    found = listed["interpreters"]
    everywhere = sorted(glob.glob(os.path.join(listed["cache"], "roots", "*", "usr", "lib", "debug"))) + ["/usr/lib/debug"]
    return [(i["path"], [i["debug_dir"]] if i.get("debug_dir") else everywhere, i["name"]) for i in found]


def facts(text):
    """What a layout text says, without the header: {name: numbers}."""
    result = {}
    for line in text.split("\n"):
        line = line.split("#")[0].strip()
        words = line.split()
        if words and words[0] == "owned":
            words = [" ".join(words[:4])] + words[4:]
        if not words or words[0] in ("source", "build-id", "derived", "tried", "version", "flavor", "variant"):
            continue
        result[words[0]] = tuple(w for w in words[1:] if w != "=")
    return result


def command_check(args):
    """0 where every layout file of a build found here says what its DWARF says; 1 otherwise. Names what could not be checked."""
    bad, checked = 0, set()
    for path, debug_dirs, name in interpreters():
        file, text = layout_of_python(path, debug_dirs)
        if file is None:
            print("%-22s skipped: %s" % (name, text))
            continue
        place = os.path.join(LAYOUTS, file)
        command = "scripts/gen_layout.py write --python %s%s" % (path, "".join(" --debug-dir " + d for d in debug_dirs if os.path.isdir(d)))
        if not os.path.exists(place):
            print("%-22s NO FILE %s; derive it: %s" % (name, file, command))
            bad += 1
            continue
        with open(place) as f:
            stored_text = f.read()
        stored, new = facts(stored_text), facts(text)
        checked.add(file)
        # A structure that a build does not describe (a module of its own without debug information) cannot be compared.
        comparable = [k for k in sorted(set(stored) | set(new)) if k in new or "=" in k or k.split(".")[0] in new]
        different = [k for k in comparable if stored.get(k) != new.get(k)]
        for k in different[:20]:
            print("%-22s DIFFERS %s: file says %s, build says %s" % (name, k, " ".join(stored.get(k, ("nothing",))), " ".join(new.get(k, ("nothing",)))))
        if different:
            print("%-22s %d of %d facts of %s differ; derive it again: %s" % (name, len(different), len(comparable), file, command))
            bad += 1
        else:
            print("%-22s %d facts agree with %s" % (name, len(comparable), file))
    for p in sorted(glob.glob(os.path.join(LAYOUTS, "*.layout"))):
        if os.path.basename(p) not in checked:
            print("%-22s not checked: no such build here" % os.path.basename(p)[:-len(".layout")])
    return 1 if bad else 0


def command_rules(args):
    version = tuple(int(x) for x in args.version.split("."))
    for name, (value, source) in constants(version, args.free_threaded, [], "").items():
        print("%s = %d  # %s" % (name, value, source))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="the same as check")
    sub = parser.add_subparsers(dest="command")
    p = sub.add_parser("write", help="derive from an interpreter's DWARF")
    p.add_argument("--python", action="append", help="the interpreter; may be given again")
    p.add_argument("--found", action="store_true", help="every interpreter that scripts/interpreters lists")
    p.add_argument("--debug-dir", action="append", default=["/usr/lib/debug"], help="where .build-id/xx/yyy.debug files are")
    p = sub.add_parser("headers", help="derive from the headers of a version whose build cannot be had")
    p.add_argument("--include", required=True, help="the folder with Python.h, as a -dev package has it: .../include/python3.14")
    p.add_argument("--free-threaded", action="store_true")
    p.add_argument("--source", help="what stands in the file as where it comes from: package and version")
    p.add_argument("--compare", action="store_true", help="write nothing: compare with the file that is there")
    p = sub.add_parser("json", help="derive from JSON dumps")
    p.add_argument("--dir", required=True)
    sub.add_parser("check", help="re-derive and compare")
    p = sub.add_parser("rules", help="constants of a version")
    p.add_argument("version")
    p.add_argument("--free-threaded", action="store_true")
    args = parser.parse_args()
    if args.check or args.command == "check":
        return command_check(args)
    if args.command is None:
        parser.error("say write, check, json or rules")
    return {"write": command_write, "headers": command_headers, "json": command_json, "rules": command_rules}[args.command](args)


if __name__ == "__main__":
    sys.exit(main())
