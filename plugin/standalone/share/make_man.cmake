# Run with -P: writes OUTPUT, pygc(1), from what PROGRAM itself says with --help, so that the page has the commands and options that there are.
function(help_of out)
  execute_process(COMMAND "${PROGRAM}" ${ARGN} --help OUTPUT_VARIABLE text RESULT_VARIABLE status ERROR_VARIABLE problem)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${PROGRAM} ${ARGN} --help failed (${status}): ${problem}")
  endif()
  string(REPLACE "\\" "\\e" text "${text}")
  string(REPLACE "-" "\\-" text "${text}")
  string(REGEX REPLACE "(^|\n)([.'])" "\\1\\\\&\\2" text "${text}")  # a line that starts so would be a request
  set(${out} "${text}" PARENT_SCOPE)
endfunction()

help_of(all)
string(REGEX MATCH "Commands[^\n]*:\n(.*)\n\nExamples:" unused "${all}")
string(REGEX MATCHALL "(^|\n)  [a-z][a-z\\-]+" names "\n${CMAKE_MATCH_1}")
string(REGEX MATCH "^[^\n]*\n[^\n]*\n" description "${all}")
string(REPLACE "${description}" "" options "${all}")  # said before
set(page ".TH PYGC 1 \"\" \"pygc ${VERSION}\" \"User Commands\"\n.SH NAME\npygc \\- find what a Python process cannot free\n.SH SYNOPSIS\n.B pygc \\-c\n.I CORE COMMAND\n[OPTIONS]\n.br\n.B pygc \\-p\n.I PID COMMAND\n[OPTIONS]\n.SH DESCRIPTION\n${description}\n.SH OPTIONS\n.nf\n${options}.fi\n.SH COMMANDS\n")
foreach(name IN LISTS names)
  string(STRIP "${name}" name)
  string(REPLACE "\\-" "-" plain "${name}")
  help_of(text ${plain})
  string(APPEND page ".SS ${name}\n.nf\n${text}.fi\n")
endforeach()
string(APPEND page ".SH EXIT STATUS\n0 complete and no finding at or above \\-\\-fail\\-on, or done; 1 findings, of \\-\\-fail\\-on or of expect; 2 wrong usage, or the output cannot be written; "
  "3 partial analysis that found nothing, which is never to be taken for clean; 4 the input cannot be analysed; 5 not permitted, or no such process; 6 internal fault: what was finished is still "
  "printed; 130 interrupted: what is known was printed.\n")
string(APPEND page ".SH ENVIRONMENT\n.TP\n.B PYGC_WORKER\nThe program that debuggers start as the engine, where it is not the one that was installed with the plugin.\n.TP\n.B NO_COLOR\nNo colours, unless \\-\\-color=always.\n.TP\n.B TMPDIR\nWhere compressed cores and those on standard input are unpacked; else /tmp.\n.SH SEE ALSO\n.BR pygc\\-triage (1),\n.BR gdb (1),\n.BR lldb (1),\n.BR core (5),\n.BR coredumpctl (1)\n")
file(WRITE "${OUTPUT}" "${page}")
