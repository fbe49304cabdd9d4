#!/bin/sh
# Compiles and runs every program here with both compilers: the table of docs/gcc12.md.
set -u
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

try() { # PROGRAM COMPILER...
  program=$1
  shift
  if ! "$@" -std=gnu++23 "$program.cpp" -o "$scratch/a" 2>"$scratch/log"; then
    grep -q 'internal compiler error' "$scratch/log" && echo 'compiler crash' && return
    echo 'does not compile' && return
  fi
  # One shell more, so that its message about a crash goes away with it. Fixed addresses, so that
  # ThreadSanitizer starts however wide the kernel spreads them.
  (setarch -R "$scratch/a"; echo "code $?") >"$scratch/out" 2>&1
  if grep -q '^code 0$' "$scratch/out"; then echo right
  elif grep -qE 'stack-overflow|sanitizer_stackdepot' "$scratch/out"; then echo 'stack overflow'
  elif grep -qE '^code 1(3[0-9]|39)$' "$scratch/out"; then echo crash
  else head -1 "$scratch/out"
  fi
}

printf '%-28s %-30s %s\n' program g++ clang++-19
for level in -O0 -O2; do
  for source in *.cpp; do
    program=${source%.cpp}
    printf '%-28s %-30s %s\n' "$program $level" "$(try "$program" g++ $level)" \
      "$(try "$program" clang++-19 $level)"
  done
done
for sanitizer in address undefined thread; do
  printf '%-28s %-30s %s\n' "symmetric $sanitizer" \
    "$(try symmetric_transfer g++ -O2 -fsanitize=$sanitizer)" \
    "$(try symmetric_transfer clang++-19 -O2 -fsanitize=$sanitizer)"
done
