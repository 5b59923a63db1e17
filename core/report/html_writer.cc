#include "core/report/html_writer.h"

#include "core/report/escape.h"

namespace pygc::report {

HtmlWriter& HtmlWriter::Asset(std::span<const std::string_view> pieces) {
  for (const std::string_view piece : pieces) out_ += piece;
  return *this;
}

HtmlWriter& HtmlWriter::Text(std::string_view raw) {
  for (const char c : Printable(raw)) {
    switch (c) {
      case '&': out_ += "&amp;"; break;
      case '<': out_ += "&lt;"; break;
      case '>': out_ += "&gt;"; break;
      case '"': out_ += "&quot;"; break;
      case '\'': out_ += "&#39;"; break;
      default: out_ += c;
    }
  }
  return *this;
}

HtmlWriter& HtmlWriter::Json(std::string_view json) {
  for (const char c : json) {
    switch (c) {
      case '&': out_ += "\\u0026"; break;
      case '<': out_ += "\\u003c"; break;
      case '>': out_ += "\\u003e"; break;
      default: out_ += c;
    }
  }
  return *this;
}

}  // namespace pygc::report
