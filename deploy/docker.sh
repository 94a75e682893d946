#!/usr/bin/env bash
# Makes sure that a Docker engine answers: starts Debian's own where none does (no init system needed).
#   docker.sh up | down      (down ends only an engine that `up` started and that nobody uses any more)
. "$(dirname "$0")/lib.sh"
state="$KONTIKI_CACHE/docker"
pid_file="$state/pid"
log="$state/log"

up() {
  docker_answers && return 0
  [ "$(id -u)" = 0 ] || fail "no Docker engine answers, and starting one needs root: sudo systemctl start docker, or run this as root"
  command -v dockerd >/dev/null || fail "no Docker engine answers and dockerd is not installed (Debian: apt-get install docker.io)"
  if [ -d /run/systemd/system ] && systemctl start docker 2>/dev/null && docker_answers; then return 0; fi
  say "Starting a Docker engine (log: $log)"
  mkdir -p "$state"
  # What an engine left behind that was ended hard.
  alive "$pid_file" "$(command -v dockerd)" || rm -f "$pid_file" /var/run/docker.pid
  # The engine runs itself three times for every network namespace that it sets up, and each run spends a third of its time
  # collecting garbage before it has done anything. Collecting later costs the engine some memory.
  GOGC="${GOGC:-400}" setsid dockerd --pidfile "$pid_file" >"$log" 2>&1 </dev/null &
  for _ in $(seq 60); do
    docker_answers && return 0
    sleep 0.5
  done
  tail -n 15 "$log" >&2
  fail "the Docker engine did not come up within 30 s; its last lines stand above"
}

# Another cluster of this host may run on the same engine, with Pods or still without.
in_use() {
  pgrep -f 'kontiki node --config' >/dev/null || [ -n "$(timeout 10 docker ps -q 2>/dev/null)" ]
}

down() {
  [ -s "$pid_file" ] || return 0
  if in_use; then
    say "The Docker engine stays: something else on this host runs on it"
    return 0
  fi
  say "Stopping the Docker engine that make up had started"
  stop_pid "$pid_file" "$(command -v dockerd)" 20
}

case "$*" in
up) up ;;
down) down ;;
*) fail "usage: docker.sh up|down" ;;
esac
