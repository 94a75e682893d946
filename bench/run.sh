#!/usr/bin/env bash
# Measures on this host, with members of its own, and prints the tables: less than half an hour; longer are versus-failover
# (50 interruptions of each sort) and versus-busy (30 minutes).
#   bench/run.sh [versus|versus-failover|versus-busy|cluster|footprint|failover|create|rollout]...    (default: versus cluster)
# More for versus: BENCH_ARGS="--rounds 4 --seconds 5".
. "$(dirname "$0")/../deploy/lib.sh"
cd "$root"
for what in "$@"; do
  case "$what" in versus | versus-failover | versus-busy | cluster | footprint | failover | create | rollout) ;; *) fail "there is nothing to measure that is called '$what' (--help lists what there is)" ;; esac
done
export KONTIKI_DIR="${KONTIKI_BENCH_DIR:-$(mktemp -d /tmp/kontiki-bench.XXXXXX)}" KONTIKI_PORT="${KONTIKI_BENCH_PORT:-26443}" \
  KONTIKI_POD_NETWORK=kontiki-bench KONTIKI_POD_SUBNET=10.247.0.0/16
cluster_up=
finish() {
  if [ -n "$cluster_up" ]; then deploy/down.sh; fi
  # A driver that was killed leaves its members behind: each has a pid file below.
  local file pid
  for file in "$KONTIKI_DIR"/versus/*/*/*/pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    # Ours only if it still works in our directory.
    if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$KONTIKI_DIR/versus/"; then kill -KILL "$pid" 2>/dev/null || true; fi
  done
  rm -rf "$KONTIKI_DIR"
}
trap finish EXIT

machine() {
  printf '%s, commit %s, %s cores, %s MiB, %s, Linux %s\n' "$(date -u +%F)" "$commit" "$(nproc)" \
    "$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)" "$(. /etc/os-release && echo "$PRETTY_NAME")" "$(uname -r)"
}
versus() {
  command -v etcd >/dev/null || {
    say "Installing etcd from Debian"
    as_root apt-get update -qq
    # Its service is not to be started: the driver runs members of its own.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends etcd-server >/dev/null
  }
  mkdir -p "$KONTIKI_DIR/versus"
  say "Side by side: $(machine); $(etcd --version | head -1)"
  # shellcheck disable=SC2086
  "$bench" versus --data "$KONTIKI_DIR/versus" "$@" ${BENCH_ARGS:-}
}
cluster() { # the cluster with agents, once
  if [ -n "$cluster_up" ]; then return; fi
  cluster_up=yes
  deploy/up.sh
}
footprint() { cluster; say "Footprint, idle"; sleep 10; "$bench" footprint; }
rollout() { cluster; say "A Deployment of 30"; "$bench" rollout; bench/docker-peers.sh; }
create() { cluster; say "Pods through REST"; "$bench" create; }
failover() {
  cluster
  say "Failover: kill -9"; "$bench" failover
  say "Failover: freeze"; "$bench" failover --freeze --kills 5
}

"$root/deploy/rocksdb.sh"
# In one go, so that both are linked from the same dependencies: else each is built with features of its own.
packages=(-p kontiki-bench)
if [ -z "${KONTIKI_BINARY:-}" ]; then packages+=(-p kontiki); fi
cargo build --release --locked -q "${packages[@]}"
bench="$CARGO_TARGET_DIR/release/kontiki-bench"
# Of what is built here; a given binary may be of another one.
commit=$(git describe --always --dirty 2>/dev/null || echo "not known")
if [ -n "${KONTIKI_BINARY:-}" ]; then commit+=" (but $KONTIKI_BINARY as it was given)"; fi
export KONTIKI_BINARY="${KONTIKI_BINARY:-$CARGO_TARGET_DIR/release/kontiki}"
[ $# -gt 0 ] || set -- versus cluster
for what in "$@"; do
  case $what in
  versus) versus ;;
  versus-failover) versus --parts failover --failovers 50 ;;
  versus-busy) versus --parts busy --busy-seconds 1800 ;;
  cluster) footprint; rollout; create; failover ;;
  footprint | rollout | create | failover) "$what" ;;
  *) fail "$what: there is no such part" ;;
  esac
done
say "Binary: $(du -m "$KONTIKI_BINARY" | cut -f1) MiB"
