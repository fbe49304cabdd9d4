# shellcheck shell=bash disable=SC2034
# Shared by ./run and ./test: packages, configuring, building. Sourced by bash, with `set -euo
# pipefail` on. Progress goes to standard error, what tools print to log files under build/.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
wrap=()  # What builds and tests are started with, if anything.
jobs=${DUOLU_JOBS:-$(nproc 2>/dev/null || echo 2)}

# What the tool is built with, what the tests need besides, what the benchmarks need (of the servers
# they compare, those are left out whose library is not there), and what `./test --full` adds.
build_packages=(cmake ninja-build g++ libcli11-dev libfmt-dev nlohmann-json3-dev zlib1g-dev)
# libpython3.N-testsuite is CPython's own tests, for the system's version of Python.
test_packages=(libgtest-dev libuv1-dev python3 python3-jsonschema
  libpython3.N-testsuite curl netcat-openbsd socat strace pkgconf valgrind)
bench_packages=(libbenchmark-dev libuv1-dev libevent-dev libev-dev libasio-dev valgrind strace
  util-linux python3)
full_packages=(clang-19 libclang-rt-19-dev libc++-19-dev libc++abi-19-dev googletest clang-tidy-19
  clang-format-19)

# Sanitizers: stop at the first finding, with a stack.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1}

say() { printf '%s\n' "$*" >&2; }

# die CODE MESSAGE...
die() {
  local code=$1
  shift
  say "$@"
  exit "$code"
}

is_installed() {
  local status
  status=$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) || return 1
  [[ $status == installed ]]
}

# The name that a package has in this release; nothing if the release has none. Before the lists of
# packages are there, libpython3.N-testsuite is known by Debian's python3 only if that is installed.
name_here() {
  local version
  if [[ $1 != *3.N* ]]; then
    printf '%s\n' "$1"
    return
  fi
  version=$(dpkg-query -W -f='${Depends}' python3 2>/dev/null ||
    apt-cache depends --important python3 2>/dev/null) || return 0
  if [[ $version =~ python3\.([0-9]+) ]]; then printf '%s\n' "${1/3.N/3.${BASH_REMATCH[1]}}"; fi
}

