# shellcheck shell=bash disable=SC2034
# The Debian packages that pygc needs, by purpose, and their installation. Sourced by scripts/test and scripts/demo; bash.
# Not for the interpreters that the tests run on: scripts/interpreters brings those without installing anything.

# Compiler, libraries, and what reads and dumps a process.
PYGC_BUILD_PACKAGES=(
  g++ cmake ninja-build ccache pkg-config
  libelf-dev libdw-dev libcapstone-dev libfmt-dev libcli11-dev rapidjson-dev libexpected-dev
  libsqlite3-dev libarchive-dev zlib1g-dev libseccomp-dev libtbb-dev libedit-dev doctest-dev
  liblldb-dev lldb
)
PYGC_RUN_PACKAGES=(gdb python3 procps)
# The tests: another Debian suite's packages are checked against Debian's keyring, one interpreter is built from source; ctypes and git for the harness.
PYGC_TEST_PACKAGES=(debian-archive-keyring make dpkg-dev man-db libffi-dev libssl-dev ca-certificates apt dpkg git binutils util-linux libc6-dev python3-jsonschema python3-six pypy3 graphviz valgrind)

pygc_missing_packages() {   # names that are not installed, one a line
  local name status
  for name in "$@"; do
    status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null) || status=
    case $status in ii*) ;; *) printf '%s\n' "$name" ;; esac
  done
}

pygc_install_packages() {   # installs what is missing of the names given; says what it installs
  local missing root=()
  mapfile -t missing < <(pygc_missing_packages "$@")
  [ "${#missing[@]}" -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "pygc: not a Debian system (no apt-get). Install by hand: ${missing[*]}" >&2
    return 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      echo "pygc: these packages are missing, and there is neither root nor sudo to install them: ${missing[*]}" >&2
      return 1
    fi
    root=(sudo)
  fi
  echo "installing (some hundred MB; a few minutes): ${missing[*]}"
  # An index that is there may be good enough; where it is not, or is too old, it is fetched once.
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 --no-install-recommends install "${missing[@]}" >/dev/null 2>&1 && return 0
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq update || return 1
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 --no-install-recommends install "${missing[@]}" >/dev/null || {
    echo "pygc: apt-get could not install: ${missing[*]}" >&2
    return 1
  }
}
