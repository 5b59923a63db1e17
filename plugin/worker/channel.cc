#include "plugin/worker/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/base/byte_reader.h"

namespace pygc::worker {
namespace {

constexpr std::size_t kReadStepBytes = 256u << 10;

// 1: ready, 0: time is up or a signal came.
int WaitFor(int fd, short events, int timeout_ms) {
  pollfd p{fd, events, 0};
  return poll(&p, 1, timeout_ms) > 0 ? 1 : 0;
}

using FrameHeader = std::array<std::byte, kFrameHeaderBytes>;

FrameHeader HeaderOf(MessageType message, std::size_t payload_bytes) {
  FrameHeader header;
  const auto size = static_cast<std::uint32_t>(payload_bytes);
  const auto type = static_cast<std::uint32_t>(message);
  std::memcpy(header.data(), &size, 4);
  std::memcpy(header.data() + 4, &type, 4);
  return header;
}

// True while a frame is on its way.
class Sending {
 public:
  explicit Sending(std::atomic<bool>& flag) : flag_(flag) { flag_ = true; }
  ~Sending() { flag_ = false; }
  Sending(const Sending&) = delete;
  Sending& operator=(const Sending&) = delete;

 private:
  std::atomic<bool>& flag_;
};

}  // namespace

void Channel::SendLastWords(std::string_view line) noexcept {
  if (last_.exchange(true) || sending_ || fd_ < 0) return;
  FrameHeader header = HeaderOf(MessageType::kErr, line.size());
  iovec parts[2] = {{header.data(), header.size()}, {const_cast<char*>(line.data()), line.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  (void)sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Channel::Close() noexcept {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

bool Channel::TakeBuffered(Received* out) {
  const std::size_t available = buffer_.size() - used_;
  if (available < kFrameHeaderBytes) return false;
  const std::byte* p = buffer_.data() + used_;
  const auto size = LoadUnchecked<std::uint32_t>(p);
  const auto type = LoadUnchecked<std::uint32_t>(p + 4);
  if (size > kMaxFrameBytes) {
    out->status = Status::kBroken;
    return true;
  }
  if (available < kFrameHeaderBytes + size) return false;
  out->status = Status::kFrame;
  out->frame.type = static_cast<MessageType>(type);
  out->frame.payload.assign(p + kFrameHeaderBytes, p + kFrameHeaderBytes + size);
  used_ += kFrameHeaderBytes + size;
  if (used_ == buffer_.size()) {
    buffer_.clear();
    used_ = 0;
  }
  return true;
}

Channel::Received Channel::Receive(int timeout_ms) {
  Received out;
  while (!TakeBuffered(&out)) {
    if (fd_ < 0) {
      out.status = Status::kClosed;
      return out;
    }
    if (WaitFor(fd_, POLLIN, timeout_ms) == 0) return out;
    if (used_ > 0) {
      buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(used_));
      used_ = 0;
    }
    const std::size_t old = buffer_.size();
    buffer_.resize(old + kReadStepBytes);  // bounded: no frame is longer than kMaxFrameBytes, and a longer one is refused at its header
    const ssize_t n = recv(fd_, buffer_.data() + old, kReadStepBytes, MSG_DONTWAIT);
    buffer_.resize(old + (n > 0 ? static_cast<std::size_t>(n) : 0));
    if (n > 0) continue;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return out;
    out.status = Status::kClosed;
    return out;
  }
  return out;
}

Result<void> Channel::Send(const Frame& frame, int stall_ms) {
  if (frame.payload.size() > kMaxFrameBytes)
    return Fail(ErrorCode::kLimit, "a message of {} bytes between pygc and its worker is larger than {}", frame.payload.size(), kMaxFrameBytes);
  const Sending sending(sending_);
  while (last_) pause();  // another thread of this process is about to end it
  const FrameHeader header = HeaderOf(frame.type, frame.payload.size());
  const std::size_t total = kFrameHeaderBytes + frame.payload.size();
  std::size_t sent = 0;
  while (sent < total) {
    if (fd_ < 0) return Fail(ErrorCode::kHost, "the other side has closed");
    iovec parts[2];
    int count = 0;
    if (sent < kFrameHeaderBytes) parts[count++] = {const_cast<std::byte*>(header.data()) + sent, kFrameHeaderBytes - sent};
    const std::size_t from = sent > kFrameHeaderBytes ? sent - kFrameHeaderBytes : 0;
    if (from < frame.payload.size()) parts[count++] = {const_cast<std::byte*>(frame.payload.data()) + from, frame.payload.size() - from};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
    const ssize_t n = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      sent += static_cast<std::size_t>(n);
    } else if (n < 0 && errno == EAGAIN) {
      if (WaitFor(fd_, POLLOUT, stall_ms) == 0 && errno != EINTR && stall_ms >= 0) return Fail(ErrorCode::kHost, "the other side does not read");
    } else if (n < 0 && errno != EINTR) {
      return Fail(ErrorCode::kHost, "the other side has closed");
    }
  }
  return {};
}

}  // namespace pygc::worker
