// Why a core was written, as far as it tells: the signal, where it struck, and the objects at hand.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/report/json_writer.h"

namespace pygc::report {

/// An object that a register of the thread held.
struct CrashObject {
  std::string where;  // "rdi"
  Address address = 0;
  std::string type;
};

/// A function of native code that led to a crash. Without offsets and addresses: the same in the next process, and after small changes of the source.
struct CrashFunction {
  std::string function;  // without what a compiler appends (".cold"); empty: no symbol
  std::string module;    // last part of the path of its file; empty: none
};

struct CrashFacts {
  enum class Kind : std::uint8_t { kSignal, kStopped, kLive } kind = Kind::kLive;  // kStopped: a debugger or gcore took the core
  std::int32_t signal = 0;
  std::int32_t thread = 0;                  // the kernel's number; 0: not known
  std::string place;                        // where it stood in native code: "libc.so.6: raise+0x21"
  std::string module;                       // path of the file mapped there; empty where none
  std::string program;                      // path of the main program; empty: not known
  std::vector<CrashFunction> native;        // where no Python function ran and a signal ended it: who called, innermost first
  std::optional<std::size_t> python_thread;  // index into StacksReport::threads; nullopt: it ran no Python
  std::optional<Address> address;           // of the instruction
  std::optional<Address> fault;             // what it used: si_addr
  std::string fault_place;                  // what lies there
  std::optional<std::int32_t> code;         // si_code
  std::int32_t sender = 0;                  // the process that sent the signal; 0: none did, or not known
  bool sent_itself = false;                 // that was this one: abort(), raise(), a handler that raises the signal again (faulthandler)
  std::vector<CrashObject> objects;         // those that the registers held, arguments first
};

/// "SIGSEGV"; "signal 42" where it has no name of its own.
[[nodiscard]] std::string SignalName(std::int32_t signal);
/// What it means, in a few words; empty where that says nothing.
[[nodiscard]] const char* SignalMeaning(std::int32_t signal) noexcept;
/// "SIGSEGV in thread 4711 at 0x7f12ab34cd50: invalid memory access"; empty where no signal ended it.
[[nodiscard]] std::string CrashText(const CrashFacts& crash);
/// What the signal was about, for a line of its own: "0x1230: no memory of the process", "sent by process 4711"; empty where nothing says.
[[nodiscard]] std::string FaultText(const CrashFacts& crash);
/// "on_request (app) ← main (app)"; empty where no native function is known.
[[nodiscard]] std::string NativeChainText(const CrashFacts& crash);
/// "address", "fault_address", ..., "objects": members of an object that is open.
void WriteCrashAddress(const CrashFacts& crash, JsonWriter& json);

}  // namespace pygc::report
