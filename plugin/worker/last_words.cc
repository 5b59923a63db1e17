#include "plugin/worker/last_words.h"

#include <signal.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/object_in_hand.h"

namespace pygc::worker {
namespace {

constexpr std::size_t kStackBytes = 64u << 10;
constexpr std::array kSignals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGXCPU, SIGALRM};

Channel* to_host = nullptr;  // of this process: a handler has no other way to it

// Text without the allocator: a handler of signals may not call it.
class Line {
 public:
  Line& Text(std::string_view text) {
    for (const char c : text) Put(c);
    return *this;
  }
  Line& Hex(std::uint64_t value) {
    Text("0x");
    int shift = 60;
    while (shift > 0 && (value >> shift) == 0) shift -= 4;
    for (; shift >= 0; shift -= 4) Put("0123456789abcdef"[(value >> shift) & 15]);
    return *this;
  }
  [[nodiscard]] std::string_view text() const { return {bytes_.data(), size_}; }

 private:
  void Put(char c) {
    if (size_ < bytes_.size()) bytes_[size_++] = c;
  }
  std::array<char, 200> bytes_{};
  std::size_t size_ = 0;
};

void LastWords(int number, siginfo_t* info, void* /*context*/) {
  if (object_in_hand != 0) {
    Line line;
    line.Text(kReadingObject).Hex(object_in_hand);
    if (info->si_code > 0 && number != SIGABRT) line.Text(", its instruction used ").Hex(reinterpret_cast<std::uintptr_t>(info->si_addr));
    to_host->SendLastWords(line.Text("\n").text());
  }
  // As it would have ended without a handler, also where the signal came from outside.
  signal(number, SIG_DFL);
  raise(number);
}

}  // namespace

void InstallLastWords(Channel& channel) {
  to_host = &channel;
  stack_t stack{};
  static std::array<std::byte, kStackBytes> memory;
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = LastWords;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  for (const int number : kSignals) {
    struct sigaction old {};
    if (sigaction(number, nullptr, &old) == 0 && (old.sa_flags & SA_SIGINFO) == 0 && old.sa_handler == SIG_DFL) sigaction(number, &action, nullptr);
  }
}

}  // namespace pygc::worker
