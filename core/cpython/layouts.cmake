# Embeds every layouts/*.layout: PYGC_LAYOUT_SOURCES is the generated file that defines kBuiltinLayoutTexts (builtin_layouts.h).
set(_pygc_layout_dir "${CMAKE_CURRENT_LIST_DIR}/layouts")
file(GLOB _pygc_layout_files CONFIGURE_DEPENDS "${_pygc_layout_dir}/*.layout")
set(PYGC_LAYOUT_SOURCES "${PROJECT_BINARY_DIR}/generated/builtin_layouts.cc")
add_custom_command(
  OUTPUT "${PYGC_LAYOUT_SOURCES}"
  COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${PYGC_LAYOUT_SOURCES}" "-DDIR=${_pygc_layout_dir}" -P "${CMAKE_CURRENT_LIST_DIR}/embed_layouts.cmake"
  DEPENDS ${_pygc_layout_files} "${CMAKE_CURRENT_LIST_DIR}/embed_layouts.cmake"
  COMMENT "Embedding the CPython layouts"
  VERBATIM)

# The files must say what the builds on this machine say. Builds that are not here are named as not checked.
find_package(Python3 COMPONENTS Interpreter QUIET)
find_program(PYGC_GDB gdb)
if(PYGC_TESTS AND Python3_FOUND AND PYGC_GDB)
  add_test(NAME arch.layouts COMMAND "${Python3_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/scripts/gen_layout.py" check)
  set_tests_properties(arch.layouts PROPERTIES LABELS arch TIMEOUT 600)
endif()
