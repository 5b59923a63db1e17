#include "core/report/resource.h"

#include <fmt/format.h>

#include "core/report/numbers.h"

namespace pygc::report {

std::string ResourceText(const ResourceRow& r) {
  if (r.kind == "file") return r.fd < 0 ? "closed" : fmt::format("fd {}", r.fd);
  if (r.kind == "socket") return fmt::format("{}{}{}", r.fd < 0 ? "closed" : fmt::format("fd {}", r.fd), r.family.empty() ? "" : ", ", r.family);
  if (!r.locked) return "not locked";
  std::string out = "locked";
  if (r.holder != 0) out += fmt::format(" by thread {}", r.holder_native_id ? std::to_string(*r.holder_native_id) : fmt::format("{:#x}", r.holder));
  if (r.count > 1) out += fmt::format(" (acquired {} times)", Thousands(r.count));
  if (!r.holder_place.empty()) out += fmt::format(", in a with block of {}", r.holder_place);
  if (r.waiters.empty()) return out;
  std::string ids;
  for (const std::uint64_t id : r.waiters) ids += fmt::format("{}{}", ids.empty() ? "" : ", ", id);
  return out + fmt::format(", {} for it: {}", r.waiters.size() == 1 ? "a thread waits" : Counted(r.waiters.size(), "thread") + " wait", ids);
}

void WriteResource(const ResourceRow& r, JsonWriter& json) {
  json.Object().String("kind", r.kind).Hex("address", r.address).String("type", r.type);
  const bool is_lock = r.kind == "lock" || r.kind == "rlock";
  if (!is_lock) {
    json.Key("fd");
    r.fd < 0 ? json.Null() : json.Integer(r.fd);
    if (r.kind == "socket") json.String("family", r.family);
  } else {
    json.Bool("locked", r.locked).Key("owner");
    r.owner == 0 ? json.Null() : json.Unsigned(r.owner);
    json.Key("owner_native_id");
    r.owner_native_id ? json.Unsigned(*r.owner_native_id) : json.Null();
    json.Unsigned("count", r.count).Key("holder");
    r.holder == 0 ? json.Null() : json.Unsigned(r.holder);
    json.Key("holder_native_id");
    r.holder_native_id ? json.Unsigned(*r.holder_native_id) : json.Null();
    json.Key("holder_place");
    r.holder_place.empty() ? json.Null() : json.String(r.holder_place);
    json.Key("waiters").Array();
    for (const std::uint64_t id : r.waiters) json.Unsigned(id);
    json.EndArray();
  }
  json.Key("state");
  r.state.empty() ? json.Null() : json.String(r.state);
  json.Key("path");
  r.path.empty() ? json.Null() : json.String(r.path);
  json.EndObject();
}

void WriteResources(const std::vector<ResourceRow>& rows, TextWriter& out) {
  Table table;
  table.right = {false, false, false, false, false};
  for (const ResourceRow& r : rows) {
    table.rows.push_back({r.kind, ResourceText(r), fmt::format("{} at {:#x}", r.type, r.address), r.state == "reachable" ? "" : r.state, r.path.empty() ? "" : "held by " + r.path});
  }
  table.Write(out, 2);
}

}  // namespace pygc::report
