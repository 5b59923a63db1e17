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

std::string FaultText(const CrashFacts& c) {
  // Linux: asm-generic/siginfo.h.
  constexpr std::int32_t kSegv = 11, kNotAllowed = 2, kKernel = 0x80;
  constexpr Address kFirstPage = 4096;
  if (c.kind != CrashFacts::Kind::kSignal || !c.code) return {};
  if (c.sent_itself) return "raised by the process itself (abort, raise, or faulthandler, which raises again what it has reported)";
  if (c.sender != 0) return fmt::format("sent by process {}", c.sender);
  if (c.signal == kSegv && *c.code == kKernel) return "an address that no process can have (not canonical): no pointer, or one that was overwritten";
  if (!c.fault) return {};
  std::string out = *c.fault == 0 ? "a null pointer" : *c.fault < kFirstPage ? fmt::format("{:#x}, a null pointer + {}", *c.fault, *c.fault) : fmt::format("{:#x}: {}", *c.fault, c.fault_place);
  if (c.signal == kSegv && *c.code == kNotAllowed) out += ", mapped, but not for this use";
  return out;
}

std::string NativeChainText(const CrashFacts& c) {
  std::string out;
  for (const CrashFunction& f : c.native) {
    out += fmt::format("{}{} ({})", out.empty() ? "" : " ← ", f.function.empty() ? "?" : f.function, f.module.empty() ? "no file" : f.module);
  }
  return out;
}

void WriteCrashAddress(const CrashFacts& c, JsonWriter& json) {
  json.Key("address");
  c.address ? json.Hex(*c.address) : json.Null();
  json.Key("fault_address");
  c.fault ? json.Hex(*c.fault) : json.Null();
  json.Key("fault_place");
  c.fault_place.empty() ? json.Null() : json.String(c.fault_place);
  json.Key("signal_code");
  c.code ? json.Integer(*c.code) : json.Null();
  json.Key("sender");
  c.sender != 0 ? json.Integer(c.sender) : json.Null();
  json.Key("objects").Array();
  for (const CrashObject& o : c.objects) json.Object().String("where", o.where).Hex("address", o.address).String("type", o.type).EndObject();
  json.EndArray().Key("native").Array();
  for (const CrashFunction& f : c.native) {
    json.Object().Key("function");
    f.function.empty() ? json.Null() : json.String(f.function);
    json.Key("module");
    f.module.empty() ? json.Null() : json.String(f.module);
    json.EndObject();
  }
  json.EndArray();
}

}  // namespace pygc::report
