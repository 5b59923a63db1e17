// A worker without an engine: this test program, started again with --worker, does what the words of a request say. So every way in which a real worker can
// fail is a test of the client.
#pragma once

#include <string>
#include <vector>

#include "plugin/worker/client.h"

namespace pygc::worker::testing {

/// Starts this program as a worker. `mode` (PYGC_FAKE_WORKER): "" is a good one; "other-version", "mute", "babble", "exit" fail before the first request.
[[nodiscard]] inline Result<std::unique_ptr<WorkerClient>> StartFake(const char* mode = "") {
  setenv("PYGC_FAKE_WORKER", mode, 1);
  WorkerOptions options;
  options.program = "/proc/self/exe";
  return WorkerClient::Start(options);
}

/// A host that remembers what it was told.
struct RecordingHost final : CommandHost {
  std::string out, err;
  std::vector<Progress> progress;
  std::vector<double> copied;
  int interrupts = 0;
  int interrupt_after_progress = -1;  // interrupts becomes 1 when so many progress messages have come
  bool reads_output = true;
  std::vector<std::byte> memory;      // served at kBase
  static constexpr Address kBase = 0x10000;

  bool Out(std::string_view bytes) override {
    out += bytes;
    return reads_output;
  }
  void Err(std::string_view bytes) override { err += bytes; }
  void TargetCopied(double seconds) override { copied.push_back(seconds); }
  void ShowProgress(const Progress& p) override {
    progress.push_back(p);
    if (interrupt_after_progress >= 0 && progress.size() >= static_cast<std::size_t>(interrupt_after_progress)) interrupts = 1;
  }
  int InterruptCount() override { return interrupts; }
  ServedDescription Describe() override {
    ServedDescription d;
    d.pid = 42;
    d.regions.push_back({{kBase, kBase + memory.size()}, true, true, false, "/lib/x.so", 4096});
    ServedThread t;
    t.tid = 43;
    t.has_registers = true;
    t.registers[19] = 0x7ffd0000;
    d.threads.push_back(t);
    return d;
  }
  std::size_t Read(Address a, std::span<std::byte> to) override {
    if (a < kBase || a >= kBase + memory.size()) return 0;
    const std::size_t n = std::min<std::size_t>(to.size(), kBase + memory.size() - a);
    std::copy_n(memory.begin() + static_cast<std::ptrdiff_t>(a - kBase), n, to.begin());
    return n;
  }
};

[[nodiscard]] inline CommandRequest Ask(std::vector<std::string> words) {
  CommandRequest r;
  r.words = std::move(words);
  return r;
}

}  // namespace pygc::worker::testing
