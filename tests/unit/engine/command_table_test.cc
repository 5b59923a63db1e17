#include "core/engine/command_table.h"

#include <doctest/doctest.h>

#include <sstream>

#include "core/engine/line_words.h"

using namespace pygc;
using namespace pygc::engine;

namespace {

std::vector<std::string> Words(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string w; in >> w;) words.push_back(w);
  return words;
}

Result<Request> Parse(const std::string& line, bool standalone = true) { return ParseCommandLine(Words(line), standalone); }

std::string Complaint(const std::string& line, bool standalone = true) {
  const Result<Request> r = Parse(line, standalone);
  REQUIRE_FALSE(r.has_value());
  CHECK(r.error().code == ErrorCode::kUsage);
  CHECK(r.error().message.find('\n') == std::string::npos);
  return r.error().message;
}

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("target options are taken before and after the command") {
  const Result<Request> a = Parse("-c core.1 leaks --limit 0");
  REQUIRE(a);
  CHECK(a->command == "leaks");
  CHECK(a->target.core == "core.1");
  CHECK(a->limit == 0);
  const Result<Request> b = Parse("leaks --limit=3 -c core.1 --fail-on pending --format json");
  REQUIRE(b);
  CHECK(b->target.core == "core.1");
  CHECK(b->limit == 3);
  CHECK(b->fail_on == FailOn::kPending);
  CHECK(b->format == Format::kJson);
}

TEST_CASE("defaults are those of the contract") {
  const Result<Request> r = Parse("-p 42 leaks");
  REQUIRE(r);
  CHECK(r->target.pid == 42);
  CHECK(r->limit == 10);
  CHECK(r->fail_on == FailOn::kDefinite);
  CHECK(r->format == Format::kText);
  CHECK(r->color == "auto");
  CHECK_FALSE(r->audit);
}

TEST_CASE("an option that others have under another name is explained, and nothing far away is offered") {
  CHECK(Contains(Complaint("-c core leaks --json"), "did you mean --format json?"));
  CHECK(Contains(Complaint("-c core leaks --output x"), "did you mean -o FILE?"));
  CHECK(Contains(Complaint("-c core leaks --limt 3"), "did you mean --limit?"));
  CHECK_FALSE(Contains(Complaint("-c core stacks --depth 3"), "did you mean"));
  CHECK(Complaint("-c core --limit 3 leaks") == "option --limit stands before the command, and is one of leaks: write it after, pygc ... leaks --limit");
  CHECK_FALSE(Contains(Complaint("-c core leaks --fast"), "did you mean"));
  CHECK(Contains(Complaint("-c core show Node"), "path Node"));
}

TEST_CASE("help of one command, as debuggers show it") {
  CHECK(Contains(HelpText("leaks"), "usage: pygc leaks [OPTIONS]"));
  CHECK(HelpText("why") == HelpText("path"));
  CHECK(Contains(HelpText(""), "Commands"));
  CHECK(HelpText("leeks").empty());
}

TEST_CASE("repeated options add up and values are checked") {
  const Result<Request> r =
      Parse("-c x --sysroot / --module a.so=/b --module c.so=/d leaks --type A* --type B --ignore C --max-memory 512M --timeout 2.5 --max-pause 250");
  REQUIRE(r);
  CHECK(r->type_globs == std::vector<std::string>{"A*", "B"});
  CHECK(r->ignore_globs == std::vector<std::string>{"C"});
  CHECK(r->limits.max_memory_bytes == 512ull << 20);
  CHECK(r->timeout_seconds == doctest::Approx(2.5));
  CHECK(r->target.open.max_pause_seconds == doctest::Approx(0.25));
  REQUIRE(r->target.open.module_files.size() == 2);
  CHECK(r->target.open.module_files[1].second == "/d");
  CHECK(Contains(Complaint("-c x leaks --max-memory lots"), "4G"));
  CHECK(Contains(Complaint("-c x leaks --module nonsense"), "NAME=FILE"));
  Complaint("-c x leaks --format yaml");
  Complaint("-c x leaks --limit -3");
  Complaint("-c x leaks --fail-on sometimes");
  Complaint("-c x -p 3 leaks");
  Complaint("leaks");
  Complaint("-c x export --format sqlite");
  Complaint("-c x export -o file");
}

TEST_CASE("verify --traverse and --trust-anon-code") {
  const Result<Request> r = Parse("-c x --trust-anon-code verify --traverse --fail-on never");
  REQUIRE(r);
  CHECK(r->command == "verify");
  CHECK(r->traverse);
  CHECK(r->target.trust_anonymous_code);
  CHECK_FALSE(Parse("-c x verify")->traverse);
  CHECK_FALSE(Parse("-c x verify")->target.trust_anonymous_code);
  Complaint("-c x leaks --traverse");
  CHECK(Contains(Complaint("verify --trust-anon-code", false), "belongs to the standalone program"));
}

