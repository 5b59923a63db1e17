#include "core/report/crash.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace pygc::report {
namespace {

struct KnownSignal {
  std::int32_t number;
  const char *name, *meaning;
};
// Linux, x86-64: signal(7).
constexpr KnownSignal kSignals[] = {
    {1, "SIGHUP", "the terminal was closed"},
    {2, "SIGINT", "interrupted"},
    {3, "SIGQUIT", "somebody asked for a core"},
    {4, "SIGILL", "an instruction that the processor does not know"},
    {5, "SIGTRAP", "a breakpoint"},
    {6, "SIGABRT", "abort() was called: a fatal error, an assertion, or damaged memory"},
    {7, "SIGBUS", "memory that is not there: a file that became shorter, or a full disk"},
    {8, "SIGFPE", "an integer divided by zero, or an overflow"},
    {11, "SIGSEGV", "an address that is not mapped, or may not be used so"},
    {15, "SIGTERM", "asked to end"},
    {24, "SIGXCPU", "the limit of processor time was met"},
    {25, "SIGXFSZ", "the limit of a file's size was met"},
    {31, "SIGSYS", "a system call that is not allowed here"},
};

}  // namespace

std::string SignalName(std::int32_t signal) {
  const auto* const found = std::find_if(std::begin(kSignals), std::end(kSignals), [&](const KnownSignal& s) { return s.number == signal; });
  return found == std::end(kSignals) ? fmt::format("signal {}", signal) : found->name;
}

const char* SignalMeaning(std::int32_t signal) noexcept {
  const auto* const found = std::find_if(std::begin(kSignals), std::end(kSignals), [&](const KnownSignal& s) { return s.number == signal; });
  return found == std::end(kSignals) ? "" : found->meaning;
}

std::string CrashText(const CrashFacts& c) {
  if (c.kind == CrashFacts::Kind::kStopped) return "no crash: the process was running when a debugger or gcore took this core";
  if (c.kind == CrashFacts::Kind::kLive) return {};
  std::string out = fmt::format("{}{}", SignalName(c.signal), c.thread != 0 ? fmt::format(" in thread {}", c.thread) : "");
  if (c.address) out += fmt::format(" at {:#x}", *c.address);
  const char* const meaning = SignalMeaning(c.signal);
  return *meaning ? fmt::format("{}: {}", out, meaning) : out;
}

void WriteCrashAddress(const CrashFacts& c, JsonWriter& json) {
  json.Key("address");
  c.address ? json.Hex(*c.address) : json.Null();
  json.Key("objects").Array();
  for (const CrashObject& o : c.objects) json.Object().String("where", o.where).Hex("address", o.address).String("type", o.type).EndObject();
  json.EndArray();
}

}  // namespace pygc::report
