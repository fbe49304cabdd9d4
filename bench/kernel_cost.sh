#!/bin/sh
# The Kernel's cost in user instructions a call, counted by valgrind and so without spread: from the
# difference of a run of 2,000 and one of 12,000 calls, which leaves out start and end.
#   bench/kernel_cost.sh [build/release/bench/kernel_cost]
set -eu
program=${1:-$(dirname "$0")/../build/release/bench/kernel_cost}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

instructions() { # WAY CALL COUNT
  valgrind --tool=callgrind --callgrind-out-file="$scratch/out" "$program" "$1" "$2" "$3" \
    2>"$scratch/log" || { cat "$scratch/log" >&2; return 1; }
  sed -n 's/^summary: //p; s/^totals: //p' "$scratch/out" | tail -1
}

printf '%-10s %8s %8s %8s\n' call direct kernel 'more'
for call in getpid write send+recv; do
  for way in direct kernel; do
    few=$(instructions $way $call 2000)
    many=$(instructions $way $call 12000)
    eval "$way=\$(((many - few) / 10000))"
  done
  printf '%-10s %8d %8d %+8d\n' "$call" "$direct" "$kernel" $((kernel - direct))
done
