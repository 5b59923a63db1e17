// What signal.signal() registered: the interpreter's table of handlers, found by what it holds, since few releases say where it lies.
#pragma once

#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/objects/object_reader.h"

namespace pygc::snapshot {

struct SignalHandler {
  int signal = 0;
  Address function = 0;
};

/// The handlers that are objects of the program or the library: not those that are SIG_DFL, SIG_IGN or None. Empty where the table is not found.
/// CPython: Handlers[], Modules/signalmodule.c [2.7, 3.6-3.11]; _PyRuntime.signals.handlers, Include/internal/pycore_signal.h [3.12+].
[[nodiscard]] std::vector<SignalHandler> FindSignalHandlers(const objects::ObjectReader& reader);

/// The module that has getsignal(): "_signal", in 2.7 "signal"; empty where there is none.
[[nodiscard]] std::string SignalModule(const objects::ObjectReader& reader);

/// "SIGUSR1", as Linux numbers them; "signal 40" of one without a name.
[[nodiscard]] std::string SignalText(int signal);

}  // namespace pygc::snapshot
