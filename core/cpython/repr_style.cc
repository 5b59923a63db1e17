#include "core/cpython/repr_style.h"

namespace pygc::cpython {

ReprStyle ReprStyleOf(PythonVersion v) noexcept {
  const auto since = [&v](unsigned minor) { return v.major > 3 || (v.major == 3 && v.minor >= minor); };
  ReprStyle style;
  style.python2 = v.major < 3;
  style.exception_comma = !since(7);
  style.timedelta_keywords = since(7);
  style.frame_place = since(7);
  style.wraps_staticmethod = since(10);
  style.own_names = since(7);
  style.weakref_special = v.major == 3 && v >= PythonVersion{3, 11, 4, 0, 0};
  style.weakref_qualified = since(13);
  style.partial_module = since(13);
  style.names_none_type = !since(14);
  style.alias_lists = since(12);
  style.names_flags = since(11);
  style.flag_bits_always = !since(9);
  style.loader_repr = !since(12);
  style.loader_repr_first = !since(10);
  style.namespace_path = since(12);
  style.sorted_namespace = !since(9);
  style.odict_pairs = !since(12);
  style.own_file_names = since(13);
  style.file_truncates = since(15);
  style.socket_names = !since(11);
  style.bytearray_escapes = !since(15);
  style.shared_descriptors = since(15);
  return style;
}

}  // namespace pygc::cpython
