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
complete -c pygc -s o -r -F
complete -c pygc -l baseline -r -F
complete -c pygc -l fail-on -x -a 'definite pending never'
complete -c pygc -l color -x -a 'auto always never'
complete -c pygc-triage -l fail-on -x -a 'definite pending never'
complete -c pygc-triage -a '(pygc-triage --help 2>/dev/null | string match -ra -- "--[a-z][a-z-]+" | sort -u)' -n 'string match -q -- "-*" (commandline -ct)'
