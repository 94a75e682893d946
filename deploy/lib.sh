# Sourced by the scripts here: how they talk, and where things are. Sourcing it answers `--help`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/deploy/env.sh"
: "${KONTIKI_DIR:=$root/.kontiki}"
export KONTIKI_DIR
: "${KONTIKI_REPLICAS:=3}" "${KONTIKI_NODES:=3}" "${KONTIKI_PORT:=6443}"
: "${KONTIKI_POD_NETWORK:=kontiki}" "${KONTIKI_POD_SUBNET:=10.244.0.0/16}"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf 'kontiki: %s\n' "$*" >&2; exit 1; }
# What the first lines of a script say of it.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }
case "${1:-}" in -h | --help) usage; exit 0 ;; esac
# The arguments of a script that takes none.
takes_nothing() { [ $# = 0 ] || fail "$(basename "$0") takes no arguments, so not '$1' (--help says what it does)"; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
# Goes on as root, in this script's beginning, where sudo allows that; else just goes on. What the caller's own files need (a
# build) comes before.
again_as_root() {
  [ "$(id -u)" != 0 ] && command -v sudo >/dev/null && sudo true || return 0
  exec sudo -E "$root/deploy/$(basename "$0")" "$@"
}
# Gives back to the caller of sudo what was made for him.
give_back() { [ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID:$SUDO_GID" "$@"; }
# A test that cannot be made on this machine has failed, unless whoever runs it has said that he knows.
leave_out() {
  [ "${KONTIKI_ALLOW_SKIP:-}" = 1 ] || fail "$*. KONTIKI_ALLOW_SKIP=1 leaves out what cannot be tested here"
  say "LEFT OUT, NOT TESTED: $*"
}
# Can hosts be made on this machine: network namespaces, wires between them, and filters?
has_namespaces() {
  local try=kontiki-$$ made=1
  [ "$(id -u)" = 0 ] && ip netns add $try 2>/dev/null || return 1
  ip link add $try type veth peer name here netns $try 2>/dev/null && iptables -w 5 -t nat -S >/dev/null 2>&1 || made=0
  ip link delete $try 2>/dev/null || true
  ip netns delete $try
  [ $made = 1 ]
}
# Can a small file system be mounted, for a disk to be full?
can_mount() {
  local at made=1
  at=$(mktemp -d)
  mount -t tmpfs -o size=1m tmpfs "$at" 2>/dev/null && umount "$at" || made=0
  rmdir "$at"
  [ $made = 1 ]
}
docker_answers() { timeout 10 docker info >/dev/null 2>&1; }
# Is the process of a pid file alive, and still the program it was started as?
alive() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null &&
    [ "$(readlink "/proc/$pid/exe" 2>/dev/null | sed 's/ (deleted)$//')" = "$2" ]
}
# Ends the process of a pid file: TERM, then KILL after the given seconds.
stop_pid() {
  local file=$1 program=$2 seconds=$3 pid
  alive "$file" "$program" || { rm -f "$file"; return 0; }
  pid=$(cat "$file")
  kill -TERM "$pid" 2>/dev/null || true
  for _ in $(seq $((seconds * 10))); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$file"; return 0; }
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  rm -f "$file"
}

# A Pods' network of the engine and its leases, unless another cluster's containers are still on it: whether the engine
# or an agent has made their interfaces.
remove_pod_network() { # name
  local found leases
  found=$(timeout 20 docker network inspect -f '{{index .Labels "io.kontiki.network"}} {{len .Containers}} {{.Id}}' "$1" 2>/dev/null || true)
  [[ "$found" == "pods 0 "* ]] || return 0
  leases=/run/kontiki/networks/$(cut -c 8-19 <<<"$found")
  if timeout 20 docker ps -a --format '{{.Label "io.kontiki.pod.lease"}}' | grep -q "^$leases/"; then return 0; fi
  timeout 20 docker network rm "$1" >/dev/null
  as_root rm -rf "$leases"
}
