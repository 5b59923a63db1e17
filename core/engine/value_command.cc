// Value: what a debugger shows beside a variable. Reads the objects asked for and nothing else.
#include "core/engine/inspector.h"
#include "core/report/value_report.h"

namespace pygc::engine {
namespace {

constexpr objects::ReprLimits kOneLine = {.max_items = 8, .max_text = 80, .max_digits = 80, .max_depth = 3, .max_total = 240};

}  // namespace

Outcome RunValue(const CommandInput& in) {
  const Inspector inspector(in);
  const Labels labels(in.reader, in.request.redact);
  const objects::Repr repr(in.reader);
  objects::ReprLimits limits = kOneLine;
  limits.hide_values = in.request.redact;
  report::ValueReport r;
  for (const Address address : in.request.addresses) {
    report::ObjectValue& row = r.objects.emplace_back();
    row.address = address;
    if (inspector.IsObject(address)) row.type = labels.TypeName(address, "");
    if (row.type.empty()) {
      if (!in.request.quiet) row.where = DescribePlace(in, address);  // beside a variable nothing is better
      continue;
    }
    const objects::ReprText value = repr.Of(address, limits);
    row.value = value.text;
    row.complete = value.complete;
    row.exact = value.exact;
  }
  Outcome outcome;
  outcome.document = Render(in, in.header, r);
  return outcome;
}

}  // namespace pygc::engine
