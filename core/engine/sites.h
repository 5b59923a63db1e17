// Where objects were allocated, for the commands that say it: the tables of tracemalloc, read when first asked for and kept for the session.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/engine/command.h"
#include "core/objects/allocation_sites.h"
#include "core/report/allocation_site.h"

namespace pygc::engine {

class SiteCache {
 public:
  explicit SiteCache(const objects::ObjectReader& reader) : reader_(reader) {}

  /// The tables. Errors: kCancelled, then the next call reads anew.
  [[nodiscard]] Result<const objects::AllocationSites*> Get(ProgressSink& progress);

 private:
  const objects::ObjectReader& reader_;
  std::unique_ptr<objects::AllocationSites> sites_;
};

/// Where tracemalloc was on: its tables. nullptr otherwise, and where the user stopped the reading.
[[nodiscard]] const objects::AllocationSites* SitesIfOn(const CommandInput& input);

/// The lines that allocated these objects, most objects first, at most `max`. Empty where tracemalloc was off.
[[nodiscard]] std::vector<report::AllocationSite> SitesOf(const CommandInput& input, const std::vector<Address>& objects, std::size_t max);

/// Why no line is known: "tracemalloc was off ..."; empty where it was on.
[[nodiscard]] std::string WhyNoSites(const CommandInput& input);

}  // namespace pygc::engine
