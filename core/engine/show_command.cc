#include "core/engine/inspector.h"

namespace pygc::engine {
namespace {

std::uint64_t RowLimit(const Request& request) { return request.limit == 0 ? ~std::uint64_t{0} : request.limit; }

constexpr std::size_t kMostWithOwners = 64;  // each is a pass over all references

Outcome RunReferences(const CommandInput& in, bool outgoing) {
  const Inspector inspector(in);
  report::ReferencesReport r;
  r.outgoing = outgoing;
  r.object = inspector.CardOf(in.request.addresses.at(0));
  if (r.object.is_object) {
    r.references = outgoing ? inspector.Referents(r.object.address, RowLimit(in.request), &r.reference_count)
                            : inspector.Referrers(r.object.address, RowLimit(in.request), &r.reference_count);
  }
  Outcome outcome;
  outcome.document = Render(in, in.header, r);
  return outcome;
}

}  // namespace

Outcome RunShow(const CommandInput& in) {
  const Inspector inspector(in);
  report::ShowReport r;
  for (const Address address : in.request.addresses) {
    report::ObjectCard& card = r.objects.emplace_back(inspector.CardOf(address));
    if (!card.is_object) continue;
    card.fields = inspector.Referents(address, RowLimit(in.request), &card.field_count);
    if (in.request.addresses.size() > kMostWithOwners) continue;
    card.owners = inspector.Referrers(address, RowLimit(in.request), &card.owner_count);
    card.references_found = card.owner_count;
  }
  Outcome outcome;
  outcome.document = Render(in, in.header, r);
  return outcome;
}

Outcome RunReferents(const CommandInput& in) { return RunReferences(in, true); }
Outcome RunReferrers(const CommandInput& in) { return RunReferences(in, false); }

}  // namespace pygc::engine
