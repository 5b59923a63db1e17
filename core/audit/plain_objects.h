// Types of the standard library without a collector whose instances are told by their content: every field has a range.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/target/memory_image.h"

namespace pygc::audit {

/// The bytes of the object at `object`, of a type of that name, where all of its fields are what they can be; 0 where they are not; nullopt where the type is none
/// of these.
/// `head`: bytes of a PyObject. CPython: Include/datetime.h, Modules/_decimal/_decimal.c (PyDecObject) [2.7-3.15].
[[nodiscard]] std::optional<std::uint64_t> PlainObjectBytes(const target::MemoryImage& memory, std::string_view type, Address object, std::uint32_t head) noexcept;

}  // namespace pygc::audit
