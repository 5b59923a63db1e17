// Whose memory lies at an address that is no object: the object that has its items, table or buffer there.
#pragma once

#include <optional>
#include <string>

#include "core/base/address.h"
#include "core/engine/command.h"

namespace pygc::engine {

/// "inside the items of a list at 0x..., at +24 (item [3])", "inside memory that an array.array at 0x... refers to, at +8"; empty where no object is known to have it.
/// `block`: what an allocator handed out around the address, or just the address. One pass over all objects.
[[nodiscard]] std::string DescribeMemoryOf(const CommandInput& in, Address address, const AddressRange& block);

}  // namespace pygc::engine