# Installs those of the named Debian packages that are missing. Asks nothing; touches nothing, the
# network neither, when all are there.
need_packages() {
  local package name missing=() as_root=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    # Not Debian: let CMake say what it cannot find, but name the tools nothing goes without.
    local tool
    for tool in cmake ninja c++; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    ((${#missing[@]} == 0)) && return
    die 2 "duolu: missing: ${missing[*]}. This is no Debian: install them," \
      "and what stands for the Debian packages: $*"
  fi
  for package; do
    name=$(name_here "$package")
    is_installed "${name:-$package}" || missing+=("${name:-$package}")
  done
  ((${#missing[@]} == 0)) && return

  local line="apt-get install -y --no-install-recommends ${missing[*]}"
  if ((EUID != 0)); then
    as_root=(sudo -n)
    [[ -t 0 && -t 2 ]] && as_root=(sudo)  # It may ask for a password where somebody can answer.
    if ! command -v sudo >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
      say "duolu: packages are missing, and installing them takes root. Run as root:"
      die 2 "  apt-get update && $line"
    fi
  fi

  mkdir -p "$root/build"
  local log=$root/build/packages.log
  say "duolu: installing ${missing[*]} (log: build/packages.log)"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q
    -o DPkg::Lock::Timeout=300)
  # One broken source among several makes `update` fail, and may not matter.
  "${apt[@]}" update </dev/null >"$log" 2>&1 || true
  local known=()
  for package in "${missing[@]}"; do
    name=$(name_here "$package")
    if [[ -n $name ]]; then
      known+=("$name")
    else
      say "duolu: this release has no $package; its tests are skipped"
    fi
  done
  line="apt-get install -y --no-install-recommends ${known[*]}"
  if ! "${apt[@]}" install -y --no-install-recommends "${known[@]}" </dev/null >>"$log" 2>&1; then
    tail -n 15 "$log" >&2
    say "duolu: installing packages failed (log: build/packages.log). By hand, as root:"
    die 1 "  apt-get update && $line"
  fi
}

# What the tests compare with, from the npm registry, into build/node. Without node or the registry
# those tests are skipped and say so.
fetch_node_packages() {
  local dir=$root/build/node
  cmp -s "$root/tests/load/hdr/package-lock.json" "$dir/node_modules/.fetched" && return
  command -v npm >/dev/null || need_packages nodejs npm
  mkdir -p "$dir"
  cp "$root"/tests/load/hdr/package*.json "$dir/"
  if (cd "$dir" && npm ci --no-audit --no-fund) </dev/null >"$dir/npm.log" 2>&1; then
    cp "$root/tests/load/hdr/package-lock.json" "$dir/node_modules/.fetched"
  else
    say "duolu: fetching npm packages failed (log: build/node/npm.log); their tests are skipped"
  fi
}

# One build at a time in a build folder: a second one waits.
lock_build() {
  mkdir -p "$root/build/$1"
  exec 9>"$root/build/$1/.lock"
  if ! flock -n 9; then
    say "duolu: waiting for another build in build/$1"
    flock 9
  fi
}
unlock_build() { exec 9>&-; }

# show_failure LOG WHAT: the compiler's words if there are any, else the end of the log.
show_failure() {
  if grep -qE '(error|warning):|^FAILED:' "$1"; then
    grep -E -A6 '(error|warning):|^FAILED:|undefined reference' "$1" | grep -v '^--$' |
      head -n 60 >&2
  else
    tail -n 30 "$1" >&2
  fi
  say "duolu: $2 failed (log: ${1#"$root"/})"
}

# Whether the preset was configured, and for this very place.
is_configured() {
  local dir=$root/build/$1
  [[ -f $dir/build.ninja ]] &&
    grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$dir/CMakeCache.txt"
}

# configure PRESET [CMAKE ARGUMENT...]
configure() {
  local preset=$1 dir=$root/build/$1
  shift
  mkdir -p "$dir"
  # The tree was moved, copied or is mounted elsewhere: what was built names the old place.
  if [[ -f $dir/CMakeCache.txt ]] && ! is_configured "$preset"; then
    find "$dir" -mindepth 1 ! -name .lock -delete
  fi
  if ! (cd "$root" && cmake --preset "$preset" "$@") </dev/null >"$dir/configure.log" 2>&1; then
    show_failure "$dir/configure.log" "configuring $preset"
    return 1
  fi
}

# build PRESET [TARGET...]: quiet when there is nothing to do; a line every half a minute (on a
# terminal the current step) while there is.
build() {
  local preset=$1 dir=$root/build/$1 targets=()
  shift
  (($# > 0)) && targets=(--target "$@")
  local log=$dir/build.log
  if ! "${wrap[@]}" cmake --build "$dir" --parallel "$jobs" "${targets[@]}" </dev/null 2>&1 |
    watch_build "$preset" "$log"; then
    show_failure "$log" "building $preset"
    return 1
  fi
}

watch_build() {
  local line told='' terminal=''
  local -i shown=$SECONDS
  [[ -t 2 ]] && terminal=1
  : >"$2"
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$2"
    [[ $line == \[*\]\ Building\ * ]] || continue
    if [[ -n $terminal ]]; then
      printf '\r\033[Kduolu: building %s %s' "$1" "${line%%]*}]" >&2
    elif [[ -z $told ]]; then
      say "duolu: building $1 (log: build/$1/build.log)"
    elif ((SECONDS - shown >= 30)); then
      say "duolu: building $1 ${line%%]*}], $SECONDS s"
      shown=$SECONDS
    fi
    told=1
  done
  [[ -z $terminal || -z $told ]] || printf '\r\033[K' >&2
}
