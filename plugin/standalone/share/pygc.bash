# Completion of pygc and pygc-triage for bash. Asks the program itself, so that it knows the commands and options of the version that is installed.
_pygc_options() { "$@" --help 2>/dev/null | grep -oE '^ +-[^ ].*' | sed -E 's/  +[^-].*//' | grep -oE '(^|[ ,])--?[a-zA-Z][a-z-]*' | tr -d ' ,'; }
_pygc_commands() { "$1" --help 2>/dev/null | sed -nE '/^Commands/,/^$/s/^  ([a-z][a-z-]+) .*/\1/p'; }

# Names of files, or with -d of folders, for readline to quote and to go on in.
_pygc_files() {
  mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
  compopt -o filenames 2>/dev/null
}

_pygc() {
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]} command='' word i
  COMPREPLY=()
  case $before in
    -c | --core | -e | --exe | -o | --save | --layout | --baseline | --module | -x) _pygc_files -f "$current"; return ;;
    --sysroot | --debug-dir) _pygc_files -d "$current"; return ;;
    -p | --pid) mapfile -t COMPREPLY < <(compgen -W "$(cd /proc && printf '%s\n' [0-9]*)" -- "$current"); return ;;
    --fail-on) mapfile -t COMPREPLY < <(compgen -W 'definite pending never' -- "$current"); return ;;
    --color) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$current"); return ;;
  esac
  local commands
  commands=$(_pygc_commands "$program")
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if grep -qxF -- "$word" <<<"$commands"; then command=$word; break; fi
  done
  if [[ $before == --format ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$("$program" $command --help 2>/dev/null | sed -nE 's/^ +--format [A-Z]+ +(.*)/\1/p' | tr -c 'a-z\n-' ' ' | sed 's/ or / /g')" -- "$current")
  elif [[ $before == --by && $command == heap ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'type module site' -- "$current")
  elif [[ $before == --state && $command == heap ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'uncollectable unreachable reachable' -- "$current")
  elif [[ $command == diff && $current != -* ]]; then
    _pygc_files -f "$current"
  elif [[ $current == -* || -n $command ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_pygc_options "$program" $command)" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
  fi
}

_pygc_triage() {
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  if [[ $before == --fail-on ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'definite pending never' -- "$current")
  elif [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]+' | sort -u)" -- "$current")
  else
    _pygc_files -f "$current"
  fi
}

complete -F _pygc pygc
complete -F _pygc_triage pygc-triage
