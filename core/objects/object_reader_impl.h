// What an ObjectReader is made of. Internal to core/objects.
#pragma once

#include "core/objects/object_reader.h"
#include "core/objects/visit.h"

namespace pygc::objects {

struct ObjectReader::Impl {
  Impl(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits, const TraverseInterpreter* machine);

  const target::Process* process;
  Offsets offsets;
  cpython::Runtime runtime;  // a copy, with what was found here in addition
  Limits limits;
  Values values;
  TypeTable types;
  VisitContext context;
};

}  // namespace pygc::objects
