// Frames over one stream socket. Owns the descriptor; never raises SIGPIPE, never waits without a bound that the caller gave.
// Not for what the frames mean: that is protocol.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "plugin/worker/protocol.h"

namespace pygc::worker {

class Channel {
 public:
  /// Takes over `fd`, a connected stream socket.
  explicit Channel(int fd) noexcept : fd_(fd) {}
  ~Channel() { Close(); }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  enum class Status {
    kFrame,    // `frame` is set
    kNothing,  // the time is up, or a signal came
    kClosed,   // the other side has closed, or died
    kBroken,   // the other side sent what is no frame; nothing more can be read
  };
  struct Received {
    Status status = Status::kNothing;
    Frame frame;
  };

  /// The next frame. Waits `timeout_ms` at most; 0 does not wait, negative waits for ever (a signal ends it).
  [[nodiscard]] Received Receive(int timeout_ms);

  /// Sends all of `frame`. Waits while the other side makes room, `stall_ms` without any progress at most (negative: for ever).
  /// Errors: kLimit when the payload is larger than kMaxFrameBytes, kHost when the other side has closed or does not read.
  [[nodiscard]] Result<void> Send(const Frame& frame, int stall_ms = -1);

  /// Sends `line` as kErr from a handler of signals, where no other frame is half sent; waits for nothing. After it nobody else sends any more.
  void SendLastWords(std::string_view line) noexcept;

  void Close() noexcept;
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

 private:
  /// True when a whole frame (or a broken header) lies in the buffer.
  bool TakeBuffered(Received* out);

  int fd_;
  std::atomic<bool> sending_ = false, last_ = false;
  std::vector<std::byte> buffer_;
  std::size_t used_ = 0;  // bytes of buffer_ that were handed out already
};

}  // namespace pygc::worker
