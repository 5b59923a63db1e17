#include "core/engine/fault_document.h"

#include "core/engine/exit_status.h"
#include "core/report/json_writer.h"

namespace pygc::engine {
namespace {

void PutText(report::JsonWriter& json, std::string_view key, const std::string& text) {
  json.Key(key);
  text.empty() ? json.Null() : json.String(text);
}

}  // namespace

std::string FaultDocument(const std::vector<std::string>& words, bool standalone, const FaultFacts& facts) {
  const Result<Request> asked = ParseCommandLine(words, standalone);
  if (!asked || asked->format != Format::kJson || !asked->output_file.empty() || asked->show_help || asked->show_version || asked->command == "export") return {};
  const std::string& path = facts.path.empty() ? asked->target.core : facts.path;
  const std::int32_t pid = facts.pid != 0 ? facts.pid : asked->target.pid;
  report::JsonWriter json;
  json.Object().String("schema", "pygc.fault/1").String("pygc", PYGC_VERSION).String("host", facts.host);
  json.Key("target").Object().String("kind", path.empty() ? "live" : "core");
  PutText(json, "path", path);
  json.Integer("pid", pid == 0 ? std::optional<std::int64_t>() : pid).EndObject();
  json.Bool("complete", false).Key("missing").Array();
  json.Object().String("what", "the report").String("reason", facts.message).String("remedy", "").EndObject().EndArray();
  json.Key("warnings").Array().EndArray().Key("timing").Object().EndObject();
  json.Key("result").Object().String("command", asked->command).Integer("exit", std::int64_t{kInternalFault}).String("message", facts.message);
  PutText(json, "stage", facts.stage);
  json.Key("object");
  facts.object == 0 ? json.Null() : json.Hex(facts.object);
  json.EndObject().EndObject();
  return json.Take();
}

}  // namespace pygc::engine
