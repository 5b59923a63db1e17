#include "plugin/worker/stack.h"

#include <pthread.h>
#include <sys/resource.h>

#include <exception>

namespace pygc::worker {
namespace {

struct CallOnStack {
  const std::function<int()>& run;
  int status = 0;
  std::exception_ptr failure;
};

void* RunOnStack(void* argument) {
  auto& call = *static_cast<CallOnStack*>(argument);
  try {
    call.status = call.run();
  } catch (...) {
    call.failure = std::current_exception();
  }
  return nullptr;
}

// Whether the first thread's stack may grow to kStack: the kernel looks at the limit of the moment in which it grows.
bool RaiseLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_STACK, &limit) != 0) return true;
  if (limit.rlim_cur >= kStack) return true;  // RLIM_INFINITY is the largest
  if (limit.rlim_max < kStack) return false;
  limit.rlim_cur = kStack;
  return setrlimit(RLIMIT_STACK, &limit) == 0;
}

}  // namespace

int WithWholeStack(const std::function<int()>& run) {
  pthread_attr_t attributes;
  if (pthread_getattr_default_np(&attributes) != 0) return run();
  std::size_t size = 0;
  if (pthread_attr_getstacksize(&attributes, &size) == 0 && size < kStack && pthread_attr_setstacksize(&attributes, kStack) == 0) pthread_setattr_default_np(&attributes);
  CallOnStack call{run, 0, nullptr};
  pthread_t thread;
  const bool apart = !RaiseLimit() && pthread_create(&thread, &attributes, RunOnStack, &call) == 0;
  pthread_attr_destroy(&attributes);
  if (!apart) return run();
  pthread_join(thread, nullptr);
  if (call.failure) std::rethrow_exception(call.failure);
  return call.status;
}

}  // namespace pygc::worker
