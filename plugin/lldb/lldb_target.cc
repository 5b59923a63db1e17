#include "plugin/lldb/lldb_target.h"

#include <lldb/API/SBError.h>
#include <lldb/API/SBFileSpec.h>
#include <lldb/API/SBFrame.h>
#include <lldb/API/SBMemoryRegionInfo.h>
#include <lldb/API/SBMemoryRegionInfoList.h>
#include <lldb/API/SBModule.h>
#include <lldb/API/SBSection.h>
#include <lldb/API/SBThread.h>
#include <lldb/API/SBValue.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "plugin/lldb/core_path.h"

namespace pygc::lldb_host {
namespace {

constexpr std::uint32_t kMaxModules = 20000;

std::string PathOf(const lldb::SBFileSpec& spec) {
  std::array<char, PATH_MAX> path{};
  return spec.IsValid() && spec.GetPath(path.data(), path.size()) > 0 ? path.data() : "";
}

// LLDB 18 and later know the core's path. A template, so that the call is only compiled where the class has it.
template <typename Process>
std::string CoreFileOf(Process& process) {
  if constexpr (requires { process.GetCoreFile(); }) return PathOf(process.GetCoreFile());
  else return {};
}

// A number of /proc/PID/status; -1 where there is none.
long StatusNumber(long pid, const char* field) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%ld/status", pid);
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return -1;
  long value = -1;
  char line[256];
  while (std::fgets(line, sizeof line, file) != nullptr)
    if (std::strncmp(line, field, std::strlen(field)) == 0) value = std::strtol(line + std::strlen(field), nullptr, 10);
  std::fclose(file);
  return value;
}

// True where `pid` is a process of this machine that this very debugger holds: its tracer is this program or a server that it started.
// A remote process may have the same number as a local one; its tracer is never one of ours.
bool IsHeldByUs(long pid) {
  long tracer = StatusNumber(pid, "TracerPid:");
  for (int depth = 0; tracer > 1 && depth < 8; ++depth) {
    if (tracer == getpid()) return true;
    tracer = StatusNumber(tracer, "PPid:");
  }
  return false;
}

const char* WhyNone(lldb::SBTarget& target, lldb::SBProcess& process) {
  if (!target.IsValid()) return "no target is selected: open a core (target create -c CORE) or attach to a process (process attach -p PID) first";
  if (!process.IsValid()) return "the selected target has no process: open a core (target create -c CORE) or attach to a process (process attach -p PID) first";
  switch (process.GetState()) {
    case lldb::eStateStopped:
    case lldb::eStateSuspended:
    case lldb::eStateCrashed: return nullptr;
    case lldb::eStateRunning:
    case lldb::eStateStepping: return WhyNotRunning();
    case lldb::eStateExited: return "the process has exited: nothing is left to look at";
    case lldb::eStateDetached: return "the process is detached: attach to it again (process attach -p PID)";
    default: return "the process is not stopped: stop it first (process interrupt), or open a core (target create -c CORE)";
  }
}

// Files that LLDB found for modules under another path than the target's own: under a sysroot, or fetched from a remote machine.
void AddCandidates(lldb::SBTarget& target, worker::TargetDescription* out) {
  out->executable = PathOf(target.GetExecutable());
  const std::uint32_t count = std::min(target.GetNumModules(), kMaxModules);
  for (std::uint32_t i = 0; i < count; ++i) {
    lldb::SBModule module = target.GetModuleAtIndex(i);
    const std::string here = PathOf(module.GetFileSpec()), there = PathOf(module.GetPlatformFileSpec());
    if (!here.empty() && !there.empty() && here != there) out->module_files.emplace_back(there, here);
  }
}

// Parts of module files in memory, as LLDB knows them: the SB API tells the name of a region's file, not the offset into it.
struct MappedPart {
  std::uint64_t begin, end, file_offset;
};

std::vector<MappedPart> MappedParts(lldb::SBTarget target) {
  std::vector<MappedPart> out;
  const std::uint32_t module_count = std::min(target.GetNumModules(), kMaxModules);
  for (std::uint32_t i = 0; i < module_count; ++i) {
    lldb::SBModule module = target.GetModuleAtIndex(i);
    const std::size_t section_count = std::min<std::size_t>(module.GetNumSections(), 256);
    for (std::size_t k = 0; k < section_count; ++k) {
      lldb::SBSection section = module.GetSectionAtIndex(k);
      const char* name = section.GetName();
      if (name == nullptr || std::strncmp(name, "PT_LOAD", 7) != 0) continue;
      const std::uint64_t at = section.GetLoadAddress(target);
      if (at != LLDB_INVALID_ADDRESS) out.push_back({at, at + section.GetByteSize(), section.GetFileOffset()});
    }
  }
  std::sort(out.begin(), out.end(), [](const MappedPart& a, const MappedPart& b) { return a.begin < b.begin; });
  return out;
}

// The offset into its file at which `region` begins; nothing where no module of LLDB's covers it.
std::optional<std::uint64_t> FileOffsetOf(const AddressRange& region, const std::vector<MappedPart>& parts) {
  constexpr std::uint64_t kPageMask = 4095;
  const auto first_behind = std::upper_bound(parts.begin(), parts.end(), region.begin | kPageMask, [](std::uint64_t a, const MappedPart& p) { return a < p.begin; });
  if (first_behind == parts.begin()) return std::nullopt;
  const MappedPart& p = *(first_behind - 1);
  if (region.begin >= p.end) return std::nullopt;
  return (p.file_offset & ~kPageMask) + (region.begin - (p.begin & ~kPageMask));
}

// Order of target::Thread::registers, with LLDB's names.
constexpr const char* kRegisterNames[27] = {"r15", "r14", "r13", "r12",      "rbp", "rbx",    "r11", "r10", "r9",      "r8",      "rax", "rcx", "rdx", "rsi",
                                            "rdi", "orig_rax", "rip", "cs", "rflags", "rsp", "ss",  "fs_base", "gs_base", "ds",  "es",  "fs",  "gs"};

}  // namespace

