// --baseline FILE: findings that are known already. A file that pygc-triage --write-baseline wrote, or any JSON report of leaks, refcounts or triage.
#pragma once

#include <set>
#include <string>

#include "core/base/result.h"

namespace pygc::engine {

/// The fingerprints (core/report/fingerprint.h) of known findings.
class Baseline {
 public:
  /// Reads every value of a key "fingerprint" of a JSON document whose key "schema" starts with "pygc.". LIMIT: files up to 64 MiB.
  /// Errors: kUsage where the file cannot be read or is no such document.
  [[nodiscard]] static Result<Baseline> Read(const std::string& path);
  /// The same of a text; `path` is for messages.
  [[nodiscard]] static Result<Baseline> Parse(const std::string& text, const std::string& path);

  [[nodiscard]] bool Has(const std::string& fingerprint) const { return known_.contains(fingerprint); }
  [[nodiscard]] std::size_t size() const noexcept { return known_.size(); }

 private:
  std::set<std::string> known_;
};

}  // namespace pygc::engine