TEST_CASE("a typo names the nearest command or option") {
  CHECK(Contains(Complaint("-c x leeks"), "did you mean 'leaks'"));
  CHECK(Contains(Complaint("-c x statsu"), "did you mean 'status'"));
  CHECK(Contains(Complaint("-c x leaks --limt 3"), "did you mean --limit"));
  CHECK(Contains(Complaint("-c x leaks --fail-no never"), "--fail-on"));
  CHECK(Contains(Complaint("-c x zzzzzz"), "commands: status, leaks"));
  CHECK(Contains(Complaint("-c x leaks stray"), "takes no argument 'stray'"));
}

TEST_CASE("a number out of range names what it should be, in one short line") {
  CHECK(Contains(Complaint("-p abc leaks"), "'abc' is not a process id"));
  CHECK(Contains(Complaint("-p 0 leaks"), "process id"));
  CHECK(Contains(Complaint("-c x leaks --timeout -1"), "number of seconds"));
  CHECK(Contains(Complaint("-c x leaks --timeout nan"), "number of seconds"));
  CHECK(Contains(Complaint("-p 1 --max-pause soon leaks"), "number of milliseconds"));
  CHECK(Complaint("-c x leaks --timeout 1e300").size() < 160);
}

TEST_CASE("a process or core that was forgotten is asked for") {
  CHECK(Complaint("-p leaks --audit") == "-p takes the id of a process, and leaks is a command: pygc -p PID leaks");
  CHECK(Contains(Complaint("--pid status"), "pygc --pid PID status"));
  CHECK(Complaint("-c leaks --audit") == "-c takes a core file, and leaks is a command: pygc -c CORE leaks");
  CHECK(Parse("-c leaks status")->target.core == "leaks");  // a file may be called so
  CHECK(Contains(Complaint("-c leaks leeks"), "is a command"));
}

TEST_CASE("an option without its argument says what it needs") {
  CHECK(Contains(Complaint("-c x leaks --limit"), "--limit needs N: rows to show"));
  CHECK(Contains(Complaint("-c x triage --fail-on"), "--fail-on needs SEVERITY: exit 1 on findings"));
  CHECK(Contains(Complaint("-c"), "--core needs CORE: a core file"));
  CHECK(Contains(Complaint("-p"), "--pid needs PID: "));
  CHECK(Contains(Complaint("-c x leaks -o"), "-o needs FILE: "));
}

TEST_CASE("an export says which formats there are; -o - is standard output") {
  CHECK(Contains(Complaint("-c x export -o f"), "--format sqlite or --format jsonl"));
  CHECK(Parse("-c x export --format jsonl -o -")->output_file.empty());
  CHECK(Contains(Complaint("-c x export --format sqlite -o -"), "needs -o FILE"));
}

TEST_CASE("addresses are hexadecimal or decimal, and nothing else") {
  CHECK(Parse("-c x show 0x7f12ab34cd50 16")->addresses == std::vector<Address>{0x7f12ab34cd50, 16});
  CHECK(Parse("-c x referrers 0x10 --limit 0")->addresses == std::vector<Address>{16});
  for (const char* word : {"ten", "0x", "0x10g", "1e3", "99999999999999999999999"}) {
    CAPTURE(word);
    CHECK(Contains(Complaint(std::string("-c x show ") + word), "is no address"));
  }
  CHECK(Contains(Complaint("-c x show"), "needs the address"));
  CHECK(Contains(Complaint("-c x referents 1 2"), "takes one address"));
}

TEST_CASE("an index is saved beside a core, and only there") {
  CHECK(Parse("-c x leaks --save=f")->save_file == "f");
  CHECK(Parse("-c x --save f")->command.empty());
  CHECK(Contains(Complaint("-p 1 leaks --save f"), "take a core first"));
  CHECK(Contains(Complaint("-c - leaks --save f"), "take a core first"));
  CHECK(Contains(Complaint("leaks --save f", false), "belongs to the standalone program"));
}

TEST_CASE("leaks in the words of the interpreter are not filtered") {
  CHECK(Parse("-c x leaks --format gc-debug")->format == Format::kGcDebug);
  CHECK(Contains(Complaint("-c x leaks --format gc-debug --type A"), "whole collection"));
  Complaint("-c x cycles --format gc-debug");
}

TEST_CASE("a drawing takes one address or type, and limits") {
  const Result<Request> r = Parse("-c x graph app.Node --depth 2 --fan-out 5");
  REQUIRE(r);
  CHECK(r->format == Format::kDot);
  CHECK(r->arguments == std::vector<std::string>{"app.Node"});
  CHECK(r->depth == 2);
  CHECK(r->fan_out == 5);
  CHECK(Parse("-c x export --format dot 0x10 -o f")->format == Format::kDot);
  CHECK(Parse("-c x export --format heapsnapshot -o f")->format == Format::kHeapSnapshot);
  CHECK(Contains(Complaint("-c x graph A B"), "one address or type"));
  CHECK(Contains(Complaint("-c x export --format sqlite -o f app.Node"), "only with --format dot"));
  Complaint("-c x graph --format json");
  Complaint("-c x graph --fan-out 0");
}

