// Python frames of threads: which code, at which line, with which locals. Reads the frames that the interpreter runs; frames that are objects of
// their own (tracebacks, suspended generators) are read by the same rules.
// CPython: PyFrameObject, Include/frameobject.h [<= 3.10]; _PyInterpreterFrame, Include/internal/pycore_frame.h, pycore_interpframe_structs.h [3.11+].
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/cpython/runtime.h"
#include "core/objects/object_reader.h"
#include "core/objects/offsets.h"
#include "core/objects/values.h"

namespace pygc::objects {

/// One frame. Addresses are 0 where there is nothing.
struct PythonFrame {
  Address address = 0;       // of the PyFrameObject (<= 3.10) or _PyInterpreterFrame
  Address frame_object = 0;  // the PyFrameObject, where one was made
  Address code = 0, function = 0, globals = 0, builtins = 0;
  Address locals = 0;        // f_locals: the dict of a module or class body
  std::int64_t line = -1;    // that runs; -1: not known
  Address previous = 0;      // as `address`
  bool is_python = true;     // false: the interpreter's own frame at the border to C code (3.12+)
  bool is_entry = false;     // in a thread's stack: the last one that one call of the interpreter's loop runs
  Address entry = 0;         // of such a one: the interpreter's own frame behind it, on the C stack of that call (3.12+)
  bool is_running = false;   // in a thread's stack: the height of its value stack is a variable of the interpreter's loop; what the frame says may be old
};

/// A place in a frame that holds a reference.
struct FrameSlot {
  enum class Kind : std::uint8_t { kLocal, kCell, kStack, kField } kind = Kind::kLocal;
  std::string name;     // of the variable; kField: what it is
  Address referent = 0; // what the slot holds: for kCell the cell object
};

/// One entry of a traceback.
struct TracebackEntry {
  Address code = 0;
  std::int64_t line = -1;  // -1: not known
};

/// What a generator, coroutine or async generator is doing.
enum class GeneratorState : std::uint8_t { kCreated, kSuspended, kRunning, kFinished };

struct ThreadStack {
  std::vector<PythonFrame> frames;  // innermost first; Python frames only
  bool complete = true;             // false: a link of the chain could not be followed
};

class FrameReader {
 public:
  /// `reader` must outlive it.
  explicit FrameReader(const ObjectReader& reader);

  /// The frames of a thread. LIMIT: max_frames.
  [[nodiscard]] ThreadStack StackOf(const cpython::PyThread& thread, const Limits& limits) const;
  /// The frame of a frame object; nullopt where it cannot be read.
  [[nodiscard]] std::optional<PythonFrame> FromObject(Address frame_object) const;
  /// CPython: gi_frame_state [3.11+], f_state [3.10], gi_frame and gi_running [<= 3.9]. What cannot be read has finished.
  [[nodiscard]] GeneratorState StateOf(Address generator) const;
  /// The frame of a generator that has not finished; nullopt otherwise, and where it cannot be read.
  [[nodiscard]] std::optional<PythonFrame> FromGenerator(Address generator) const;
  /// What lies on top of the value stack of a suspended generator: where it stands at `await x` or `yield from x`, the iterator that it waits for. 0: nothing.
  [[nodiscard]] Address Awaited(Address generator) const;
  /// The entries of a traceback object in the order in which traceback.print_tb() prints them, at most `max`.
  [[nodiscard]] std::vector<TracebackEntry> TracebackOf(Address traceback, std::size_t max) const;
  /// Every reference that the frame holds: variables, then the value stack where its height is known, then the interpreter's own fields.
  [[nodiscard]] std::vector<FrameSlot> Slots(const PythonFrame& frame) const;
  /// The objects whose `with` blocks the frame is inside of, outermost first; not one that it is still entering. Of a running frame the height of the value
  /// stack is not known, but how much of it lies below the blocks around the instruction is: PyFrameObject.f_blockstack [<= 3.10], co_exceptiontable [3.11+].
  [[nodiscard]] std::vector<Address> EnteredBy(const PythonFrame& frame) const;
  /// The room of the value stack of an interpreter's frame, and how many slots of it are used, where the frame says so: it does not while it runs [3.11+]. Empty
  /// for frame objects of older releases.
  struct ValueStack {
    AddressRange room;
    std::optional<std::uint64_t> height;
  };
  [[nodiscard]] ValueStack ValueStackOf(const PythonFrame& frame) const;
  /// The argument that stands in the frame's current instruction, without what an EXTENDED_ARG adds; nullopt where it cannot be read [3.11+].
  [[nodiscard]] std::optional<std::uint8_t> InstructionArgument(const PythonFrame& frame) const;
  /// What the variable holds: for a cell its content.
  [[nodiscard]] Address ValueOf(const FrameSlot& slot) const;
  /// True for the frame of a function: its locals are slots. False for module and class bodies, whose locals are a dict.
  [[nodiscard]] bool HasFastLocals(const PythonFrame& frame) const;

  [[nodiscard]] std::string FunctionName(Address code) const;   // co_name
  [[nodiscard]] std::string QualifiedName(Address code) const;  // co_qualname (3.11+), else co_name
  [[nodiscard]] std::string FileName(Address code) const;
  [[nodiscard]] std::int64_t FirstLine(Address code) const;

 private:
  [[nodiscard]] std::optional<PythonFrame> Interpreter(Address frame) const;
  [[nodiscard]] std::int64_t LineOf(Address code, std::int64_t code_offset) const;
  [[nodiscard]] std::int64_t CodeOffset(Address frame, Address code) const;
  [[nodiscard]] Address CodeStart(Address frame, Address code, Address instruction) const;
  [[nodiscard]] std::optional<Address> CurrentFrame(Address tstate) const;  // 0: none; nullopt: it is not in the image
  void AppendVariables(const PythonFrame& frame, std::vector<FrameSlot>& out) const;
  [[nodiscard]] std::uint64_t BlockDepth(const PythonFrame& frame) const;
  void AppendStack(const PythonFrame& frame, std::uint64_t variables, std::vector<FrameSlot>& out) const;
  [[nodiscard]] Address FirstSlot(const PythonFrame& frame) const;
  [[nodiscard]] std::uint64_t StackHeight(const PythonFrame& frame, std::uint64_t variables) const;
  [[nodiscard]] Address Strong(Address bits) const noexcept;
  [[nodiscard]] Address Pointer(Address at, cpython::Field field) const;
  [[nodiscard]] std::int64_t Signed(Address at, cpython::Field field, std::int64_t otherwise = 0) const;
  [[nodiscard]] std::string TextOf(Address str_object) const;
  [[nodiscard]] std::vector<Address> VariableNames(Address code) const;
  [[nodiscard]] std::vector<std::uint8_t> VariableKinds(Address code, std::size_t count) const;

  const ObjectReader& reader_;
  const cpython::Layout& layout_;
  Offsets offsets_;
  Values values_;
};

}  // namespace pygc::objects
