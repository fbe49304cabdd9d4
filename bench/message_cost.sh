#!/usr/bin/env bash
# What an echoed message of 64 bytes costs, counted and so without spread: user instructions
# (valgrind) and system calls (strace), each the difference of a run of 10,000 and one of 30,000
# messages over 100 connections, which leaves out start, accepting and end.
#   bench/message_cost.sh [build/release/bench]
# valgrind 3.19 has no epoll_pwait2, so under it the Poller waits with epoll_wait, as the raw
# servers do.
set -euo pipefail
bin=${1:-$(dirname "$0")/../build/release/bench}
port=${DUOLU_BENCH_PORT:-7177}
connections=100
scratch=$(mktemp -d)
server=
stop() {
  [[ -z $server ]] || { kill "$server" && wait "$server"; } 2>/dev/null || true
  server=
}
trap 'stop; rm -rf "$scratch"' EXIT

# Runs COMMAND... with the client's ROUNDS rounds: serve ROUNDS COMMAND...
serve() {
  local rounds=$1 try
  shift
  timeout 120 "$@" >"$scratch/log" 2>&1 &
  server=$!
  for ((try = 0; try < 100; try++)); do
    "$bin/lockstep" "$port" 1 1 2>/dev/null && break
    sleep 0.1
  done
  "$bin/lockstep" "$port" "$connections" "$rounds"
  stop
}

# cost ROUNDS SERVER...: "instructions calls" of one run each.
cost() {
  local rounds=$1 instructions calls
  shift
  serve "$rounds" valgrind --tool=callgrind --callgrind-out-file="$scratch/out" "$@"
  instructions=$(sed -n 's/^summary: //p; s/^totals: //p' "$scratch/out" | tail -1)
  serve "$rounds" strace -f -c -o "$scratch/calls" "$@"
  calls=$(awk '$NF == "total" { print $(NF - 1) ~ /^[0-9]+$/ && NF == 6 ? $4 : $(NF - 1) }' \
    "$scratch/calls")
  echo "$instructions $calls"
}

printf '%-28s %14s %14s\n' server instructions 'system calls'
while read -r name command; do
  # shellcheck disable=SC2086  # words of a command
  read -r few_i few_c < <(cost 100 $bin/$command)
  # shellcheck disable=SC2086
  read -r many_i many_c < <(cost 300 $bin/$command)
  messages=$((200 * connections))
  awk -v n="$name" -v i=$((many_i - few_i)) -v c=$((many_c - few_c)) -v m=$messages \
    'BEGIN { printf "%-28s %14.1f %14.3f\n", n, i / m, c / m }'
done <<SERVERS
raw-epoll-level raw_epoll $port level
raw-epoll-edge raw_epoll $port edge
raw-poll raw_poll $port
raw-select raw_select $port
poller-epoll-level poller_echo $port epoll level
poller-epoll-edge poller_echo $port epoll edge
poller-epoll-oneshot poller_echo $port epoll oneshot
poller-poll-level poller_echo $port poll level
poller-select-level poller_echo $port select level
SERVERS