TEST_CASE("diff takes one file") {
  CHECK(Parse("-c x diff old.core")->arguments == std::vector<std::string>{"old.core"});
  CHECK(Contains(Complaint("-c x diff"), "diff core.4700"));
  CHECK(Contains(Complaint("-c x diff a b"), "needs one"));
}

TEST_CASE("expect takes several assertions and says what is wrong with one") {
  const Result<Request> r = Parse("-c x expect --gone app.A --gone B --max-count app.C=3 --max-unreachable 0 --no-finalizers-pending --max-retained a=b=2M");
  REQUIRE(r);
  std::vector<std::string> said;
  for (const Expectation& e : r->expectations) said.push_back(e.Text());
  CHECK(said == std::vector<std::string>{"--gone app.A", "--gone B", "--max-count app.C=3", "--max-unreachable 0", "--no-finalizers-pending", "--max-retained a=b=2097152"});
  CHECK(Contains(Complaint("-c x expect"), "--max-count TYPE=N"));
  for (const char* word : {"app.C", "=3", "app.C=", "app.C=many", "app.C=-1"}) CHECK(Contains(Complaint(std::string("-c x expect --max-count ") + word), "TYPE=NUMBER"));
  Complaint("-c x expect --max-unreachable -1");
  Complaint("-c x leaks --gone A");
}

TEST_CASE("triage: findings decide the exit status only where --fail-on is given; a screen's worth of rows") {
  CHECK(Parse("-c x triage")->fail_on == FailOn::kNever);
  CHECK(Parse("-c x triage --fail-on definite")->fail_on == FailOn::kDefinite);
  CHECK(Parse("-c x triage --fail-on pending --baseline b.json")->baseline == "b.json");
  CHECK(Parse("-c x leaks")->fail_on == FailOn::kDefinite);
  CHECK(Parse("-c x triage")->limit == 5);
  CHECK(Parse("-c x triage --limit 0")->limit == 0);
  CHECK(Contains(Complaint("-c x report"), "report -o report.html"));
  CHECK(Parse("-c x report -o r.html")->output_file == "r.html");
}

TEST_CASE("stacks: values are those of variables, so asking for them asks for these") {
  CHECK(Parse("-c core stacks --show-values")->locals);
  CHECK_FALSE(Parse("-c core stacks")->locals);
}

TEST_CASE("inside a debugger the target options are refused by name") {
  CHECK(Parse("leaks", false).has_value());
  CHECK(Contains(Complaint("leaks -p 7", false), "belongs to the standalone program"));
  CHECK(Contains(Complaint("-c core leaks", false), "belongs to the standalone program"));
}

TEST_CASE("hostile words are escaped in the complaint") {
  const std::string words[] = {"-c", "x", "le\x1b]0;x\x07"};
  const Result<Request> r = ParseCommandLine(words, true);
  REQUIRE_FALSE(r);
  CHECK(r.error().message.find('\x1b') == std::string::npos);
  CHECK(Contains(r.error().message, "\\x1b"));
}

TEST_CASE("every level has help with a sentence and two examples that parse") {
  for (const bool standalone : {true, false}) {
    const Result<Request> root = Parse("--help", standalone);
    REQUIRE(root);
    CHECK(root->show_help);
    for (const CommandSummary& c : Commands()) {
      CAPTURE(c.name);
      CHECK(Contains(root->help_text, c.name));
      const Result<Request> r = Parse(std::string(c.name) + " --help", standalone);
      REQUIRE(r);
      REQUIRE(r->show_help);
      CHECK(r->command == c.name);
      int examples = 0;
      std::istringstream lines(r->help_text);
      for (std::string line; std::getline(lines, line);) {
        if (line.rfind("  pygc ", 0) != 0) continue;
        ++examples;
        std::string command = line.substr(7);
        CAPTURE(command);
        const Result<std::vector<std::string>> typed = SplitWords(command);
        REQUIRE(typed);
        const Result<Request> parsed = ParseCommandLine(*typed, standalone);
        CHECK(parsed.has_value());
        if (parsed) CHECK(parsed->command == c.name);
      }
      CHECK(examples == 2);
      CHECK(Contains(r->help_text, ".\n"));
      CHECK(Contains(r->help_text, "Exit status"));
    }
  }
  CHECK(Parse("help leaks")->show_help);
  CHECK(Parse("leaks --nonsense --help")->show_help);
}

TEST_CASE("--version needs no command and no target") {
  const Result<Request> r = Parse("--version");
  REQUIRE(r);
  CHECK(r->show_version);
}
