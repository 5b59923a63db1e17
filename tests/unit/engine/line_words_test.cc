#include "core/engine/line_words.h"

#include <doctest/doctest.h>

#include "core/engine/command_table.h"

using namespace pygc;
using namespace pygc::engine;

namespace {
using Words = std::vector<std::string>;
Words Split(std::string_view line) { return SplitWords(line).value_or(Words{"(error)"}); }
}  // namespace

TEST_CASE("a line is split as a shell does") {
  CHECK(Split("") == Words{});
  CHECK(Split("  \t ") == Words{});
  CHECK(Split("leaks  --limit 0\r\n") == Words{"leaks", "--limit", "0"});
  CHECK(Split("sql \"select '#', \\\"a\\\" from x\"") == Words{"sql", "select '#', \"a\" from x"});
  CHECK(Split("sql 'select \"a\\n\"'") == Words{"sql", "select \"a\\n\""});
  CHECK(Split("path app.T\\ x''y\"\"") == Words{"path", "app.T xy"});
  CHECK(Split("show '' \"\"") == Words{"show", "", ""});
  CHECK(Split("leaks # all") == Words{"leaks"});
  CHECK(Split("# only this") == Words{});
  CHECK(Split("a#b") == Words{"a#b"});
  CHECK(Split("end\\") == Words{"end\\"});
}

TEST_CASE("a quote that is not closed is an error") {
  for (const char* line : {"sql \"select", "show 'x", "\""}) {
    const Result<Words> r = SplitWords(line);
    REQUIRE_FALSE(r.has_value());
    CHECK(r.error().code == ErrorCode::kUsage);
  }
}

TEST_CASE("completion knows commands, their options and the values of some") {
  CHECK(Completions(Words{"le"}) == Words{"leaks"});
  CHECK(Completions(Words{"ref"}) == Words{"refcounts", "referents", "referrers"});
  CHECK(Completions(Words{"help", "le"}) == Words{"leaks"});
  CHECK(Completions(Words{"leaks", "--fail"}) == Words{"--fail-on"});
  CHECK(Completions(Words{"leaks", "--show-v"}) == Words{});
  CHECK(Completions(Words{"show", "--show-v"}) == Words{"--show-values"});
  CHECK(Completions(Words{"leaks", "--core"}) == Words{});  // the target is chosen already
  CHECK(Completions(Words{"sql", "--format", ""}) == Words{"csv", "json", "text"});
  CHECK(Completions(Words{"heap", "--by", ""}) == Words{"module", "site", "type"});
  CHECK(Completions(Words{"why", "--excl"}) == Words{"--exclude"});
  CHECK(Completions(Words{"leaks", "--fail-on", "p"}) == Words{"pending"});
  CHECK(KindOfLastWord(Words{"path", "app."}) == WordKind::kType);
  CHECK(KindOfLastWord(Words{"leaks", "--type", ""}) == WordKind::kType);
  CHECK(KindOfLastWord(Words{"leaks", "-o", ""}) == WordKind::kFile);
  CHECK(KindOfLastWord(Words{"leaks", "--exe", "/usr"}) == WordKind::kFile);
  CHECK(KindOfLastWord(Words{"diff", "co"}) == WordKind::kFile);
  CHECK(KindOfLastWord(Words{"leaks", "--fo"}) == WordKind::kGrammar);
  CHECK(KindOfLastWord(Words{"leaks", "--limit", "1"}) == WordKind::kGrammar);
  CHECK(Completions(Words{"leaks", "--format", "g"}) == Words{"gc-debug"});
  CHECK(Completions(Words{"export", "--format", ""}) == Words{"dot", "heapsnapshot", "jsonl", "sqlite"});
  CHECK(Completions(Words{"leaks", "--fail-on", "p"}) == Words{"pending"});
  CHECK(Completions(Words{"nonsense", "--x"}) == Words{});
}

TEST_CASE("a target without a command is a request of its own, standalone only") {
  const Result<Request> r = ParseCommandLine(Words{"-c", "core.1", "-x", "file"}, true);
  REQUIRE(r);
  CHECK(r->command.empty());
  CHECK(r->script_file == "file");
  CHECK_FALSE(ParseCommandLine(Words{"-x", "file"}, true).has_value());
  CHECK_FALSE(ParseCommandLine(Words{"-c", "core.1", "-x", "file", "leaks"}, true).has_value());
  CHECK_FALSE(ParseCommandLine(Words{}, false).has_value());
  CHECK_FALSE(ParseCommandLine(Words{"-x", "file"}, false).has_value());
}
