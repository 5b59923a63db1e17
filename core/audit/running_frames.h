// Where the value stacks of running frames end. A frame that runs does not say how high its stack is: the evaluation loop has that in a variable of its own.
#pragma once

#include <utility>
#include <vector>

#include "core/base/address.h"
#include "core/base/limits.h"
#include "core/objects/object_reader.h"

namespace pygc::audit {

/// (frame object, where its live slots end at the latest), by frame. What lies behind in the frame was popped. Of frames on the threads' chains that run, where
/// all stacks are known from their beginning; nothing of others. CPython: _PyEval_EvalFrameDefault(), Python/ceval.c: stack_pointer [2.7-3.10].
/// HEURISTIC: stack_pointer survives every call, so a register or a word of a stack has it, and no pointer into the value stack is higher but by chance. One slot
/// more counts as live: the compiler may keep the address of the topmost one instead. What is popped during an instruction is in the C code's own variables.
[[nodiscard]] std::vector<std::pair<Address, Address>> StackEndsOfRunningFrames(const objects::ObjectReader& reader, const Limits& limits);

/// Slots of value stacks that hold nothing, of the frames on the threads' chains; disjoint. Of a frame that waits for one that it called, and says how high its
/// stack is, all above. Of one that runs, what no pointer leads to or below, as above, where as many slots more count as live as the argument of its instruction
/// says, and two: the C code that it called may have the address of the first argument alone. CPython: _PyInterpreterFrame.stacktop, -1 while it runs [3.11-3.13].
[[nodiscard]] std::vector<AddressRange> UnusedStackSlots(const objects::ObjectReader& reader, const Limits& limits);

}  // namespace pygc::audit
