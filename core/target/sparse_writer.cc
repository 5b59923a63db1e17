#include "core/target/sparse_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "core/base/byte_reader.h"

namespace pygc::target {

bool WriteSparse(int descriptor, std::span<const std::byte> bytes, std::uint64_t at) {
  while (!bytes.empty()) {
    const std::size_t block = std::min<std::size_t>(bytes.size(), 65536);
    if (!IsZero(bytes.first(block))) {
      const ssize_t n = pwrite(descriptor, bytes.data(), block, static_cast<off_t>(at));
      if (n <= 0) {
        if (n < 0 && errno == EINTR) continue;
        return false;
      }
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      at += static_cast<std::uint64_t>(n);
      continue;
    }
    bytes = bytes.subspan(block);
    at += block;
  }
  return true;
}

SparseWriter::SparseWriter(int descriptor, bool beside) : descriptor_(descriptor) {
  if (!beside) return;
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error&) {  // no thread to be had: Append() writes
  }
}

SparseWriter::~SparseWriter() { static_cast<void>(Finish()); }

bool SparseWriter::Append(std::span<const std::byte> bytes) {
  if (!thread_.joinable()) {
    Write(bytes);
    return error_ == 0;
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_bytes_ < kMostWaiting || error_ != 0; });
  if (error_ != 0) return false;
  waiting_bytes_ += bytes.size();
  std::vector<std::byte> piece;
  if (!spare_.empty()) {
    piece = std::move(spare_.back());
    spare_.pop_back();
  }
  lock.unlock();
  piece.assign(bytes.begin(), bytes.end());
  lock.lock();
  waiting_.push_back(std::move(piece));
  lock.unlock();
  changed_.notify_all();
  return true;
}

bool SparseWriter::Finish() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  return error_ == 0;
}

void SparseWriter::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !waiting_.empty() || ended_; });
    if (waiting_.empty() || error_ != 0) return;
    std::vector<std::byte> piece = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    const int error = WriteSparse(descriptor_, piece, at_) ? 0 : std::max(errno, 1);
    at_ += piece.size();
    lock.lock();
    error_ = error;
    waiting_bytes_ -= piece.size();
    spare_.push_back(std::move(piece));
    changed_.notify_all();
  }
}

void SparseWriter::Write(std::span<const std::byte> bytes) {
  if (error_ != 0) return;
  if (!WriteSparse(descriptor_, bytes, at_)) error_ = std::max(errno, 1);
  at_ += bytes.size();
}

}  // namespace pygc::target
