// Which object a thread is at: what a worker that dies can still tell. One word a thread, stored where the reading of an object begins; nothing reads it but
// the handler of a signal that ends the process (plugin/worker/last_words.h).
#pragma once

#include "core/base/address.h"

namespace pygc {

/// The object that this thread reads, or read last. 0: none yet.
inline constinit thread_local Address object_in_hand = 0;

}  // namespace pygc
