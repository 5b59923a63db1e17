#include "core/report/escape.h"

#include <doctest/doctest.h>

#include <random>

#include "core/report/json_writer.h"
#include "core/report/text_writer.h"

using namespace pygc::report;

namespace {

// True when no byte of `text` can steer a terminal: printable ASCII, line ends, and well-formed UTF-8 of visible characters.
bool IsHarmless(const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\n') continue;
    if (c < 0x20 || c == 0x7F) return false;
    if (c == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) return false;  // C1
    if (c == 0xE2 && (text.compare(i, 2, "\xE2\x80") == 0 || text.compare(i, 2, "\xE2\x81") == 0)) {
      const auto last = static_cast<unsigned char>(text[i + 2]);
      const bool general = text[i + 1] == '\x80';
      if (general && ((last >= 0x8B && last <= 0x8F) || (last >= 0xA8 && last <= 0xAE))) return false;
      if (!general && last >= 0xA0 && last <= 0xAF) return false;
    }
  }
  return true;
}

}  // namespace

TEST_CASE("visible text of any script passes as it is") {
  for (const char* s : {"app.pipes.OsPipeHolder", "Straße", "日本語", "🐍", "a\\b", "['k']", "602 × · → …"}) CHECK(Printable(s) == s);
}

TEST_CASE("what steers a terminal is written in words") {
  CHECK(Printable("\x1b]0;owned\x07") == "\\x1b]0;owned\\x07");
  CHECK(Printable(std::string("a\0b", 3)) == "a\\x00b");
  CHECK(Printable("\x7f") == "\\x7f");
  CHECK(Printable("\xc2\x9b") == "\\x9b");        // CSI as a C1 character
  CHECK(Printable("\x9b") == "\\x9b");            // and as a bare byte
  CHECK(Printable("\xe2\x80\xae") == "\\u202e");  // right-to-left override
  CHECK(Printable("\xe2\x81\xa6x\xe2\x81\xa9") == "\\u2066x\\u2069");
  CHECK(Printable("\xe2\x80\xa8") == "\\u2028");
  CHECK(Printable("\xef\xbb\xbf") == "\\ufeff");
  CHECK(Printable("\xf3\xa0\x81\x81") == "\\U000e0041");
  CHECK(Printable("line\nline\r\t") == "line\\x0aline\\x0d\\x09");
}

TEST_CASE("bytes that are not UTF-8 are shown as bytes") {
  CHECK(Printable("\xff\xfe") == "\\xff\\xfe");
  CHECK(Printable("\xc0\x80") == "\\xc0\\x80");           // overlong NUL
  CHECK(Printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
  CHECK(Printable("\xf5\x80\x80\x80") == "\\xf5\\x80\\x80\\x80");
  CHECK(Printable("a\xe2\x82") == "a\\xe2\\x82");  // cut off
}

TEST_CASE("random bytes never come out raw, in text or in JSON") {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    for (unsigned i = random() % 24; i > 0; --i) bytes += static_cast<char>(random() % 4 == 0 ? random() % 0x20 : random() & 0xFF);
    CAPTURE(round);
    REQUIRE(IsHarmless(Printable(bytes)));
    const std::string json = JsonString(bytes);
    for (const char c : json) REQUIRE((c >= 0x20 && c < 0x7F));
  }
}

TEST_CASE("JSON strings are ASCII, quoted and keep what is valid") {
  CHECK(JsonString("a\"b\\c\n") == R"("a\"b\\c\n")");
  CHECK(JsonString("\x1b") == R"("\u001B")");
  CHECK(JsonString("é🐍") == R"("\u00E9\uD83D\uDC0D")");
  CHECK(JsonString("\xff") == R"("\\xff")");
}

TEST_CASE("the text writer escapes everything but its own line ends and colours") {
  TextWriter plain, coloured(true);
  for (TextWriter* w : {&plain, &coloured}) w->Add("evil\x1b[2J", Style::kBad).Line();
  CHECK(plain.text() == "evil\\x1b[2J\n");
  CHECK(coloured.text() == "\x1b[31mevil\\x1b[2J\x1b[0m\n");
}

TEST_CASE("columns count characters, not bytes") {
  TextWriter w;
  w.Add("×").To(4).Line("x");
  CHECK(w.text() == "×   x\n");
  TextWriter flow;
  flow.To(4).Flow({std::string(60, 'a'), std::string(60, 'b')}, " → ", 4);
  CHECK(flow.text() == "    " + std::string(60, 'a') + "\n    → " + std::string(60, 'b') + "\n");
}

TEST_CASE("text for a narrow terminal is broken between cells, then between words, and keeps words and colours whole") {
  CHECK(FitToWidth("short\n\nalso short\n", 40) == "short\n\nalso short\n");
  CHECK(FitToWidth("anything at all", 0) == "anything at all");
  CHECK(FitToWidth("one two three four five", 10) == "one two\n  three\n  four\n  five");
  CHECK(FitToWidth("    indented words go on here", 16) == "    indented\n    words go on\n    here");
  CHECK(FitToWidth("  12,345  1.2 MB  a type of mine\n", 20) == "  12,345  1.2 MB\n    a type of mine\n");
  const std::string word(50, 'x');
  CHECK(FitToWidth("a " + word + " b", 40) == "a\n  " + word + "\n  b");
  CHECK(FitToWidth("\x1b[31mred words\x1b[0m are here", 16) == "\x1b[31mred words\x1b[0m are\n  here");
  CHECK(FitToWidth("××××× ×××××", 11) == "××××× ×××××");
}

TEST_CASE("what is broken off a last cell that begins in the left half stands under it") {
  CHECK(FitToWidth("works  memory  17.8 GB of 25.3 GB free now", 32) == "works  memory  17.8 GB of 25.3\n               GB free now");
  CHECK(FitToWidth("python     3.11.7 (main, May  9 2026)", 24) == "python     3.11.7 (main,\n  May  9 2026)");  // the date's gap is the last one
  CHECK(FitToWidth("a label of many words  text that goes on", 30) == "a label of many words\n  text that goes on");
}

TEST_CASE("paragraphs are as wide as the terminal, and broken once") {
  const std::string words = "make the alias at class level, in the class body, where nobody keeps a bound method for each object of that class alive";
  const auto text = [&](std::size_t columns) {
    TextWriter out(false, columns);
    out.To(4).Add("fix").To(17).Paragraph(words, 17);
    return FitToWidth(out.Take(), columns);
  };
  CHECK(text(0) == "    fix          make the alias at class level, in the class body, where nobody keeps a bound method for each object of\n"
                   "                 that class alive\n");
  CHECK(text(300) == text(0));
  CHECK(text(80) == "    fix          make the alias at class level, in the class body, where nobody\n"
                    "                 keeps a bound method for each object of that class alive\n");
  CHECK(text(30) == "    fix\n"
                    "       make the alias at class\n       level, in the class\n       body, where nobody\n       keeps a bound method\n"
                    "       for each object of that\n       class alive\n");
  TextWriter flow(false, 40);
  flow.To(4).Add("address").To(17).Flow({"0x7f82512e5c90", "0x7f82512e6550", "0x7f82512e65d0"}, "  ", 17);
  CHECK(FitToWidth(flow.Take(), 40) == "    address      0x7f82512e5c90\n                 0x7f82512e6550\n                 0x7f82512e65d0\n");
}
