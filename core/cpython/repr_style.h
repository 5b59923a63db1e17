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
  bool odict_pairs = false;         // OrderedDict([('a', 1)]): up to 3.11. odict_repr(), Objects/odictobject.c
  bool iterator_names = false;      // C(5) of a class C(itertools.count): from 3.7 on, before count(5). count_repr(), repeat_repr(), Modules/itertoolsmodule.c
  bool names_none_type = false;     // list[NoneType]: up to 3.13; then list[None]. _Py_typing_type_repr(), Objects/typevarobject.c
  bool alias_lists = false;         // Alias[[int], str] writes the list's items as types: from 3.12 on. ga_repr(), Objects/genericaliasobject.c
  bool names_flags = false;         // <flag 'Perm'>: from 3.11 on. EnumType.__repr__, Lib/enum.py
  bool bytearray_escapes = false;   // bytearray(b"\'"): also between double quotes, up to 3.14. bytearray_repr(), Objects/bytearrayobject.c
  bool shared_getset = false;       // <attribute '__dict__'>: one for all classes, from 3.15 on. descr_repr(), Objects/descrobject.c
};

[[nodiscard]] ReprStyle ReprStyleOf(PythonVersion version) noexcept;

}  // namespace pygc::cpython
