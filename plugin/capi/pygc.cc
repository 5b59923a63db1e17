// libpygc.so: the C interface of pygc.h over worker::WorkerClient. Nothing is thrown through it: a failed allocation is an error like any other.
#include "plugin/capi/pygc.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "core/engine/command_table.h"
#include "plugin/worker/client.h"

using pygc::worker::CommandRequest;
using pygc::worker::RunCommand;
using pygc::worker::ServedDescription;
using pygc::worker::TargetRoute;
using pygc::worker::WorkerClient;
using pygc::worker::WorkerEvent;

struct pygc_session {
  std::string program;  // of the worker; empty: beside this library
  std::unique_ptr<WorkerClient> client;
  pygc::worker::TargetDescription target;
  ServedDescription served;
  std::string host = "standalone";
  unsigned columns = 0;
  bool colours = false;
  bool confined = false;                   // the worker was given a core
  bool cancelled = false, killed = false;  // killed: it did not stop when it was asked to
  std::chrono::steady_clock::time_point kill_at{};  // where cancelled
  WorkerEvent event;  // keeps the bytes of the last one alive
};

namespace {

constexpr int kUsageStatus = 2;

std::string Text(const char* s) { return s != nullptr ? s : ""; }

void PutLine(char* line, const std::string& text) {
  if (line == nullptr) return;
  const std::size_t n = std::min<std::size_t>(text.size(), PYGC_LINE - 1);
  std::memcpy(line, text.data(), n);
  line[n] = '\0';
}

pygc_session* Open(const char* program, char* line) noexcept {
  try {
    pygc::worker::WorkerOptions options;
    options.program = Text(program);
    auto started = WorkerClient::Start(options);
    if (!started) {
      PutLine(line, started.error().message);
      return nullptr;
    }
    auto session = std::make_unique<pygc_session>();
    session->program = options.program;
    session->client = std::move(*started);
    session->target.why_none = "no target was set";
    return session.release();
  } catch (const std::exception& e) {
    PutLine(line, e.what());
    return nullptr;
  }
}

// As snprintf does it.
std::size_t PutText(const std::string& text, char* out, std::size_t size) {
  if (out == nullptr || size == 0) return text.size();
  const std::size_t n = std::min(text.size(), size - 1);
  std::memcpy(out, text.data(), n);
  out[n] = '\0';
  return text.size();
}

// Runs `f`, which only fails by throwing.
template <typename F>
void Quietly(const F& f) noexcept {
  try {
    f();
  } catch (const std::exception&) {
  }
}

// A worker that has read a core is confined for good: it reads no process and starts no program. What follows a core and needs one of these gets a new worker:
// a process, and self-test, which looks at the machine. Where none can be started the old one answers, and says why it does not.
void RenewWhereConfined(pygc_session* session, std::size_t word_count, const char* const* words) {
  const TargetRoute route = session->target.route;
  const bool of_process = route == TargetRoute::kLivePid || route == TargetRoute::kStoppedPid;
  const bool reads_core = route == TargetRoute::kCore || route == TargetRoute::kServed;
  const bool is_self_test = word_count > 0 && Text(words[0]) == "self-test";
  if (is_self_test || (of_process && session->confined)) {
    pygc::worker::WorkerOptions options;
    options.program = session->program;
    if (auto started = WorkerClient::Start(options)) {
      session->client = std::move(*started);
      session->confined = false;
    }
  }
  session->confined = session->confined || reads_core;
}

void NewTarget(pygc_session* session, TargetRoute route) {
  const std::uint64_t generation = session->target.generation;
  session->target = {};
  session->target.route = route;
  session->target.generation = generation + 1;
  session->served = {};
}

CommandRequest RequestOf(const pygc_session& session, std::size_t word_count, const char* const* words) {
  CommandRequest request;
  for (std::size_t i = 0; i < word_count; ++i) request.words.push_back(Text(words[i]));
  request.host = session.host;
  char path[PATH_MAX];
  if (getcwd(path, sizeof path) != nullptr) request.working_directory = path;
  request.columns = session.columns;
  request.colour_terminal = session.colours;
  request.target = session.target;
  return request;
}

class CallbackHost final : public pygc::worker::CommandHost {
 public:
  CallbackHost(const pygc_session& session, const pygc_callbacks& callbacks, void* user) : session_(session), call_(callbacks), user_(user) {}
  bool Out(std::string_view bytes) override { return call_.out == nullptr || call_.out(user_, bytes.data(), bytes.size()) == 0; }
  void Err(std::string_view bytes) override {
    if (call_.err != nullptr) call_.err(user_, bytes.data(), bytes.size());
  }
  void ShowProgress(const pygc::worker::Progress& p) override {
    if (call_.progress != nullptr) call_.progress(user_, p.stage.c_str(), p.done, p.total);
  }
  int InterruptCount() override { return call_.interrupts != nullptr ? call_.interrupts(user_) : 0; }
  ServedDescription Describe() override { return session_.served; }
  std::size_t Read(pygc::Address address, std::span<std::byte> out) override {
    return call_.read != nullptr ? std::min(call_.read(user_, address, out.data(), out.size()), out.size()) : 0;
  }

