#!/usr/bin/env bash
# install_test.sh find_package|pkg_config|add_subdirectory|fetch_content|shared|guide|old_standard:
# builds and runs the consumer beside this file in that way (fetch_content: configures it; guide:
# a program of the tutorial, by the command that the guide gives; old_standard: what a compiler
# says that is not told C++23). The environment comes from CMakeLists.txt.
set -euo pipefail

consumer=$SOURCE/tests/install/consumer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

skip() {
  echo "SKIP: $*"
  exit 77
}

# quietly COMMAND...: its output only if it fails.
quietly() {
  "$@" >"$work/log" 2>&1 || {
    cat "$work/log"
    fail "$*"
  }
}

# The tree is moved after the installation: nothing in it may know where it was made.
install_from() {
  quietly "$CMAKE" --install "$1" --prefix "$work/first"
  mkdir -p "$work/moved"
  mv "$work/first" "$work/moved/prefix"
  prefix=$work/moved/prefix
  ! grep -rIlF -e "$SOURCE" -e "$work/first" "$prefix" || fail "these files name the build tree"
}

# Builds the consumer with CMake, runs it, and looks for our own compiler flags in its build.
cmake_consumer() {
  quietly "$CMAKE" -G "$GENERATOR" -S "$consumer" -B "$work/consumer" \
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@"
  quietly "$CMAKE" --build "$work/consumer" --target consumer
  "$work/consumer/consumer"
  "$work/consumer/testing_consumer"
  if [[ -x $work/consumer/c_consumer ]]; then
    "$work/consumer/c_consumer"
    echo "the C interface works, too"
  fi
  local command
  command=$(grep '"command".*consumer/main.cpp' "$work/consumer/compile_commands.json")
  [[ $command != *-Wconversion* && $command != *-Werror* ]] || fail "flags leak to users: $command"
}

