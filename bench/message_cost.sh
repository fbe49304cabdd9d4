#!/usr/bin/env bash
# What an echoed message of 64 bytes costs, counted and so without spread: user instructions
# (valgrind) and system calls (strace), each the difference of a run of 10,000 and one of 30,000
# messages over 100 connections, which leaves out start, accepting and end.
#   bench/message_cost.sh [build/release/bench [SERVER...]]     SERVER: a name of the first column
# valgrind 3.19 has no epoll_pwait2, so under it the Poller waits with epoll_wait, as the raw
# servers do.
set -euo pipefail
bin=${1:-$(dirname "$0")/../build/release/bench}
port=${DUOLU_BENCH_PORT:-7177}
wanted=" ${*:2} "  # none: all of them
connections=100
scratch=$(mktemp -d)
server=
stop() {
  [[ -z $server ]] || { kill "$server" && wait "$server"; } 2>/dev/null || true
  server=
}
trap 'stop; rm -rf "$scratch"' EXIT

# Runs the server `program` under TOOL..., with the client's ROUNDS rounds: serve ROUNDS TOOL...
serve() {
  local rounds=$1 try
  shift
  # All connections, and the one that finds out whether the server is up; then it ends by itself.
  # shellcheck disable=SC2086  # mode: words
  DUOLU_BENCH_UNTIL=$((connections + 1)) timeout 120 "$@" "$bin/$program" "$port" $mode \
    >"$scratch/log" 2>&1 &
  server=$!
  for ((try = 0; try < 100; try++)); do
    "$bin/lockstep" "$port" 1 1 2>/dev/null && break
    sleep 0.1
  done
  "$bin/lockstep" "$port" "$connections" "$rounds"
  wait "$server" || { cat "$scratch/log" >&2 && return 1; }
  server=
}

# cost ROUNDS: "instructions calls" of one run each. Each has a port of its own: what is left of an
# io_uring holds the listening socket for a while after its program's end.
cost() {
  local rounds=$1 instructions calls
  serve "$rounds" valgrind --tool=callgrind --callgrind-out-file="$scratch/out"
  instructions=$(sed -n 's/^summary: //p; s/^totals: //p' "$scratch/out" | tail -1)
  port=$((port + 1))
  serve "$rounds" strace -f -c -o "$scratch/calls"
  calls=$(awk '$NF == "total" { print $(NF - 1) ~ /^[0-9]+$/ && NF == 6 ? $4 : $(NF - 1) }' \
    "$scratch/calls")
  echo "$instructions $calls"
}

printf '%-28s %14s %14s\n' server instructions 'system calls'
while read -r name program mode; do
  [[ $wanted == "  " || $wanted == *" $name "* ]] || continue
  [[ -x $bin/$program ]] || continue  # a library that is not installed
  read -r few_i few_c < <(cost 100)
  port=$((port + 2))
  read -r many_i many_c < <(cost 300)
  port=$((port + 2))
  messages=$((200 * connections))
  awk -v n="$name" -v i=$((many_i - few_i)) -v c=$((many_c - few_c)) -v m=$messages \
    'BEGIN { printf "%-28s %14.1f %14.3f\n", n, i / m, c / m }'
done <<SERVERS
raw-epoll-level raw_epoll level
raw-epoll-edge raw_epoll edge
raw-poll raw_poll
raw-select raw_select
raw-threads raw_threads
raw-uring-multishot raw_uring multishot
raw-uring-own raw_uring own
poller-epoll-level poller_echo epoll level
poller-epoll-edge poller_echo epoll edge
poller-epoll-oneshot poller_echo epoll oneshot
poller-poll-level poller_echo poll level
poller-select-level poller_echo select level
libev peer_libev
libevent peer_libevent
libuv peer_libuv
asio-callbacks peer_asio_callbacks
asio-coroutines peer_asio_coroutines
SERVERS
