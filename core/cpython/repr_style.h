// How the wording of repr() changed over the releases: what no structure and no debug information says.
#pragma once

#include "core/cpython/version.h"

namespace pygc::cpython {

struct ReprStyle {
  bool python2 = false;             // 123L, u'x', set([1]), <type 'int'>
  bool exception_comma = false;     // ValueError('x',): up to 3.6. BaseException_repr(), Objects/exceptions.c
  bool timedelta_keywords = false;  // timedelta(days=1): from 3.7 on. delta_repr(), Modules/_datetimemodule.c
  bool frame_place = false;         // <frame at 0x1, file 'x', line 1, code f>: from 3.7 on. frame_repr(), Objects/frameobject.c
  bool wraps_staticmethod = false;  // <staticmethod(...)>: from 3.10 on. sm_repr(), Objects/funcobject.c
  bool loader_repr = false;         // <module 'x' (built-in)> by its loader's module_repr(), where it has no spec: up to 3.11. _module_repr(), Lib/importlib/_bootstrap.py
  bool loader_repr_first = false;   // ... also where it has one: up to 3.9
  bool namespace_path = false;      // <module 'x' (namespace) from ['/srv/x']>: from 3.12 on. _module_repr_from_spec(), the same file
  bool sorted_namespace = false;    // namespace(a=1, b=2) by name: up to 3.8. namespace_repr(), Objects/namespaceobject.c
  bool odict_pairs = false;         // OrderedDict([('a', 1)]): up to 3.11. odict_repr(), Objects/odictobject.c
  bool own_names = false;           // C(5) of a class C(itertools.count): from 3.7 on, before count(5); bytearray, deque, defaultdict, repeat too (bpo-27541)
  bool weakref_special = false;     // <weakref at 0x1; to 'A' at 0x2 (name)>: __name__ of the type's, not of the object's, from 3.11.4 on (gh-99184). weakref_repr(), Objects/weakrefobject.c
  bool weakref_qualified = false;   // to 'app.f.<locals>.A': from 3.13 on, before to 'A'. The same; PyType_GetFullyQualifiedName(), Objects/typeobject.c
  bool partial_module = false;      // app.P(...) of a class P(functools.partial): from 3.13 on, before P(...). partial_repr(), Modules/_functoolsmodule.c
  bool names_none_type = false;     // list[NoneType]: up to 3.13; then list[None]. _Py_typing_type_repr(), Objects/typevarobject.c
  bool alias_lists = false;         // Alias[[int], str] writes the list's items as types: from 3.12 on. ga_repr(), Objects/genericaliasobject.c
  bool names_flags = false;         // <flag 'Perm'>: from 3.11 on. EnumType.__repr__, Lib/enum.py
  bool flag_bits_always = false;    // <Mode.AB|1: 3> where AB has the bit too: up to 3.8. _decompose(), Lib/enum.py
  bool own_file_names = false;      // <Own name='f' mode='rb'> of a class Own(io.FileIO), of one of io.TextIOWrapper: from 3.13 on, before <_io.FileIO ...>. fileio_repr(), Modules/_io/fileio.c
  bool file_truncates = false;      // <_io.FileIO name='f' mode='wb+'>, which before was rb+: from 3.15 on, by a bit of its own before `closefd`. mode_string(), struct fileio, the same file
  bool socket_names = false;        // family=AddressFamily.AF_INET: up to 3.10, then family=2. IntEnum.__str__, Lib/enum.py
  bool bytearray_escapes = false;   // bytearray(b"\'"): also between double quotes, up to 3.14. bytearray_repr(), Objects/bytearrayobject.c
  bool shared_descriptors = false;  // <slot wrapper '__init__'>: of object, without its name, from 3.15 on. descr_repr(), Objects/descrobject.c
};

[[nodiscard]] ReprStyle ReprStyleOf(PythonVersion version) noexcept;

}  // namespace pygc::cpython
