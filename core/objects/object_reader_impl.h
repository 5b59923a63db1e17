// What an ObjectReader is made of. Internal to core/objects.
#pragma once

#include <mutex>
#include <unordered_map>

#include "core/objects/member_names.h"
#include "core/objects/object_reader.h"
#include "core/objects/visit.h"

namespace pygc::objects {

class Literals;

struct ObjectReader::Impl {
  Impl(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits, const TraverseInterpreter* machine);
  ~Impl();

  const target::Process* process;
  Offsets offsets;
  cpython::Runtime runtime;  // a copy, with what was found here in addition
  Limits limits;
  Values values;
  TypeTable types;
  VisitContext context;
  MemberNames member_names;
  mutable std::once_flag literals_once;
  mutable std::unique_ptr<Literals> literals;
  // Whether large dicts have a __del__ (2.7), so that a million instances that share one do not search it a million times.
  mutable std::mutex large_dicts_mutex;
  mutable std::unordered_map<Address, bool> large_dicts_with_del;
};

}  // namespace pygc::objects
