# What every target of pygc is compiled with.
add_library(pygc_options INTERFACE)
target_compile_features(pygc_options INTERFACE cxx_std_20)
target_compile_options(pygc_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -fno-strict-aliasing)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Flow-based warnings of g++ 12 and newer that fire inside libstdc++ on correct code (std::string + literal: GCC bug 105651).
  target_compile_options(pygc_options INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds)
endif()
if(PYGC_WERROR)
  target_compile_options(pygc_options INTERFACE -Werror)
endif()
if(PYGC_FUZZ)  # every target counts which of its edges were reached; the entries add the driver
  target_compile_options(pygc_options INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(pygc_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(PYGC_SANITIZE)
  target_compile_options(pygc_options INTERFACE -fsanitize=${PYGC_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(pygc_options INTERFACE -fsanitize=${PYGC_SANITIZE})
else()
  target_compile_definitions(pygc_options INTERFACE $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
endif()
target_compile_options(pygc_options INTERFACE -fstack-protector-strong)
target_link_options(pygc_options INTERFACE $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-Wl,-z,relro,-z,now>)  # the LLDB plugin binds late: its host's version first
target_compile_definitions(pygc_options INTERFACE PYGC_VERSION="${PROJECT_VERSION}")
