// Prints every tracked object of a core or process as JSON lines, straight from the object readers: for comparing them with gc.get_referents and
// sys.getsizeof of the process itself (tests/tools/compare_referents.py). Not a host: no report, no verdict.
//
//   dump_referents CORE | -p PID [--labels] [--leaves]
//
// {"a": address, "t": type name, "q": how exact, "r": [referents], "s": size or null}; with --labels "l": [labels]; with --leaves also what is only
// reached from tracked objects, marked "leaf": true.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/cpython/runtime.h"
#include "core/objects/object_reader.h"
#include "core/target/open.h"

namespace {

using namespace pygc;

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

/// Objects on the ring behind `head`, at most as many as memory could hold.
void Walk(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, Address head, std::vector<Address>& out) {
  Address node = head;
  for (std::uint64_t steps = 0; steps < (1ull << 32); ++steps) {
    const Result<Address> next = memory.ReadPointer(node + format.next_offset);
    if (!next) return;
    node = *next & format.pointer_mask;
    if (node == head) return;
    out.push_back(node + format.size);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string core;
  int pid = 0;
  bool labels = false, leaves = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "-p") == 0 && i + 1 < argc) {
      pid = std::atoi(argv[++i]);
    } else if (std::strcmp(argv[i], "--labels") == 0) {
      labels = true;
    } else if (std::strcmp(argv[i], "--leaves") == 0) {
      leaves = true;
    } else {
      core = argv[i];
    }
  }
  SilentProgress progress;
  target::OpenOptions options;
  const Result<target::Process> process = pid ? target::CaptureLive(pid, options, progress) : target::OpenCore(core, options, progress);
  if (!process) {
    std::fprintf(stderr, "%s\n", process.error().message.c_str());
    return 4;
  }
  const Result<cpython::Runtime> runtime = cpython::LocateRuntime(*process, options.limits);
  if (!runtime) {
    std::fprintf(stderr, "%s\n", runtime.error().message.c_str());
    return 4;
  }
  const objects::ObjectReader reader(*process, *runtime, options.limits);
  std::vector<Address> todo;
  for (const cpython::Interpreter& interpreter : runtime->interpreters) {
    for (const cpython::GcGeneration& g : interpreter.generations) Walk(process->memory, runtime->gc_head, g.head, todo);
    if (interpreter.permanent) Walk(process->memory, runtime->gc_head, interpreter.permanent->head, todo);
  }
  const cpython::ObjectHeaderReader header(*runtime);
  const std::size_t tracked = todo.size();
  std::unordered_set<Address> seen(todo.begin(), todo.end());
  objects::ReferentBuffer referents;
  std::string line;
  for (std::size_t i = 0; i < todo.size(); ++i) {
    const Address object = todo[i];
    const std::byte* head = process->memory.At(object, header.size());
    const objects::TypeFacts* type = head ? reader.Type(header.Type(head)) : nullptr;
    line = fmt::format("{{\"a\": {}", object);
    if (i >= tracked) line += ", \"leaf\": true";
    if (!type) {
      line += ", \"t\": null}\n";
      std::fwrite(line.data(), 1, line.size(), stdout);
      continue;
    }
    referents.clear();
    const objects::ReferentQuality quality = reader.IsGc(object, *type) ? reader.Referents(object, *type, referents) : objects::ReferentQuality::kExact;
    line += fmt::format(", \"t\": {}, \"d\": {}, \"q\": \"{}\", \"r\": [{}]", Quoted(type->name), Quoted(reader.DisplayTypeName(object, *type)),
                        objects::QualityName(quality), fmt::join(referents, ", "));
    const std::optional<std::uint64_t> size = reader.SizeOf(object, *type);
    line += size ? fmt::format(", \"s\": {}", *size) : ", \"s\": null";
    if (reader.HasLegacyFinalizer(object, *type)) line += ", \"legacy\": true";
    if (labels) {
      std::vector<objects::LabelledReferent> labelled;
      reader.LabelledReferents(object, *type, labelled);
      line += ", \"l\": [";
      for (std::size_t j = 0; j < labelled.size(); ++j) line += (j ? ", " : "") + Quoted(reader.LabelText(labelled[j]));
      line += "]";
      bool same = labelled.size() == referents.size();
      for (std::size_t j = 0; same && j < labelled.size(); ++j) same = labelled[j].referent == referents[j];
      if (!same && reader.IsGc(object, *type)) line += ", \"labels_differ\": true";
    }
    line += "}\n";
    std::fwrite(line.data(), 1, line.size(), stdout);
    if (leaves) {
      for (const Address r : referents) {
        if (seen.insert(r).second) todo.push_back(r);
      }
    }
  }
  for (const objects::TypeFacts* type : reader.Types()) {
    if (type->reason.empty()) continue;
    std::fprintf(stderr, "%s: %s: %s\n", type->name.c_str(), objects::QualityName(type->quality), type->reason.c_str());
  }
  return 0;
}
