// Names for the objects and references of a report, read on demand: tens of them, never millions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"
#include "core/report/cycle_text.h"

namespace pygc::engine {

/// Describes objects of one snapshot. All texts are raw.
class Labels {
 public:
  /// `redact`: keys of containers are hidden, attribute names stay (they are part of the program, not of its data).
  Labels(const objects::ObjectReader& reader, const heap::HeapSnapshot& heap, bool redact) : reader_(reader), heap_(heap), redact_(redact) {}

  /// The type that a report shows for the object: "app.Node", "dict"; the class for classic instances [2.7].
  [[nodiscard]] std::string TypeName(heap::NodeId n) const { return TypeNameAt(heap_.AddressOf(n), heap_.types[heap_.type[n]].name); }
  [[nodiscard]] std::string TypeNameAt(Address object, const std::string& otherwise) const;
  /// What the object is called, where it has a name of its own: functions, bound methods, frames, generators, classes, modules. Empty otherwise.
  [[nodiscard]] std::string NameOf(Address object, const std::string& type) const;
  /// The closed path `nodes` (each refers to the next, the last to the first) as a cycle with labels.
  [[nodiscard]] report::Cycle CycleOf(const std::vector<heap::NodeId>& nodes) const;

 private:
  [[nodiscard]] report::CycleStep Step(heap::NodeId from, heap::NodeId to) const;
  [[nodiscard]] Address PointerIn(Address object, cpython::Field field) const;
  [[nodiscard]] std::string TextField(Address object, cpython::Field field) const;
  [[nodiscard]] Address CodeOfFrame(Address frame) const;
  [[nodiscard]] std::string FreeVariable(Address function, std::uint64_t index) const;
  [[nodiscard]] const cpython::Layout& layout() const { return reader_.runtime().layout; }

  const objects::ObjectReader& reader_;
  const heap::HeapSnapshot& heap_;
  bool redact_;
};

}  // namespace pygc::engine
