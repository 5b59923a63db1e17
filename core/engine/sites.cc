#include "core/engine/sites.h"

#include <algorithm>
#include <map>
#include <utility>

namespace pygc::engine {

Result<const objects::AllocationSites*> SiteCache::Get(ProgressSink& progress) {
  if (!sites_) {
    Result<objects::AllocationSites> read = objects::AllocationSites::Read(reader_, progress);
    if (!read) return tl::unexpected(read.error());
    sites_ = std::make_unique<objects::AllocationSites>(std::move(*read));
  }
  return sites_.get();
}

const objects::AllocationSites* SitesIfOn(const CommandInput& in) {
  if (in.sites == nullptr) return nullptr;
  const Result<const objects::AllocationSites*> sites = in.sites->Get(in.progress);
  return sites && (*sites)->state() == objects::AllocationSites::State::kOn ? *sites : nullptr;
}

std::vector<report::AllocationSite> SitesOf(const CommandInput& in, const std::vector<Address>& objects, std::size_t max) {
  std::vector<report::AllocationSite> out;
  const objects::AllocationSites* const sites = SitesIfOn(in);
  if (sites == nullptr) return out;
  std::map<std::uint32_t, std::uint64_t> count;
  for (const Address object : objects) {
    const std::uint32_t site = sites->SiteOf(sites->TracebackOf(object));
    if (site != objects::AllocationSites::kNone) ++count[site];
  }
  for (const auto& [site, n] : count) out.push_back({sites->SiteText(site), n});
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return std::pair(b.objects, a.place) < std::pair(a.objects, b.place); });
  if (out.size() > max) out.resize(max);
  return out;
}

std::string WhyNoSites(const CommandInput& in) {
  if (SitesIfOn(in) != nullptr) return {};
  const Result<const objects::AllocationSites*> sites = in.sites != nullptr ? in.sites->Get(in.progress) : nullptr;
  if (!sites) return "stopped before the tables of tracemalloc were read";
  if (*sites != nullptr && (*sites)->state() == objects::AllocationSites::State::kAbsent) return "this CPython has no tracemalloc";
  return "tracemalloc was off in the process (PYTHONTRACEMALLOC=1, python -X tracemalloc or tracemalloc.start() switch it on)";
}

}  // namespace pygc::engine
