// The report of `pygc stacks`: what each thread was running.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/header.h"
#include "core/report/resource.h"

namespace pygc::report {

struct StackLocal {
  std::string name, type;
  Address address = 0;
  std::optional<std::string> value;  // where values are asked for
};

struct StackFrame {
  std::string function, qualified_name, file;
  std::int64_t line = -1;              // -1: not known
  std::optional<Address> frame_object;  // where one was made
  std::vector<StackLocal> locals;
};

struct ThreadStackReport {
  std::int64_t interpreter = 0;
  std::uint64_t thread_id = 0;              // pthread_self(), what threading.get_ident() says
  std::optional<std::uint64_t> native_id;   // of the kernel
  Address tstate = 0;
  std::optional<bool> holds_gil;            // nullopt: not known
  std::int32_t signal = 0;                  // that stopped it; 0: none
  std::optional<ResourceRow> waits_for;     // the lock that it sleeps on, where one was found
  bool complete = true;                     // false: the chain of frames could not be followed to its end
  std::uint64_t frame_count = 0;
  std::uint64_t left_out_before = 0;        // index in `frames` where frame_count - frames.size() frames are left out
  std::vector<StackFrame> frames;           // the most recent call first
};

struct StacksReport {
  bool with_locals = false;
  std::vector<ThreadStackReport> threads;
};

void WriteText(const Header& header, const StacksReport& report, TextWriter& out);
void WriteJson(const Header& header, const StacksReport& report, JsonWriter& json);

}  // namespace pygc::report
