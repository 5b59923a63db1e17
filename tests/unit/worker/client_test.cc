// The client against workers that do everything a worker can do wrong. The host must get one line and an exit status, and never hang or die.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "tests/unit/worker/fake_worker.h"

using namespace pygc;
using namespace pygc::worker;
using namespace pygc::worker::testing;

namespace {

double Seconds(const std::function<void()>& f) {
  const auto t = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

bool Has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("words, host and target reach the worker, and output, errors and status come back") {
  auto worker = StartFake();
  REQUIRE(worker);
  CommandRequest request = Ask({"echo", "3", "two words", ""});
  request.host = "lldb";
  request.columns = 77;
  request.target.route = TargetRoute::kCore;
  request.target.path = "/a core";
  RecordingHost host;
  CHECK(RunCommand(**worker, request, host) == 3);
  CHECK(host.out == "echo\n3\ntwo words\n\nrun 1 host lldb columns 77 route 2 path /a core\n");
  CHECK(host.err == "a warning\n");
  SUBCASE("the same worker takes the next command") {
    RecordingHost next;
    CHECK(RunCommand(**worker, request, next) == 3);
    CHECK(Has(next.out, "run 2 "));
  }
}

TEST_CASE("output larger than a frame arrives whole") {
  auto worker = StartFake();
  REQUIRE(worker);
  RecordingHost host;
  CHECK(RunCommand(**worker, Ask({"big"}), host) == 0);
  CHECK(host.out == std::string(20u << 20, 'b'));
}

TEST_CASE("a host that stops reading ends the command quietly with its own status") {
  auto worker = StartFake();
  REQUIRE(worker);
  RecordingHost host;
  host.reads_output = false;
  CHECK(RunCommand(**worker, Ask({"flood"}), host) == 3);
  CHECK(host.err == "ended\n");
}

TEST_CASE("a host learns when the process that it holds may run again") {
  auto worker = StartFake();
  REQUIRE(worker);
  RecordingHost host;
  CHECK(RunCommand(**worker, Ask({"copied"}), host) == 0);
  REQUIRE(host.copied.size() == 1);
  CHECK(host.copied[0] >= 0);
  CHECK(host.copied[0] < 10);
  CHECK(host.out == "report\n");
}

TEST_CASE("an interrupt lets the worker print what is known") {
  auto worker = StartFake();
  REQUIRE(worker);
  RecordingHost host;
  host.interrupt_after_progress = 2;
  CHECK(RunCommand(**worker, Ask({"loop"}), host) == 130);
  CHECK(host.out == "what is known\n");
  CHECK((*worker)->is_alive());
  RecordingHost next;
  CHECK(RunCommand(**worker, Ask({"echo", "0"}), next) == 0);
}

TEST_CASE("a second interrupt ends a worker that does not listen at once, one interrupt within seconds") {
  for (const int interrupts : {2, 1}) {
    auto worker = StartFake();
    REQUIRE(worker);
    RecordingHost host;
    host.interrupts = interrupts;
    int status = 0;
    const double seconds = Seconds([&] { status = RunCommand(**worker, Ask({"deaf"}), host); });
    CHECK(status == 130);
    CHECK(seconds < (interrupts == 2 ? 2 : 8));
    CHECK_FALSE((*worker)->is_alive());
  }
}

TEST_CASE("a worker that a signal ends: status 6, and one line with signal and stage, without its control bytes") {
  auto worker = StartFake();
  REQUIRE(worker);
  RecordingHost host;
  CHECK(RunCommand(**worker, Ask({"die", "9"}), host) == 6);
  CHECK(host.out == "first half\n");
  CHECK(Has(host.err, "was ended by signal 9 SIGKILL"));
  CHECK(Has(host.err, "while dying \\x1b[31m"));
  CHECK(std::count(host.err.begin(), host.err.end(), '\n') == 1);
  CHECK_FALSE((*worker)->is_alive());
  SUBCASE("and the next command on it says so instead of hanging") { CHECK(RunCommand(**worker, Ask({"echo"}), host) == 6); }
}

TEST_CASE("a worker that ends before it wrote anything: where JSON was asked for, a document says how, once, before the end") {
  const auto run = [](const char* what, const std::vector<std::string>& words, RecordingHost& host) {
    setenv("PYGC_FAKE_COMMAND", what, 1);
    auto worker = StartFake();
    unsetenv("PYGC_FAKE_COMMAND");
    REQUIRE(worker);
    CommandRequest request = Ask(words);
    request.target.route = TargetRoute::kCore;
    request.target.path = "/a core";
    return RunCommand(**worker, request, host);
  };
  RecordingHost host, status, text, file, half;
  CHECK(run("reading 11", {"leaks", "--format", "json"}, host) == 6);
  for (const char* part : {"\"schema\": \"pygc.fault/1\"", "\"path\": \"/a core\"", "\"command\": \"leaks\"", "\"exit\": 6", "ended by signal 11", "\"stage\": \"reading\"", "\"object\": \"0x7f0010\""}) CHECK_MESSAGE(Has(host.out, part), host.out);
  CHECK(host.out.find("pygc.fault/1") == host.out.rfind("pygc.fault/1"));
  CHECK(Has(host.err, "the worker was reading the object at 0x7f0010"));
  CHECK(run("fault", {"heap", "--format", "json"}, status) == 6);  // it lives, and has said why
  CHECK(Has(status.out, "\"message\": \"pygc: internal fault: a test\""));
  CHECK(run("reading 11", {"leaks"}, text) == 6);
  CHECK(run("reading 11", {"leaks", "--format", "json", "-o", "x"}, file) == 6);
  CHECK(run("die 11", {"leaks", "--format", "json"}, half) == 6);  // half a report was out
  CHECK(text.out.empty());
  CHECK(file.out.empty());
  CHECK(half.out == "first half\n");
}

TEST_CASE("a worker that computes in silence is ended with one line, and one that outstays its time limit") {
  RecordingHost host;
  {
    auto worker = StartFake("short-patience");
    REQUIRE(worker);
    CHECK(RunCommand(**worker, Ask({"spin"}), host) == 6);
    CHECK(Has(host.err, "SIGXCPU (it had computed for long and got no further"));
    CHECK(Has(host.err, "while spinning"));
    CHECK(std::count(host.err.begin(), host.err.end(), '\n') == 1);
  }
  {
    auto worker = StartFake("short-patience");
    REQUIRE(worker);
    RecordingHost late;
    CHECK(RunCommand(**worker, Ask({"late"}), late) == 6);
    CHECK(Has(late.err, "SIGALRM (the time limit, --timeout, was over"));
  }
}

TEST_CASE("every deadly signal and a plain exit are told apart") {
  for (const int number : {SIGSEGV, SIGBUS, SIGABRT, SIGILL}) {
    auto worker = StartFake();
    REQUIRE(worker);
    RecordingHost host;
    CHECK(RunCommand(**worker, Ask({"die", std::to_string(number)}), host) == 6);
    CHECK(Has(host.err, fmt::format("signal {} SIG{}", number, sigabbrev_np(number))));
  }
  auto worker = StartFake();
  REQUIRE(worker);
  RecordingHost host;
  CHECK(RunCommand(**worker, Ask({"leave"}), host) == 6);
  CHECK(Has(host.err, "status 9"));
}

TEST_CASE("an engine of another version is refused, and both versions are named") {
  const auto worker = StartFake("other-version");
  REQUIRE_FALSE(worker);
  CHECK(Has(worker.error().message, "pygc 9.9.9"));
  CHECK(Has(worker.error().message, std::string("pygc ") + std::string(BuildVersion())));
}

TEST_CASE("programs that are no workers are refused with one line") {
  for (const char* mode : {"exit", "babble"}) {
    const auto worker = StartFake(mode);
    REQUIRE_FALSE(worker);
    CHECK(Has(worker.error().message, "does not answer as a pygc worker"));
  }
  WorkerOptions options;
  options.program = "/nonexistent/pygc";
  const auto missing = WorkerClient::Start(options);
  REQUIRE_FALSE(missing);
  CHECK(Has(missing.error().message, "/nonexistent/pygc"));
  options.program = "/bin/true";
  CHECK_FALSE(WorkerClient::Start(options));
  setenv("PYGC_WORKER", "/nonexistent/by-environment", 1);
  const auto named = FindWorkerProgram(true);
  unsetenv("PYGC_WORKER");
  REQUIRE_FALSE(named);
  CHECK(Has(named.error().message, "/nonexistent/by-environment"));
}

TEST_CASE("a frame that claims four gigabytes ends the worker, not the host") {
  auto worker = StartFake("huge-frame");
  REQUIRE(worker);
  RecordingHost host;
  CHECK(RunCommand(**worker, Ask({"echo"}), host) == 6);
  CHECK(Has(host.err, "no worker sends"));
}

TEST_CASE("memory that the host serves arrives byte for byte, short at its end, and a fault is a fault") {
  auto worker = StartFake();
  REQUIRE(worker);
  RecordingHost host;
  host.memory.resize((9u << 20) + 123);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < host.memory.size(); ++i) {
    host.memory[i] = static_cast<std::byte>(i * 2654435761u >> 13);
    sum += static_cast<std::uint64_t>(host.memory[i]) * (i % 251 + 1);
  }
  CHECK(RunCommand(**worker, Ask({"read"}), host) == 0);
  CHECK(host.out == fmt::format("pid 42 regions 1 file /lib/x.so tid 43 sp 0x7ffd0000\nread {} sum {}\nfault: the debugger cannot read 8 bytes at 0x1\n", host.memory.size(), sum));
}

TEST_CASE("two workers do not disturb each other, and none is left behind") {
  pid_t first = 0, second = 0;
  {
    auto a = StartFake();
    auto b = StartFake();
    REQUIRE(a);
    REQUIRE(b);
    first = (*a)->pid();
    second = (*b)->pid();
    RecordingHost ha, hb;
    CHECK(RunCommand(**a, Ask({"die", "11"}), ha) == 6);
    CHECK(RunCommand(**b, Ask({"echo", "1"}), hb) == 1);
  }
  CHECK(kill(first, 0) == -1);
  CHECK(kill(second, 0) == -1);
  CHECK(waitpid(-1, nullptr, WNOHANG) == -1);
}

TEST_CASE("what is shown of a worker's words is one line without control bytes") {
  CHECK(OneSafeLine("a\nb\x1b]0;x\a\xe2\x80\xae") == "a\\x0ab\\x1b]0;x\\x07\\xe2\\x80\\xae");
  CHECK(OneSafeLine(std::string(1000, 'y'), 10) == std::string(10, 'y') + "...");
}
