// One object in detail, for show, referents, referrers and whoever names single objects: cards, labelled references, holders. Works on a snapshot with leaves.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/analysis/referrers.h"
#include "core/engine/command.h"
#include "core/engine/edge_labels.h"
#include "core/engine/labels.h"
#include "core/objects/async_tasks.h"
#include "core/objects/frames.h"
#include "core/objects/repr.h"
#include "core/objects/resources.h"
#include "core/report/object_report.h"

namespace pygc::engine {

class Inspector {
 public:
  explicit Inspector(const CommandInput& input);

  /// Type, value, counts and states of what lies at `address`; without references.
  [[nodiscard]] report::ObjectCard CardOf(Address address) const;
  /// Of that only what names it: what lies there, type, name, counts and states.
  [[nodiscard]] report::ObjectCard BriefCardOf(Address address) const;
  /// The referents in the order of tp_traverse, then what it owns beside, at most `max`; `count` becomes the number of all.
  [[nodiscard]] std::vector<report::ReferenceRow> Referents(Address object, std::uint64_t max, std::uint64_t* count) const;
  /// What refers to it: objects by address, each of their references one row, then roots; at most `max`.
  [[nodiscard]] std::vector<report::ReferenceRow> Referrers(Address object, std::uint64_t max, std::uint64_t* count) const;
  /// What the object is called where it has a name; for a frame "f() at app.py:12".
  [[nodiscard]] std::string NameOf(Address object, const std::string& type) const;
  /// True where an object lies at `address`: one of the snapshot, or what looks like one.
  [[nodiscard]] bool IsObject(Address address) const;

 private:
  void AddCollectorFacts(report::ObjectCard& card) const;
  [[nodiscard]] bool IsOneOf(const objects::TypeFacts* type, std::initializer_list<std::string_view> names) const;
  [[nodiscard]] Address DescriptorOwner(Address object) const;
  void AddTimerDetails(report::ObjectCard& card) const;
  void AddArrayDetails(report::ObjectCard& card) const;
  void AddDetails(report::ObjectCard& card) const;
  void AddCodeDetails(report::ObjectCard& card) const;
  void AddGeneratorDetails(report::ObjectCard& card) const;
  void AddTraceback(report::ObjectCard& card) const;
  [[nodiscard]] bool IsTypeObject(Address object) const;
  [[nodiscard]] bool IsStaticType(Address object) const;
  void AppendRoots(Address object, bool of_static_type, std::uint64_t max, std::uint64_t* count, std::vector<report::ReferenceRow>& rows) const;
  void AppendReferrer(Address object, heap::NodeId referrer, std::uint32_t references, std::uint64_t max, std::vector<report::ReferenceRow>& rows) const;
  [[nodiscard]] report::ReferenceRow RowOf(Address other, std::string label) const;
  [[nodiscard]] objects::ReprLimits LimitsOfValue() const;
  [[nodiscard]] const objects::TypeFacts* FactsOf(Address object) const;

  // What --limit 0 writes of the values that are asked for. LIMIT: kWholeText and the rest; a text that is larger is shown up to there, and the card says so.
  static constexpr std::size_t kWholeText = 1u << 24, kWholeDigits = 200'000, kWholeItems = 1u << 20, kWholeDepth = 30;
  static constexpr std::size_t kWholeValues = 1u << 26, kLeastValue = 1u << 16;  // bytes of all values of the command; of each, where these are used up

  const CommandInput& in_;
  mutable std::size_t value_room_ = kWholeValues;
  Labels labels_;
  EdgeLabels edges_;
  objects::Repr repr_;
  objects::FrameReader frames_;
  objects::ResourceReader resources_;
  objects::AsyncReader attributes_;
};

/// What lies at an address that is no object: "inside a list at 0x..., at +24", "the stack of thread 4711", "libpython3.12.so.1.0: PyList_Type+0x10".
[[nodiscard]] std::string DescribePlace(const CommandInput& input, Address address);

}  // namespace pygc::engine
