# Completion of pygc and pygc-triage for fish. Asks the program itself.
function __pygc_commands
    pygc --help 2>/dev/null | string match -rg '^  ([a-z][a-z-]+ {2,}.*)$' | string replace -r ' {2,}' '\t'
end
function __pygc_command
    set -l names (__pygc_commands | string split -f1 \t)
    for word in (commandline -opc)[2..-1]
        contains -- $word $names; and echo $word; and return
    end
    return 1
end
function __pygc_options
    pygc (__pygc_command) --help 2>/dev/null | string match -rg '^ +(-.*)$' | string replace -r ' {2,}' '\t' | while read -l -d \t left what
        for option in (string match -ra -- '--?[a-zA-Z][a-z-]*' $left)
            printf '%s\t%s\n' $option $what
        end
    end
end
complete -c pygc -f
complete -c pygc -n 'not __pygc_command' -a '(__pygc_commands)'
complete -c pygc -a '(__pygc_options)' -n 'string match -q -- "-*" (commandline -ct)'
complete -c pygc -s c -l core -r -F
complete -c pygc -s e -l exe -r -F
complete -c pygc -s o -r -F
complete -c pygc -s x -r -F
complete -c pygc -s p -l pid -x -a '(__fish_complete_pids)'
for option in baseline save layout module sysroot debug-dir
    complete -c pygc -l $option -r -F
end
complete -c pygc -n 'string match -q diff -- (__pygc_command)' -F
complete -c pygc -l format -x -a '(pygc (__pygc_command) --help 2>/dev/null | string match -rg "^ +--format [A-Z]+ +(.*)" | string match -ra "[a-z-]+" | string match -v or)'
complete -c pygc -l by -x -a 'type module site'
complete -c pygc -l state -x -a 'uncollectable unreachable reachable'
complete -c pygc -l fail-on -x -a 'definite pending never'
complete -c pygc -l color -x -a 'auto always never'
complete -c pygc-triage -l fail-on -x -a 'definite pending never'
complete -c pygc-triage -a '(pygc-triage --help 2>/dev/null | string match -ra -- "--[a-z][a-z-]+" | sort -u)' -n 'string match -q -- "-*" (commandline -ct)'
