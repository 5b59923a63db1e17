// Names for the objects and references of a report, read on demand: tens of them, never millions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/objects/object_reader.h"
#include "core/objects/ownership.h"
#include "core/report/cycle_text.h"

namespace pygc::engine {

/// Describes objects of one target. All texts are raw.
class Labels {
 public:
  /// `redact`: keys of containers are hidden, attribute names stay (they are part of the program, not of its data).
  Labels(const objects::ObjectReader& reader, bool redact) : reader_(reader), ownership_(reader, nullptr), redact_(redact) {}

  /// The type that a report shows for the object: "app.Node", "dict"; the class for classic instances [2.7]. `otherwise` where it cannot be read.
  [[nodiscard]] std::string TypeName(Address object, const std::string& otherwise = "(unreadable)") const;
  /// What the object is called, where it has a name of its own: functions, bound methods, frames, generators, classes, modules. Empty otherwise.
  [[nodiscard]] std::string NameOf(Address object, const std::string& type) const;
  /// The names of several objects of one type: the one that all have, or the first few different ones; empty where they have none.
  [[nodiscard]] std::string NamesOf(const std::vector<Address>& objects, const std::string& type) const;
  /// objects::CodeNameOf() of several objects of one type, where it is the same for all; empty otherwise.
  [[nodiscard]] std::string CodeNameOfAll(const std::vector<Address>& objects, const std::string& type) const;
  /// The closed path `objects` (each refers to the next, the last to the first) as a cycle with labels,
  /// turned so that an object of `type` comes first.
  [[nodiscard]] report::Cycle CycleOf(const std::vector<Address>& objects, const std::string& type) const;
  /// The objects in a row, each with its reference to the next one; of more than `max_steps` those in the middle are left out.
  [[nodiscard]] report::Cycle PathOf(const std::vector<Address>& objects, std::size_t max_steps) const;
  /// What sys.getsizeof says, 0 where it is not known.
  [[nodiscard]] std::uint64_t SizeOf(Address object) const;

 private:
  [[nodiscard]] report::CycleStep Step(Address from, Address to) const;
  [[nodiscard]] std::string ProgramKey(Address key) const;
  [[nodiscard]] std::string SubscriptOf(Address object, const objects::TypeFacts& type, const objects::LabelledReferent& referent) const;
  void NameClosures(report::Cycle& steps, bool closed) const;
  void HideKeys(report::Cycle& steps) const;
  [[nodiscard]] const objects::TypeFacts* FactsOf(Address object) const;
  [[nodiscard]] Address PointerIn(Address object, cpython::Field field) const;
  [[nodiscard]] std::string TextField(Address object, cpython::Field field) const;
  [[nodiscard]] Address CodeOfFrame(Address frame) const;
  [[nodiscard]] std::string FreeVariable(Address function, std::uint64_t index) const;
  [[nodiscard]] const cpython::Layout& layout() const { return reader_.runtime().layout; }

  const objects::ObjectReader& reader_;
  const objects::Ownership ownership_;
  bool redact_;
};

}  // namespace pygc::engine
