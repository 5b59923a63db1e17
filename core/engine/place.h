// What lies at an address, for whoever asks about one that is no object.
#pragma once

#include <string>

#include "core/engine/command.h"

namespace pygc::engine {

/// As DescribePlace() (inspector.h), and of memory of the allocators the block: "a free block of 48 bytes of pymalloc, at +8". Reads the allocators' structures:
/// not for many addresses.
[[nodiscard]] std::string DescribeAddress(const CommandInput& input, Address address);

/// "a free block of 48 bytes of pymalloc, at +0" where the allocator says that what lies at the address was given back; empty otherwise. As costly.
[[nodiscard]] std::string DescribeFreed(const CommandInput& input, Address address);

}  // namespace pygc::engine
