// Offsets and rules that the readers of objects use, copied once from the Layout into plain integers: the hot loops read this one struct, not the Layout.
// kNoField stands for "this release has no such field". No version number is compared here: what a release does is asked of the Layout.
#pragma once

#include <cstdint>

#include "core/cpython/layout.h"

namespace pygc::objects {

inline constexpr std::uint32_t kNoField = 0xFFFFFFFFu;

struct Offsets {
  explicit Offsets(const cpython::Layout& layout);

  static constexpr std::uint32_t kPointerBytes = 8;

  // Object heads
  std::uint32_t object_size, ob_refcnt, ob_type, ob_size;
  // Types
  std::uint32_t type_size, tp_name, tp_basicsize, tp_itemsize, tp_dealloc, tp_flags, tp_traverse, tp_weaklistoffset, tp_members, tp_base, tp_dict, tp_dictoffset,
      tp_is_gc, tp_bases, tp_mro, tp_subclasses, tp_del, tp_finalize;
  std::uint32_t heap_type_size, ht_name, ht_qualname, ht_cached_keys;
  std::uint32_t member_size, member_name, member_type, member_offset, member_flags;
  // list, tuple, set
  std::uint32_t list_size, list_item, list_allocated;
  std::uint32_t tuple_item;
  std::uint32_t set_size, set_fill, set_used, set_mask, set_table, set_smalltable, setentry_size, setentry_key, setentry_hash;
  // dict
  std::uint32_t dict_size, ma_used, ma_keys, ma_values;
  std::uint32_t ma_fill, ma_mask, ma_table, ma_smalltable, old_entry_size, old_entry_key, old_entry_value;  // 2.7
  std::uint32_t dk_refcnt, dk_size, dk_lookup, dk_log2_size, dk_log2_index_bytes, dk_kind, dk_usable, dk_nentries, dk_indices;
  std::uint32_t entry_size, entry_key, entry_value, unicode_entry_size, unicode_entry_key, unicode_entry_value;
  std::uint32_t values_capacity, values_embedded, values_valid, values_array;
  std::int32_t values_size;  // of the byte that counts the values that are set, from the struct's beginning
  // deque, OrderedDict, tee, lru_cache
  std::uint32_t deque_leftblock, deque_rightblock, deque_leftindex, deque_rightindex, deque_len;
  std::uint32_t block_size, block_data, block_right, block_items;
  std::uint32_t od_fast_nodes_size, od_first, od_inst_dict, od_weakreflist, odnode_size, odnode_key, odnode_next;
  std::uint32_t tee_it, tee_numread, tee_values, tee_nextlink, tee_items;
  std::uint32_t lru_size, lru_maxsize_o, lru_func, lru_cache, lru_kwd_mark, lru_elem_type, lru_cache_info_type, lru_dict, lru_root, link_next, link_key,
      link_result;
  // module
  std::uint32_t md_dict, md_def, md_state, md_state_size, md_state_traverse, def_m_size, def_m_traverse;
  // frames up to 3.10
  std::uint32_t f_code, f_valuestack, f_stacktop, f_stackdepth, f_localsplus, f_iblock, f_blockstack, frame_size, try_block_size, b_type;
  // frames from 3.11 on
  std::uint32_t f_frame, frame_data, if_executable, if_funcobj, if_locals, if_frame_obj, if_stacktop, if_stackpointer, if_owner, if_localsplus;
  // code
  std::uint32_t co_nlocals, co_stacksize, co_varnames, co_freevars, co_cellvars, co_nlocalsplus, co_localsplusnames, co_extra, co_code;
  // generators
  std::uint32_t gi_frame, gi_code, gi_name, gi_qualname, gi_exc_value, gi_frame_state, gi_iframe, gen_size;
  // classic classes
  std::uint32_t in_class, in_dict, cl_bases, cl_dict, cl_name;
  // numbers, texts
  std::uint32_t int_ival, lv_tag, ob_digit, digit_bytes, digit_bits, tag_shift;
  std::uint32_t bytes_data, bytes_sstate, bytearray_alloc, bytearray_object;
  std::uint32_t str_length, str_state, str_wstr, ascii_size, compact_size, unicode_size, utf8_length, utf8, wstr_length, str_data, kind_shift, compact_shift,
      ascii_shift, interned_shift, interned_mask;
  std::uint32_t old_unicode_length, old_unicode_str, old_unicode_defenc;  // 2.7

  // tp_flags; 0 where the release has no such bit
  std::uint64_t flag_have_gc, flag_heap_type, flag_managed_dict, flag_inline_values, flag_preheader, flag_static_builtin, flag_type_subclass,
      flag_unicode_subclass, flag_bytes_subclass, flag_long_subclass, flag_int_subclass, flag_tuple_subclass, flag_have_finalize;

  // Instances
  std::int32_t managed_dict_offset, managed_values_offset;
  bool managed_dict_tagged;        // 3.12: one word, tagged when it is values
  bool managed_prefers_dict;       // a dict pointer wins over valid inline values
  bool inline_values_at_basicsize; // 3.14+; before: right after PyObject
  bool has_inline_values;
  std::uint32_t gc_head_bytes, preheader_bytes;
  bool head_size_by_type;          // 3.11, 3.12: sys.getsizeof adds the heads that the type asks for, also to static types, which have none

  // Rules
  bool dict_old, dict_keys_by_lookdict, dict_skips_embedded;
  std::int64_t kind_general;
  bool heap_type_visited_always, heap_traverse_visits_type, structseq_visits_type, odict_visits_weakreflist, module_needs_state, gen_cleared_visits_executable,
      finalize_needs_flag, legacy_del;
  std::int64_t frame_cleared, frame_owned_by_object, setup_loop, member_object_ex, member_after_items;
  bool stackref_tagged;
};

}  // namespace pygc::objects
