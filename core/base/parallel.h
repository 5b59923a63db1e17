// Runs pieces of work on several threads. Results are stored by piece, so that they do not depend on the number of threads or on who did what.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace pygc {

/// Number of threads for `limits_threads` (0: one for each processor) and `pieces` of work.
[[nodiscard]] inline unsigned ThreadCount(unsigned limits_threads, std::size_t pieces) {
  const unsigned wanted = limits_threads != 0 ? limits_threads : std::max(1u, std::thread::hardware_concurrency());
  return static_cast<unsigned>(std::clamp<std::size_t>(pieces, 1, wanted));
}

/// Calls work(piece, thread) for every piece in [0, pieces), pieces handed out in order. The calling thread is thread 0 and calls tick(pieces done)
/// between its pieces; when tick or a work returns false, no further piece is begun. Returns false then. An exception of any thread is thrown in the
/// caller.
template <typename Work, typename Tick>
bool ForEachPiece(std::size_t pieces, unsigned threads, Work&& work, Tick&& tick) {
  std::atomic<std::size_t> next{0}, done{0};
  std::atomic<bool> stop{false};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&](unsigned thread) {
    try {
      for (;;) {
        if (thread == 0 && !tick(done.load(std::memory_order_relaxed))) stop = true;
        const std::size_t piece = stop ? pieces : next.fetch_add(1);
        if (piece >= pieces) return;
        if (!work(piece, thread)) stop = true;
        done.fetch_add(1, std::memory_order_relaxed);
      }
    } catch (...) {
      const std::lock_guard lock(failure_mutex);
      failure = std::current_exception();
      stop = true;
    }
  };
  std::vector<std::thread> others;
  try {
    for (unsigned t = 1; t < threads; ++t) others.emplace_back(run, t);
  } catch (const std::system_error&) {
    // No more threads to be had: those that there are do the work.
  }
  run(0);
  for (std::thread& t : others) t.join();
  if (failure) std::rethrow_exception(failure);
  return !stop;
}

/// Calls both; with more than one thread (`limits_threads`: 0 for one on each processor) `beside` runs on another one, where one can be had. An exception of
/// either is thrown in the caller.
template <typename Here, typename Beside>
void BesideEachOther(unsigned limits_threads, Here&& here, Beside&& beside) {
  std::exception_ptr failure;
  std::thread other;
  const auto run = [&] {
    try {
      beside();
    } catch (...) {
      failure = std::current_exception();
    }
  };
  if (ThreadCount(limits_threads, 2) > 1) {
    try {
      other = std::thread(run);
    } catch (const std::system_error&) {  // no more threads to be had
    }
  }
  const bool started = other.joinable();
  try {
    here();
  } catch (...) {
    if (started) other.join();
    throw;
  }
  if (started) {
    other.join();
  } else {
    run();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace pygc