case $1 in
  find_package)
    install_from "$BUILD"
    [[ -f $prefix/share/doc/duolu/LICENSE ]] || fail "the licence is not installed"
    if [[ -x $BUILD/duolu ]]; then
      "$prefix/bin/duolu" --version || fail "the installed tool does not start"
    fi
    cmake_consumer -DCMAKE_PREFIX_PATH="$prefix"
    # What tests run on is in its own library alone.
    libraries=$(dirname "$(find "$prefix" -name 'libduolu_testing.a')")
    [[ $(nm -C "$libraries/libduolu_testing.a") == *'FaultKernel::fail('* ]] ||
      fail "no FaultKernel"
    ! nm -C "$libraries"/libduolu.* | grep 'FaultKernel\|ForwardingKernel' ||
      fail "libduolu has what is for tests"
    # Another minor version may differ in its interface: it is refused.
    if "$CMAKE" -G "$GENERATOR" -S "$consumer" -B "$work/newer" -DCMAKE_PREFIX_PATH="$prefix" \
      -DWANTED=0.99 >"$work/log" 2>&1; then
      fail "version 0.99 was asked for, and $VERSION accepted"
    fi
    grep -q 'version: '"$VERSION" "$work/log" || { cat "$work/log"; fail "another reason"; }
    ;;

  pkg_config)
    command -v pkg-config >/dev/null || skip "pkg-config is not installed"
    install_from "$BUILD"
    pc=$(dirname "$(find "$prefix" -name duolu.pc)")
    export PKG_CONFIG_PATH=$pc
    [[ $(pkg-config --modversion duolu) == "$VERSION" ]] || fail "wrong version in duolu.pc"
    read -ra flags < <(pkg-config --cflags --libs duolu)
    [[ ${flags[*]} != *-W* ]] || fail "flags leak to users: ${flags[*]}"
    read -ra cxxflags <<<"$CXXFLAGS"
    quietly "$CXX" -std=c++23 "${cxxflags[@]}" "$consumer/main.cpp" "${flags[@]}" \
      -Wl,-rpath,"$(pkg-config --variable=libdir duolu)" -o "$work/program"
    "$work/program"
    read -ra flags < <(pkg-config --cflags --libs duolu-testing)
    quietly "$CXX" -std=c++23 "${cxxflags[@]}" "$consumer/testing.cpp" "${flags[@]}" \
      -Wl,-rpath,"$(pkg-config --variable=libdir duolu)" -o "$work/testing_program"
    "$work/testing_program"
    # With what users may have as errors; templates are instantiated by the examples.
    strict=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
      -Wold-style-cast -Wcast-qual -Woverloaded-virtual -Wundef -Wdouble-promotion -Wformat=2
      -Wredundant-decls -Werror)
    "$CXX" --version | grep -q clang || strict+=(-Wuseless-cast -Wduplicated-cond -Wlogical-op)
    read -ra flags < <(pkg-config --cflags duolu)  # clang warns of libraries that it does not link
    for program in 05_coroutine_echo 07_cancellation 08_offload; do
      quietly "$CXX" -std=c++23 -fsyntax-only "${strict[@]}" "${flags[@]}" \
        "$SOURCE/examples/$program.cpp"
    done
    if [[ -f $pc/duolu_c.pc ]]; then
      read -ra flags < <(pkg-config --cflags --libs duolu_c)
      read -ra cflags <<<"$CFLAGS"
      quietly "$CC" -std=c11 "${cflags[@]}" "$consumer/main.c" "${flags[@]}" \
        -Wl,-rpath,"$(pkg-config --variable=libdir duolu_c)" -o "$work/c_program"
      "$work/c_program"
    fi
    ;;

  add_subdirectory)
    cmake_consumer -DSUBDIRECTORY="$SOURCE" -DDUOLU_POSIX_ONLY="$POSIX_ONLY"
    # Neither our tests nor our installation become part of theirs.
    [[ ! -e $work/consumer/duolu/tests && ! -e $work/consumer/duolu/apps ]] ||
      fail "our tests or tools became part of the user's build"
    "$CMAKE" --install "$work/consumer" --prefix "$work/prefix" >/dev/null
    [[ ! -e $work/prefix/include/duolu ]] || fail "our installation became part of the user's"
    ;;

  fetch_content)
    # With SOURCE_DIR it is add_subdirectory() in the end, which is built above: here it is enough
    # that the consumer's program is there with ours in it.
    quietly "$CMAKE" -G "$GENERATOR" -S "$consumer" -B "$work/consumer" -DFETCH="$SOURCE" \
      -DDUOLU_POSIX_ONLY="$POSIX_ONLY" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
    grep -q "$SOURCE/src/loop/loop.cpp" "$work/consumer/compile_commands.json" ||
      fail "the library is not part of the consumer's build"
    grep '"command".*consumer/main.cpp' "$work/consumer/compile_commands.json" >"$work/command"
    grep -q -e "$SOURCE/include" "$work/command" || fail "the consumer does not find the headers"
    ;;

  guide)
    read -ra command <"$SOURCE/docs/guide/compile.sh"
    cp "$SOURCE/examples/tutorial/12_coroutines.cpp" "$work/my_echo.cpp"
    read -ra cxxflags <<<"$CXXFLAGS"
    [[ $POSIX_ONLY != ON ]] || cxxflags+=(-DDUOLU_POSIX_ONLY)
    command=("${command[@]/#my_echo/$work/my_echo}")
    command=("${command[@]/#build\/release/$BUILD}")
    # Instead of the compiler that it names, this build's.
    (cd "$SOURCE" && quietly "$CXX" "${cxxflags[@]}" "${command[@]:1}") || exit 1
    [[ -x $work/my_echo ]] || fail "no program: ${command[*]}"
    timeout 60 "$work/my_echo" --port 0 >"$work/said" &
    server=$!
    until grep -q '^starting up' "$work/said"; do kill -0 $server; done
    kill $server
    ;;

  old_standard)
    # The first error says it, and the second ends the compilation.
    for header in "$SOURCE"/include/duolu/*/*.hpp; do
      "$CXX" -std=c++20 -fsyntax-only -I"$SOURCE/include" -x c++ "$header" 2>"$work/log" &&
        fail "C++20 is accepted by $header"
      [[ $(grep -c 'error: ' "$work/log") == 2 ]] && grep -q 'duolu needs -std=c++23' "$work/log" ||
        { head -20 "$work/log"; fail "something else is said of $header"; }
    done
    ;;

  shared)
    # By the preset of README, which needs none of the packages of the tool and the tests.
    (cd "$SOURCE" && quietly "$CMAKE" --preset install -B "$work/build" -DBUILD_SHARED_LIBS=ON \
      -DDUOLU_POSIX_ONLY="$POSIX_ONLY" -DCMAKE_CXX_FLAGS_RELEASE=-O0) || exit 1
    ! grep -E '^(CLI11|fmt|nlohmann_json|GTest|ZLIB)_' "$work/build/CMakeCache.txt" ||
      fail "what is not installed is looked for"
    quietly "$CMAKE" --build "$work/build" --parallel 2
    install_from "$work/build"
    [[ -n $(find "$prefix" -name libduolu.so.0.1) ]] || fail "no shared library was installed"
    [[ -z $(find "$prefix" -name libduolu.a) ]] || fail "a static library was installed as well"
    cmake_consumer -DCMAKE_PREFIX_PATH="$prefix"
    ;;

  *) fail "unknown way: $1" ;;
esac
echo "$1: passed"
