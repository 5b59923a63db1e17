# What every target of pygc is compiled with.
add_library(pygc_options INTERFACE)
target_compile_features(pygc_options INTERFACE cxx_std_20)
# In batches (PYGC_UNITY) what one source declares is before the eyes of the next, as if it stood in a header.
target_compile_options(pygc_options INTERFACE -Wall -Wextra -Wpedantic $<IF:$<BOOL:${PYGC_UNITY}>,$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>,-Wshadow> -fno-strict-aliasing)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Flow-based warnings of g++ 12 and newer that fire inside libstdc++ on correct code (std::string + literal: GCC bug 105651).
  target_compile_options(pygc_options INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds)
  if(NOT CMAKE_BUILD_TYPE STREQUAL "Release")  # and on std::optional at other levels of optimization, with sanitizers or counters (GCC bug 80635)
    target_compile_options(pygc_options INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()
if(PYGC_WERROR)
  target_compile_options(pygc_options INTERFACE -Werror)
endif()
if(PYGC_FUZZ)  # every target counts which of its edges were reached, not those of containers (not_counted.list); the entries add the driver
  target_compile_options(pygc_options INTERFACE -fsanitize=fuzzer-no-link -fsanitize-coverage-ignorelist=${PROJECT_SOURCE_DIR}/tests/fuzz/not_counted.list)
  target_link_options(pygc_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
# _GLIBCXX_ASSERTIONS checks the bounds of operator[], front(), *optional ... of the standard library: an error ends the worker, which its host tells as one line.
# Everywhere it costs 34 % of the instructions of `leaks` (tests/bench/instructions.py): in what users get it stands in the layers that read files and write
# reports (pygc_layers.cmake), in builds under sanitizers and for fuzzing in all of them.
if(PYGC_SANITIZE)
  target_compile_definitions(pygc_options INTERFACE _GLIBCXX_ASSERTIONS)
  target_compile_options(pygc_options INTERFACE -fsanitize=${PYGC_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(pygc_options INTERFACE -fsanitize=${PYGC_SANITIZE})
else()
  # Level 3 checks sizes that are known only at run time (g++ 12, clang 9 with glibc 2.34); an older library takes it for 2. Without optimization it is none.
  target_compile_options(pygc_options INTERFACE $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=3>)
  target_compile_options(pygc_options INTERFACE -fstack-clash-protection -fcf-protection)
endif()
target_compile_options(pygc_options INTERFACE -fstack-protector-strong)
target_link_options(pygc_options INTERFACE -Wl,-z,relro,-z,noexecstack)
# The LLDB plugin binds late: its host's version comes first.
target_link_options(pygc_options INTERFACE $<$<NOT:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,MODULE_LIBRARY>>:-Wl,-z,now>)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C CXX)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
target_compile_definitions(pygc_options INTERFACE PYGC_VERSION="${PROJECT_VERSION}")
