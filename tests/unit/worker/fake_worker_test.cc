// The other half of fake_worker.h: runs before main() where the program was started as a worker.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "plugin/worker/server.h"

namespace {

using namespace pygc;
using namespace pygc::worker;

class FakeEngine final : public Engine {
 public:
  int Run(const CommandRequest& asked, HostLink& host) override {
    CommandRequest request = asked;
    // Behind the standalone program, which parses the words itself: the environment says what to do.
    if (const char* instead = std::getenv("PYGC_FAKE_COMMAND"); instead != nullptr) {
      const std::string both = instead;
      const std::size_t space = both.find(' ');
      request.words = {both.substr(0, space)};
      if (space != std::string::npos) request.words.push_back(both.substr(space + 1));
    }
    // From inside a debugger, whose commands have fixed names: `pygc status echo ...`.
    if (!request.words.empty() && request.words[0] == "status") request.words.erase(request.words.begin());
    const std::string what = request.words.empty() ? "" : request.words[0];
    const std::string argument = request.words.size() > 1 ? request.words[1] : "";
    ++runs_;
    if (what == "echo") {
      for (const std::string& w : request.words) host.Out(w + "\n");
      host.Out(fmt::format("run {} host {} columns {} route {} path {}\n", runs_, request.host, request.columns, static_cast<int>(request.target.route), request.target.path));
      host.Err("a warning\n");
      return std::atoi(argument.c_str());
    }
    if (what == "copied") {  // a process of the host's
      host.NoteCopied();
      host.Out("report\n");
      return 0;
    }
    if (what == "flood") {  // until nobody reads
      std::uint64_t blocks = 0;
      while (host.Out(std::string(1000, 'x'))) ++blocks;
      host.Err(blocks > 1000000 ? "endless\n" : "ended\n");
      return 3;
    }
    if (what == "big") {
      host.Out(std::string(20u << 20, 'b'));
      return 0;
    }
    if (what == "loop") {
      for (std::uint64_t i = 0; host.Update("turning", i, 0); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      host.Out("what is known\n");
      return host.was_cancelled() ? 130 : 7;
    }
    if (what == "deaf") {  // never looks at its host again
      host.Update("being deaf", 1, 2);
      for (;;) pause();
    }
    if (what == "spin") {  // computes without end: from the first step on in silence, or (argument) telling its host all the time
      for (std::uint64_t i = 0; host.Update("spinning", i, 0); ++i) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(argument.empty() ? 1000000 : 10);
        while (std::chrono::steady_clock::now() < end) {
        }
      }
      return 7;
    }
    if (what == "late") {  // hangs, without work, beyond a time limit
      host.SetTimeout(0.1);
      host.Update("being late", 1, 2);
      for (;;) pause();
    }
    if (what == "die") {
      host.Out("first half\n");
      host.Flush();
      host.Update("dying \x1b[31m", 1, 2);
      signal(std::atoi(argument.c_str()), SIG_DFL);  // not what a sanitizer would make of it
      raise(std::atoi(argument.c_str()));
    }
    if (what == "leave") _exit(9);
    if (what == "reading") {  // and dies in it
      host.Update("reading", 1, 2);
      host.Err("pygc: the worker was reading the object at 0x7f0010\n");
      signal(std::atoi(argument.c_str()), SIG_DFL);
      raise(std::atoi(argument.c_str()));
    }
    if (what == "fault") {
      host.Err("pygc: internal fault: a test\n");
      return 6;
    }
    if (what == "read") {
      const auto described = host.Describe();
      if (!described || described->regions.empty()) {
        host.Err("no regions\n");
        return 4;
      }
      host.Out(fmt::format("pid {} regions {} file {} tid {} sp {:#x}\n", described->pid, described->regions.size(), described->regions.at(0).file, described->threads.at(0).tid,
                           described->threads.at(0).registers[19]));
      const AddressRange range = described->regions.at(0).range;
      std::vector<std::byte> all(range.size() + 100);
      const auto n = host.Read(range.begin, all);
      std::uint64_t sum = 0;
      for (std::size_t i = 0; n && i < *n; ++i) sum += static_cast<std::uint64_t>(all[i]) * (i % 251 + 1);
      host.Out(fmt::format("read {} sum {}\n", n ? *n : 0, sum));
      const auto fault = host.Read(1, std::span(all).first(8));
      host.Out(fault ? "read nothing as something\n" : "fault: " + fault.error().message + "\n");
      return 0;
    }
    return 2;
  }

 private:
  int runs_ = 0;
};

// glibc hands main's arguments to constructors.
__attribute__((constructor)) void RunAsWorker(int argc, char** argv, char**) {
  if (argc < 4 || std::strcmp(argv[1], "--worker") != 0) return;
  const int fd = std::atoi(argv[2]);
  const std::string mode = std::getenv("PYGC_FAKE_WORKER") ? std::getenv("PYGC_FAKE_WORKER") : "";
  if (!PrepareWorkerProcess(fd, std::atoi(argv[3]))) _exit(0);
  Channel channel(fd);
  if (mode == "exit") _exit(3);
  if (mode == "mute") for (;;) pause();
  if (mode == "babble") {
    (void)channel.Receive(-1);
    [[maybe_unused]] const auto n = write(fd, "Python 3.11.7 (main)\nType help", 30);
    for (;;) pause();
  }
  if (mode == "huge-frame") {
    FakeEngine engine;
    (void)channel.Receive(-1);
    (void)channel.Send(Encode(Hello{kProtocol, std::string(BuildVersion())}));
    (void)channel.Receive(-1);
    const std::uint32_t header[2] = {0xFFFFFFF0u, 16};
    [[maybe_unused]] const auto n = write(fd, header, sizeof header);
    for (;;) pause();
  }
  FakeEngine engine;
  SilenceLimits limits;
  if (mode == "short-patience") limits = {0.3, 0.3, 50};
  _exit(Serve(channel, engine, mode == "other-version" ? "9.9.9" : BuildVersion(), &StartWatchdog(fd, limits)));
}

}  // namespace
