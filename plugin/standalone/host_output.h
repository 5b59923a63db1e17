// The terminal as the engine's OutputSink, for what the host says itself.
#pragma once

#include "core/engine/session.h"
#include "plugin/standalone/terminal_host.h"

namespace pygc::standalone {

class HostOutput final : public engine::OutputSink {
 public:
  explicit HostOutput(TerminalHost& host) : host_(host) {}
  bool Out(std::string_view bytes) override { return host_.Out(bytes); }
  void Err(std::string_view bytes) override { host_.Err(bytes); }

 private:
  TerminalHost& host_;
};

}  // namespace pygc::standalone
