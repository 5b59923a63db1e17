// Entry of pygc_lldb.so: `plugin load pygc_lldb.so`. Not linked to liblldb: its functions come from the LLDB that loads it. So before the first of them is
// called the host's version is asked for by name: the C++ interface of another major version may lack a function, and calling it would end the debugger.
#include <dlfcn.h>
#include <link.h>
#include <lldb/API/SBDebugger.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

#include "plugin/lldb/lldb_command.h"

namespace pygc::lldb_host {
namespace {

// An LLDB that came into this program as a module of another one (Python's `import lldb`) keeps its symbols to itself; opening it again shares them.
int ShareIfLiblldb(dl_phdr_info* info, std::size_t, void*) {
  const char* name = info->dlpi_name;
  if (name != nullptr && std::strstr(name, "lldb") != nullptr && std::strstr(name, "pygc_lldb") == nullptr) {
    if (void* handle = dlopen(name, RTLD_LAZY | RTLD_NOLOAD | RTLD_GLOBAL)) dlclose(handle);
  }
  return 0;
}

// For scripts that look for the lldb program that fits this file: `strings pygc_lldb.so | grep pygc-lldb-major`.
#define PYGC_TEXT_OF(x) #x
#define PYGC_TEXT(x) PYGC_TEXT_OF(x)
[[gnu::used, gnu::retain]] constexpr char kBuiltFor[] = "pygc-lldb-major=" PYGC_TEXT(PYGC_LLDB_MAJOR);

// "lldb version 14.0.6\n..." or empty.
std::string HostVersion() {
  constexpr const char* kSymbol = "_ZN4lldb10SBDebugger16GetVersionStringEv";  // static const char* lldb::SBDebugger::GetVersionString()
  void* found = dlsym(RTLD_DEFAULT, kSymbol);
  if (found == nullptr) {
    dl_iterate_phdr(ShareIfLiblldb, nullptr);
    found = dlsym(RTLD_DEFAULT, kSymbol);
  }
  if (found == nullptr) return {};
  const char* text = reinterpret_cast<const char* (*)()>(found)();
  return text != nullptr ? text : "";
}

// The first number of a version text; 0 where there is none.
int MajorOf(const std::string& text) {
  const std::size_t digit = text.find_first_of("0123456789");
  return digit == std::string::npos ? 0 : std::atoi(text.c_str() + digit);
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace
}  // namespace pygc::lldb_host

namespace lldb {
__attribute__((visibility("default"))) bool PluginInitialize(SBDebugger debugger);

// NOLINTNEXTLINE(performance-unnecessary-value-param): LLDB looks this very signature up by its mangled name
bool PluginInitialize(SBDebugger debugger) {
  using namespace pygc::lldb_host;
  try {
    const std::string host = HostVersion();
    if (MajorOf(host) != PYGC_LLDB_MAJOR) {
      const std::string build = MajorOf(host) != 0 ? "build it with -DPYGC_LLDB_VERSION=" + std::to_string(MajorOf(host)) + ", or " : "";
      std::fprintf(stderr, "pygc: this plugin was built for LLDB %d, but the debugger is %s: %suse lldb-%d\n", PYGC_LLDB_MAJOR,
                   host.empty() ? "an LLDB that does not tell its version" : FirstLine(host).c_str(), build.c_str(), PYGC_LLDB_MAJOR);
      return false;
    }
    return AddCommands(debugger);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "pygc: the plugin cannot be loaded: %s\n", e.what());
    return false;
  }
}
}  // namespace lldb
