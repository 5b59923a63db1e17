#include "core/snapshot/signal_handlers.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "core/objects/offsets.h"
#include "core/objects/values.h"

namespace pygc::snapshot {
namespace {

using cpython::Field;

constexpr std::uint64_t kEntry = 16;   // struct { int tripped; PyObject *func; }
constexpr int kSignals = 65;           // NSIG of Linux; the function of number 0 is NULL
constexpr int kLeastDefault = 16;      // entries that are SIG_DFL in a table that is taken for it

constexpr std::array<const char*, 32> kSignalNames = {"",        "SIGHUP",  "SIGINT",  "SIGQUIT", "SIGILL",    "SIGTRAP", "SIGABRT", "SIGBUS",  "SIGFPE",  "SIGKILL", "SIGUSR1",
                                                      "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM",   "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
                                                      "SIGTTOU", "SIGURG",  "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR",  "SIGSYS"};

class SignalTable {
 public:
  explicit SignalTable(const objects::ObjectReader& reader)
      : reader_(reader), runtime_(reader.runtime()), offsets_(runtime_.layout), values_(reader.process().memory, offsets_, runtime_.lookdict) {
    if (runtime_.interpreters.empty() || !runtime_.layout.Has(Field::PyModuleObject_md_dict)) return;
    for (const char* name : {"_signal", "signal"}) {
      const Address module = values_.DictGet(runtime_.interpreters[0].modules, name);
      const Address dict = module == 0 ? 0 : values_.Pointer(module + runtime_.layout.Offset(Field::PyModuleObject_md_dict));
      if (dict == 0) continue;
      module_ = name;
      default_ = values_.DictGet(dict, "SIG_DFL");
      ignore_ = values_.DictGet(dict, "SIG_IGN");
      return;
    }
  }

  [[nodiscard]] const std::string& module() const { return module_; }

  [[nodiscard]] std::vector<SignalHandler> Read() const {
    std::vector<SignalHandler> out;
    const target::Process& process = reader_.process();
    if (default_ == 0 || runtime_.module_index >= process.modules.size()) return out;
    for (const target::Segment& s : process.memory.segments()) {
      if (!s.writable || s.bytes == nullptr || process.FindModule(s.range.begin) != &process.modules[runtime_.module_index]) continue;
      for (Address a = (s.range.begin + 7) & ~Address{7}; a + 8 <= s.range.end; a += 8) {
        if (LoadUnchecked<std::uint64_t>(s.bytes + (a - s.range.begin)) != default_) continue;
        const std::optional<Address> first = FirstOf(a);
        if (!first) continue;
        for (int i = 1; i < kSignals; ++i) {
          const Address function = values_.Pointer(*first + static_cast<Address>(i) * kEntry);
          if (function != default_ && function != ignore_ && !IsNone(function)) out.push_back({i, function});
        }
        return out;
      }
    }
    return out;
  }

 private:
  /// Where the function of signal 0 lies, when `slot` is that of another one in such a table: all later ones are there, and many do what the system does.
  [[nodiscard]] std::optional<Address> FirstOf(Address slot) const {
    Address first = slot;
    for (int i = 0; i < kSignals && values_.Pointer(first) != 0; ++i) first -= kEntry;
    if (values_.memory().At(first, 8) == nullptr || values_.Pointer(first) != 0) return std::nullopt;
    int defaults = 0;
    for (int i = 1; i < kSignals; ++i) {
      const Address function = values_.Pointer(first + static_cast<Address>(i) * kEntry);
      if (function != default_ && reader_.Type(values_.TypeOf(function)) == nullptr) return std::nullopt;
      defaults += function == default_;
    }
    return defaults >= kLeastDefault ? std::optional(first) : std::nullopt;
  }
  [[nodiscard]] bool IsNone(Address object) const {
    const objects::TypeFacts* const type = reader_.Type(values_.TypeOf(object));
    return type != nullptr && type->name == "NoneType";
  }

  const objects::ObjectReader& reader_;
  const cpython::Runtime& runtime_;
  const objects::Offsets offsets_;
  const objects::Values values_;
  std::string module_;
  Address default_ = 0, ignore_ = 0;
};

}  // namespace

std::vector<SignalHandler> FindSignalHandlers(const objects::ObjectReader& reader) { return SignalTable(reader).Read(); }

std::string SignalModule(const objects::ObjectReader& reader) { return SignalTable(reader).module(); }

std::string SignalText(int signal) {
  return signal > 0 && static_cast<std::size_t>(signal) < kSignalNames.size() ? kSignalNames[static_cast<std::size_t>(signal)] : fmt::format("signal {}", signal);
}

}  // namespace pygc::snapshot
