// LLDB's selected process as a target of the worker: which way the worker can reach it by itself, and the memory where only LLDB can.
#pragma once

#include <lldb/API/SBProcess.h>
#include <lldb/API/SBTarget.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "plugin/worker/protocol.h"

namespace pygc::lldb_host {

/// What commands say of a process that runs.
[[nodiscard]] const char* WhyNotRunning();

/// False for cores and minidumps.
[[nodiscard]] bool IsLive(lldb::SBProcess process);

/// Fills route, path or pid, generation and candidates. Never fails: no usable process gives TargetRoute::kNone with the reason.
[[nodiscard]] worker::TargetDescription DescribeTarget(lldb::SBTarget target);

/// Regions and threads through the SB API: for minidumps, remote processes and whatever else the worker cannot open.
[[nodiscard]] worker::ServedDescription DescribeForServing(lldb::SBProcess process);

/// The bytes that LLDB really returned. Its SBError says success for short reads too, so only the count is believed.
[[nodiscard]] std::size_t ReadMemory(lldb::SBProcess& process, std::uint64_t address, std::span<std::byte> out);

}  // namespace pygc::lldb_host