std::size_t ReadMemory(lldb::SBProcess& process, std::uint64_t address, std::span<std::byte> out) {
  lldb::SBError ignored;
  return std::min(process.ReadMemory(address, out.data(), out.size(), ignored), out.size());
}

const char* WhyNotRunning() { return "the process is running: stop it first (process interrupt)"; }

bool IsLive(lldb::SBProcess process) {
  const char* plugin = process.GetPluginName();
  return plugin != nullptr && std::strcmp(plugin, "gdb-remote") == 0;
}

worker::TargetDescription DescribeTarget(lldb::SBTarget target) {
  worker::TargetDescription out;
  lldb::SBProcess process = target.GetProcess();
  if (const char* reason = WhyNone(target, process)) {
    out.why_none = reason;
    return out;
  }
  out.can_serve = true;
  out.pid = static_cast<std::int32_t>(process.GetProcessID());
  // Both numbers: a process that LLDB launched anew starts to count its stops again.
  out.generation = (static_cast<std::uint64_t>(process.GetUniqueID()) << 32) | process.GetStopID(true);
  AddCandidates(target, &out);
  const std::string plugin = process.GetPluginName() != nullptr ? process.GetPluginName() : "";
  const ReadThroughDebugger read = [&process](std::uint64_t address, std::span<std::byte> bytes) { return ReadMemory(process, address, bytes); };
  if (plugin == "elf-core") {
    std::string path = CoreFileOf(process);
    if (path.empty()) path = FindMappedCore(read).value_or("");
    out.path = path;
    out.route = path.empty() ? worker::TargetRoute::kServed : worker::TargetRoute::kCore;
  } else {
    out.route = IsHeldByUs(out.pid) ? worker::TargetRoute::kStoppedPid : worker::TargetRoute::kServed;
  }
  return out;
}

worker::ServedDescription DescribeForServing(lldb::SBProcess process) {
  worker::ServedDescription out;
  out.is_core = !IsLive(process);
  out.path = CoreFileOf(process);
  out.pid = static_cast<std::int32_t>(process.GetProcessID());
  const std::vector<MappedPart> parts = MappedParts(process.GetTarget());
  lldb::SBMemoryRegionInfoList regions = process.GetMemoryRegions();
  const auto region_count = std::min<std::uint32_t>(regions.GetSize(), worker::kMaxRegions);
  for (std::uint32_t i = 0; i < region_count; ++i) {
    lldb::SBMemoryRegionInfo r;
    if (!regions.GetMemoryRegionAtIndex(i, r) || !r.IsMapped() || r.GetRegionEnd() <= r.GetRegionBase()) continue;
    worker::ServedRegion region;
    region.range = {r.GetRegionBase(), r.GetRegionEnd()};
    region.readable = r.IsReadable();
    region.writable = r.IsWritable();
    region.executable = r.IsExecutable();
    // A file without its offset would put a module at the wrong place; the engine finds modules by their headers too.
    if (const char* name = r.GetName(); name != nullptr && *name == '/') {
      if (const auto offset = FileOffsetOf(region.range, parts)) {
        region.file = name;
        region.file_offset = *offset;
      }
    } else if (name != nullptr) {
      if (std::strncmp(name, "[vvar", 5) == 0) continue;  // the kernel's clock pages: no debugger can read them, nothing of the process is in them
      region.file = name;
    }
    out.regions.push_back(std::move(region));
  }
  const auto thread_count = std::min<std::uint32_t>(process.GetNumThreads(), worker::kMaxThreads);
  for (std::uint32_t i = 0; i < thread_count; ++i) {
    lldb::SBThread thread = process.GetThreadAtIndex(i);
    lldb::SBFrame frame = thread.GetFrameAtIndex(0);
    worker::ServedThread t;
    t.tid = static_cast<std::int32_t>(thread.GetThreadID());
    if (thread.GetStopReason() == lldb::eStopReasonSignal) t.signal = static_cast<std::int32_t>(thread.GetStopReasonDataAtIndex(0));
    for (std::size_t k = 0; k < t.registers.size(); ++k) {
      lldb::SBValue value = frame.FindRegister(kRegisterNames[k]);
      if (value.IsValid()) t.registers[k] = value.GetValueAsUnsigned(0);
    }
    t.has_registers = t.registers[19] != 0;  // rsp
    out.threads.push_back(t);
  }
  return out;
}

}  // namespace pygc::lldb_host
