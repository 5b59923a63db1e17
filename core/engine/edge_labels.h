// Labels of all references of an object, for the export: one for each edge of the graph, in its order.
#pragma once

#include <string>
#include <vector>

#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"
#include "core/objects/ownership.h"

namespace pygc::engine {

/// The label of a reference as --redact leaves it: of an attribute whose name no program could write behind a dot ("ssn 078") nothing but that it is one.
[[nodiscard]] std::string ProgramText(std::string label);

class EdgeLabels {
 public:
  /// `redact`: keys of containers are hidden, attribute names stay that a program can spell.
  EdgeLabels(const objects::ObjectReader& reader, const heap::HeapSnapshot& heap, bool redact = false) : reader_(reader), ownership_(reader, nullptr), heap_(heap), redact_(redact) {}

  /// Fills `labels` with one text for each of `node`'s successors; empty where it is not known. Texts are raw; str keys are cut after 64 characters.
  void Of(heap::NodeId node, std::vector<std::string>& labels);
  /// Appends the references of `node` that the graph has beside what its tp_traverse visits.
  void OwnedBeside(heap::NodeId node, std::vector<objects::LabelledReferent>& out, const objects::ReferentFilter& filter = {}) const;
  /// The text of one reference.
  [[nodiscard]] std::string TextOf(const objects::LabelledReferent& referent) const;

 private:
  const objects::ObjectReader& reader_;
  const objects::Ownership ownership_;
  const heap::HeapSnapshot& heap_;
  bool redact_;
  std::vector<objects::LabelledReferent> referents_;
};

}  // namespace pygc::engine
