// Any bytes as a name of the target, through every sink of the reports: no control byte and no direction mark comes out, JSON stays ASCII, lines end where
// they should.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/report/escape.h"
#include "core/report/json_writer.h"
#include "core/report/text_writer.h"

namespace {

using namespace pygc::report;

void NoControls(std::string_view text, bool ascii) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\n') || c == 0x7f || (ascii && c > 0x7e)) std::abort();
    if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) std::abort();                              // C1
    if (c != 0xe2) continue;  // three comparisons of text at every byte took as long as the writers
    const std::string_view three = text.substr(i, 3);
    if (three == "\xe2\x80\xae" || three == "\xe2\x80\x8f" || three == "\xe2\x81\xa6") std::abort();  // U+202E, U+200F, U+2066
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view raw(reinterpret_cast<const char*>(data), size);
  const std::string printable = Printable(raw);
  NoControls(printable, false);
  if (printable.find('\n') != std::string::npos) std::abort();
  if (CodePoints(printable) > printable.size()) std::abort();

  JsonWriter json;
  json.Object().String("name", raw).Key("list").Array().String(raw).Integer(-1).Hex(~0ull).EndArray().EndObject();
  NoControls(json.Take(), true);
  NoControls(JsonString(raw), true);

  TextWriter out;
  out.Add(raw, Style::kBad).To(20).Paragraph(raw, 20);
  out.Flow({std::string(raw), "b", std::string(raw)}, " → ", 4);
  Table table;
  table.rows = {{std::string(raw), "1"}, {"x", std::string(raw)}};
  table.right = {false, true};
  table.Write(out, 2);
  NoControls(out.text(), false);
  return 0;
}
