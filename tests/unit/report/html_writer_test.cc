#include "core/report/html_writer.h"

#include <doctest/doctest.h>

#include "core/report/page_report.h"

using namespace pygc::report;

namespace {

const std::string kHostile = "<script>alert(1)</script>\"'&\x1b[2J\xff\xe2\x80\xae]]><!--</style>";

std::size_t Count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

}  // namespace

TEST_CASE("text of a target stays text: between tags, in attributes, in JSON") {
  const std::string text = HtmlWriter().Text(kHostile).Take();
  for (const char c : text) CHECK((c != '<' && c != '>' && c != '"' && c != '\'' && static_cast<unsigned char>(c) >= 0x20));
  CHECK(text.find("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\\x1b[2J\\xff\\u202e]]&gt;") == 0);
  CHECK(HtmlWriter().Json("{\"a\": \"</script><!--&\"}").Take() == "{\"a\": \"\\u003c/script\\u003e\\u003c!--\\u0026\"}");
  CHECK(HtmlWriter().Markup("<p>").Number(7).Markup("</p>").Take() == "<p>7</p>");
}

TEST_CASE("a page of hostile names has the markup of one with plain names") {
  const auto page_of = [](const std::string& name) {
    Header h;
    h.command = "report";
    h.target.path = "/var/crash/" + name;
    h.target.python = name;
    h.missing.push_back({name, name, name});
    h.complete = false;
    h.warnings.push_back(name);
    h.interpreters.resize(1);
    h.interpreters[0].debug_flags.push_back(name);
    PageReport r;
    LeakGroup g;
    g.type = g.name = name;
    g.count = g.objects = 1;
    g.cycle = {{name, name, 1, EdgeKind::kAttribute, name, name, 0}, {name, name, 2, EdgeKind::kKey, name, name, 0}};
    g.members = g.held = {{name, 1, 1, name}};
    g.finalizers = {{name, name, 1, 0}};
    g.addresses = {1};
    r.overview.leaks.groups = {g};
    r.overview.crash = {CrashFacts::Kind::kSignal, 11, 1, name, name, name, {{name, name}}, 0, std::nullopt, pygc::Address{0x5000}, name, 1, 0, false, {}};
    ThreadStackReport t;
    t.frame_count = t.left_out_before = 1;
    t.frames = {{name, name, name, 1, {}, {}}};
    r.overview.stacks.threads = {t};
    r.heap.emplace();
    r.heap->rows = {{name, 1, 1, 1, 0}};
    r.memory = {{{}, 1, name, name, name, 1, 1, 1}};
    return WritePage(h, r);
  };
  const std::string hostile = page_of(kHostile), plain = page_of("plain");
  for (const char* tag : {"<", ">", "<script", "</script", "<!--", "\""}) {
    INFO(tag);
    const std::string is = tag;
    if (is == "\"") continue;  // JSON escapes those in strings itself
    CHECK(Count(hostile, is) == Count(plain, is));
  }
  CHECK(hostile.find("alert(1)</") == std::string::npos);
  for (const char c : hostile) CHECK((c == '\n' || static_cast<unsigned char>(c) >= 0x20));
}

TEST_CASE("the page says of a group what the terminal says, and sets code as code") {
  Header h;
  PageReport r;
  LeakGroup g;
  g.type = "app.Order";
  g.count = 2;
  g.objects = 4;
  g.cycle = {{"app.Order", "", 1, EdgeKind::kAttribute, ".me", "me", 0}};
  g.held = {{"socket.socket", 2, 300000, "open"}};
  g.held[0].fds = {3, 4};
  g.generations = {{"0", 4}};
  g.sites = {{"app.py:12", 2}};
  r.overview.leaks.groups = {g};
  const std::string page = WritePage(h, r);
  CHECK(page.find("<dt>because</dt><dd>" + BecauseText(h, r.overview.leaks, g)) != std::string::npos);
  CHECK(page.find("<dt>fix</dt><dd><code>self.me</code> is the object itself") != std::string::npos);
  CHECK(page.find("<dt>hangs on it</dt><dd>2 socket.socket (open: fd 3, 4, 300 kB)</dd>") != std::string::npos);
  CHECK(page.find("<dt>allocated at</dt><dd>app.py:12 (2)</dd>") != std::string::npos);
}
