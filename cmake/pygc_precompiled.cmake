# Precompiled headers (PYGC_PRECOMPILED): what nearly every source includes of the standard library, fmt and doctest is read once for each way of compiling
# instead of once a source; a build from nothing takes a quarter less time. Sources say what they include all the same: builds without it check that.
set(PYGC_PRECOMPILED_HEADERS <algorithm> <array> <atomic> <bit> <cstddef> <cstdint> <cstdio> <cstdlib> <cstring> <functional> <limits> <map> <memory> <mutex> <optional> <set>
    <span> <string> <string_view> <thread> <unordered_map> <unordered_set> <utility> <vector> <fmt/format.h>)

# The target whose precompiled headers those of KIND share: kHot, kCold (layers), kTest (programs that test).
function(_pygc_precompiled_target KIND OUT)
  set(target pygc_precompiled_${KIND})
  set(${OUT} ${target} PARENT_SCOPE)
  if(TARGET ${target})
    return()
  endif()
  set(source "${PROJECT_BINARY_DIR}/${target}.cc")
  file(CONFIGURE OUTPUT "${source}" CONTENT "// Headers only.\n")
  if(KIND STREQUAL "test")
    add_executable(${target} EXCLUDE_FROM_ALL "${source}")   # -fPIE, as what tests are
    target_link_libraries(${target} PRIVATE doctest::doctest)
    target_precompile_headers(${target} PRIVATE <doctest/doctest.h>)
    pygc_compile_fast(${target})
  else()
    add_library(${target} STATIC EXCLUDE_FROM_ALL "${source}")
  endif()
  target_link_libraries(${target} PRIVATE pygc_options fmt::fmt)
  if(KIND STREQUAL "cold")
    target_compile_definitions(${target} PRIVATE _GLIBCXX_ASSERTIONS)
  endif()
  target_precompile_headers(${target} PRIVATE ${PYGC_PRECOMPILED_HEADERS})
endfunction()

# Lets TARGET share the headers of its KIND: hot and cold layers, test programs.
function(pygc_precompile TARGET KIND)
  if(PYGC_PRECOMPILED)
    _pygc_precompiled_target(${KIND} from)
    target_precompile_headers(${TARGET} REUSE_FROM ${from})
  endif()
endfunction()