 private:
  const pygc_session& session_;
  const pygc_callbacks& call_;
  void* user_;
};

}  // namespace

extern "C" {

const char* pygc_version(void) { return PYGC_VERSION; }
int pygc_abi(void) { return PYGC_ABI; }

int pygc_command(size_t index, const char** name, const char** summary) {
  const auto commands = pygc::engine::Commands();
  if (index >= commands.size()) return 0;
  if (name != nullptr) *name = commands[index].name.data();  // literals of the command table: each ends with a NUL
  if (summary != nullptr) *summary = commands[index].summary.data();
  return 1;
}

size_t pygc_help(const char* command, char* out, size_t size) {
  std::size_t bytes = 0;
  Quietly([&] { bytes = PutText(pygc::engine::HelpText(Text(command)), out, size); });
  return bytes;
}

size_t pygc_complete(size_t word_count, const char* const* words, int* kind, char* out, size_t size) {
  std::size_t bytes = 0;
  if (kind != nullptr) *kind = 0;
  Quietly([&] {
    std::vector<std::string> line;
    for (std::size_t i = 0; i < word_count; ++i) line.push_back(Text(words[i]));
    if (kind != nullptr) *kind = static_cast<int>(pygc::engine::KindOfLastWord(line));
    std::string text;
    for (const std::string& word : pygc::engine::Completions(line)) text += word + "\n";
    bytes = PutText(text, out, size);
  });
  return bytes;
}

pygc_session* pygc_open(char* line) { return Open(nullptr, line); }
pygc_session* pygc_open_with(const char* worker, char* line) { return Open(worker, line); }
void pygc_close(pygc_session* session) { delete session; }
int pygc_is_usable(const pygc_session* session) { return session->client->is_alive() && !session->client->is_busy() ? 1 : 0; }

void pygc_set_core(pygc_session* session, const char* path) {
  Quietly([&] {
    NewTarget(session, TargetRoute::kCore);
    session->target.path = Text(path);
  });
}

void pygc_set_live_pid(pygc_session* session, int pid) {
  Quietly([&] {
    NewTarget(session, TargetRoute::kLivePid);
    session->target.pid = pid;
  });
}

void pygc_set_stopped_pid(pygc_session* session, int pid) {
  Quietly([&] {
    NewTarget(session, TargetRoute::kStoppedPid);
    session->target.pid = pid;
  });
}

void pygc_set_no_target(pygc_session* session, const char* reason) {
  Quietly([&] {
    NewTarget(session, TargetRoute::kNone);
    session->target.why_none = Text(reason);
  });
}

void pygc_set_memory(pygc_session* session, const pygc_memory* memory) {
  if (memory == nullptr) return;
  Quietly([&] {
    if (session->target.route == TargetRoute::kNone) NewTarget(session, TargetRoute::kServed);
    session->target.can_serve = true;
    ServedDescription& served = session->served;
    served = {};
    served.is_core = memory->is_core != 0;
    served.pid = memory->pid;
    served.path = Text(memory->path);
    for (std::size_t i = 0; i < memory->region_count; ++i) {
      const pygc_region& r = memory->regions[i];
      served.regions.push_back({{r.begin, r.end}, r.readable != 0, r.writable != 0, r.executable != 0, Text(r.file), r.file_offset});
    }
    for (std::size_t i = 0; i < memory->thread_count; ++i) {
      const pygc_thread& t = memory->threads[i];
      pygc::worker::ServedThread thread{t.tid, t.signal, t.has_registers != 0, {}};
      std::copy_n(t.registers, thread.registers.size(), thread.registers.begin());
      served.threads.push_back(thread);
    }
  });
}

void pygc_add_module_file(pygc_session* session, const char* name, const char* file) {
  Quietly([&] { session->target.module_files.emplace_back(Text(name), Text(file)); });
}
void pygc_target_changed(pygc_session* session) { ++session->target.generation; }
void pygc_target_runs(pygc_session* session, const char* reason) {
  Quietly([&] {
    session->target.why_none = Text(reason);
    session->target.route = TargetRoute::kCopy;
  });
}
void pygc_set_output(pygc_session* session, const char* host, unsigned columns, int colours) {
  Quietly([&] {
    session->host = Text(host);
    session->columns = columns;
    session->colours = colours != 0;
  });
}

int pygc_run(pygc_session* session, size_t word_count, const char* const* words, const pygc_callbacks* callbacks, void* user) {
  try {
    static constexpr pygc_callbacks kNone{};
    CallbackHost host(*session, callbacks != nullptr ? *callbacks : kNone, user);
    if (session->client->is_busy()) {
      host.Err("pygc: this session still runs a command: end it first (pygc_next until PYGC_EVENT_DONE or PYGC_EVENT_DIED)\n");
      return kUsageStatus;
    }
    RenewWhereConfined(session, word_count, words);
    return RunCommand(*session->client, RequestOf(*session, word_count, words), host);
  } catch (const std::exception&) {
    session->client->Kill();
    return 6;
  }
}

int pygc_begin(pygc_session* session, size_t word_count, const char* const* words) {
  try {
    if (session->client->is_busy()) return kUsageStatus;
    session->cancelled = session->killed = false;
    RenewWhereConfined(session, word_count, words);
    const pygc::Result<void> begun = session->client->Begin(RequestOf(*session, word_count, words));
    return begun ? 0 : begun.error().code == pygc::ErrorCode::kLimit ? kUsageStatus : 6;
  } catch (const std::exception&) {
    return 6;
  }
}

void pygc_next(pygc_session* session, int timeout_ms, pygc_event* event) {
  *event = {};
  try {
    if (session->cancelled && std::chrono::steady_clock::now() >= session->kill_at) {
      session->killed = true;
      session->client->Kill();
    }
    session->event = session->client->Next(timeout_ms);
    if (session->killed && session->event.kind == WorkerEvent::Kind::kDied) session->event.text = "interrupted; the worker did not stop in time and was ended";
  } catch (const std::exception&) {
    session->client->Kill();
    session->event = {};
    session->event.kind = WorkerEvent::Kind::kDied;
    session->event.text = "memory ran out in the debugger";
  }
  const WorkerEvent& e = session->event;
  event->bytes = e.text.c_str();
  event->size = e.text.size();
  switch (e.kind) {
    case WorkerEvent::Kind::kNothing: break;
    case WorkerEvent::Kind::kOut: event->kind = PYGC_EVENT_OUT; break;
    case WorkerEvent::Kind::kErr: event->kind = PYGC_EVENT_ERR; break;
    case WorkerEvent::Kind::kProgress:
      event->kind = PYGC_EVENT_PROGRESS;
      event->bytes = e.progress.stage.c_str();
      event->size = e.progress.stage.size();
      event->done = e.progress.done;
      event->total = e.progress.total;
      break;
    case WorkerEvent::Kind::kDescribe: Quietly([&] { session->client->SendDescription(session->served); }); break;
    case WorkerEvent::Kind::kRead:
      event->kind = PYGC_EVENT_READ;
      event->address = e.read.address;
      event->size = e.read.size;
      break;
    case WorkerEvent::Kind::kCopied:
      event->kind = PYGC_EVENT_COPIED;
      event->done = static_cast<std::uint64_t>(e.seconds * 1e6);
      break;
    case WorkerEvent::Kind::kDone:
      event->kind = PYGC_EVENT_DONE;
      event->status = e.status;
      break;
    case WorkerEvent::Kind::kDied:
      event->kind = PYGC_EVENT_DIED;
      event->status = session->cancelled ? 130 : 6;
      break;
  }
}

void pygc_reply(pygc_session* session, const void* bytes, size_t size) {
  const std::size_t asked = session->event.read.size;
  Quietly([&] { session->client->SendMemory(session->event.read.id, {static_cast<const std::byte*>(bytes), std::min(size, asked)}); });
}

void pygc_cancel(pygc_session* session, int now) {
  Quietly([&] {
    session->killed = session->killed || now != 0;
    if (now != 0) session->client->Kill();
    else session->client->Cancel();
    if (!session->cancelled) session->kill_at = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    session->cancelled = true;
  });
}

}  // extern "C"
