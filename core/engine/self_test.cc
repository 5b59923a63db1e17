#include "core/engine/self_test.h"

#include "core/report/json_writer.h"
#include "core/report/output_file.h"
#include "core/report/text_writer.h"

namespace pygc::engine {
namespace {

using State = SelfTestCheck::State;

const char* StateName(State s) {
  switch (s) {
    case State::kWorks: return "works";
    case State::kLimited: return "limited";
    case State::kFails: return "fails";
    case State::kAbsent: return "absent";
  }
  return "unknown";
}

report::Style StyleOf(State s) {
  return s == State::kFails ? report::Style::kBad : s == State::kLimited ? report::Style::kWaiting : s == State::kAbsent ? report::Style::kFaint : report::Style::kPlain;
}

std::string AsText(const std::vector<SelfTestSection>& sections, bool colour, unsigned columns) {
  constexpr std::size_t kState = 2, kSubject = 11, kFinding = 36;
  report::TextWriter out(colour, columns);
  out.Line("pygc " PYGC_VERSION ": what works on this machine");
  for (const SelfTestSection& section : sections) {
    out.Line();
    out.Line(section.name, report::Style::kHeading);
    for (const SelfTestCheck& c : section.checks) {
      out.To(kState).Add(StateName(c.state), StyleOf(c.state)).To(kSubject).Add(c.subject).To(kFinding).Paragraph(c.finding, kFinding);
      if (!c.remedy.empty()) out.To(kFinding).Paragraph("→ " + c.remedy, kFinding + 2);
    }
  }
  return out.Take();
}

std::string AsJson(const std::vector<SelfTestSection>& sections, const HostFacts& host) {
  report::JsonWriter json;
  json.Object().String("schema", "pygc.self-test/1").String("pygc", PYGC_VERSION).String("host", host.host);
  json.Key("target").Null().Bool("complete", true).Key("missing").Array().EndArray().Key("warnings").Array().EndArray().Key("timing").Object().EndObject();
  json.Key("result").Object().Key("sections").Array();
  for (const SelfTestSection& section : sections) {
    json.Object().String("name", section.name).Key("checks").Array();
    for (const SelfTestCheck& c : section.checks)
      json.Object().String("state", StateName(c.state)).String("subject", c.subject).String("finding", c.finding).String("remedy", c.remedy).EndObject();
    json.EndArray().EndObject();
  }
  json.EndArray().EndObject().EndObject();
  return json.Take() + "\n";
}

}  // namespace

int WriteSelfTest(const std::vector<SelfTestSection>& sections, const Request& request, const HostFacts& host, OutputSink& output) {
  const bool colour = request.color == "always" || (request.color == "auto" && host.colour_terminal && request.output_file.empty());
  const std::string document = request.format == Format::kJson ? AsJson(sections, host) : AsText(sections, colour, request.output_file.empty() ? host.columns : 0);
  if (request.output_file.empty()) {
    output.Out(request.format == Format::kJson ? document : report::FitToWidth(document, host.columns));
    return 0;
  }
  Result<report::OutputFile> file = report::OutputFile::Create(request.output_file, true);
  Result<void> written = file ? file->Write(document) : tl::unexpected(file.error());
  if (written) written = file->Commit();
  return written ? 0 : ReportError(written.error(), output);
}

}  // namespace pygc::engine
