#!/usr/bin/env bash
# Real replicas on hosts of their own (network namespaces), under faults and a recorded workload that is judged like the
# simulation's. Leaves nothing behind but, after a failure, the history and the logs. Needs root, or sudo; without, or where no
# namespaces are to be had, all replicas are on loopback, and the faults are those that need no network.
#   chaos-real.sh [--seed S] [--episodes 3,7]     MINUTES=n (60), or DURATION_SECONDS=n
# KONTIKI_HOSTS_LOOPBACK=1: on loopback in any case.
. "$(dirname "$0")/lib.sh"
cd "$root"
: "${MINUTES:=60}"
[[ "$MINUTES" =~ ^[0-9]+$ ]] || fail "MINUTES is a whole number, not '$MINUTES'"
: "${DURATION_SECONDS:=$((MINUTES * 60))}"
[[ "$DURATION_SECONDS" =~ ^[0-9]+$ ]] || fail "DURATION_SECONDS is a whole number, not '$DURATION_SECONDS'"
[[ "$*" =~ ^( ?--(seed|episodes)[ =][0-9]+(,[0-9]+)*)*$ ]] || fail "usage: chaos-real.sh [--seed S] [--episodes 3,7], not '$*'"
export KONTIKI_HOSTS_DIR="${KONTIKI_HOSTS_DIR:-$root/.kontiki/chaos-real}" KONTIKI_HOSTS_NET="${KONTIKI_HOSTS_NET:-97}" \
  KONTIKI_HOSTS_ENGINES="${KONTIKI_HOSTS_ENGINES:-none}" KONTIKI_HOSTS_PORT="${KONTIKI_HOSTS_PORT:-13443}"
# So little that the beginnings of the history and the log go all the while.
export KONTIKI_HOSTS_HISTORY_BYTES="${KONTIKI_HOSTS_HISTORY_BYTES:-1048576}"
# The replicas' logs say what their controllers wrote, in which term.
export KONTIKI_LOG="${KONTIKI_LOG:-info,openraft=error,kontiki_server::leader::driver=debug}"
if [ -z "${KONTIKI_BINARY:-}" ]; then
  "$root/deploy/setup.sh"
  say "Building kontiki"
  cargo build --release --locked --bin kontiki
  KONTIKI_BINARY="$CARGO_TARGET_DIR/release/kontiki"
fi
if [ -z "${KONTIKI_CHAOS_REAL:-}" ]; then
  cargo build --locked -q -p kontiki-chaos-tests --bin chaos-real
  KONTIKI_CHAOS_REAL="$CARGO_TARGET_DIR/debug/chaos-real"
fi
export KONTIKI_BINARY KONTIKI_CHAOS_REAL
# Of a run that could not clean up.
[ ! -d "$KONTIKI_HOSTS_DIR" ] || "$root/deploy/hosts.sh" down
mode=$("$root/deploy/hosts.sh" mode)
if [ "$mode" = namespaces ]; then
  again_as_root "$@"
  export KONTIKI_HOSTS_SMALL_DISK="${KONTIKI_HOSTS_SMALL_DISK:-3:192m}"
  place=(--small-disk "${KONTIKI_HOSTS_SMALL_DISK%%:*}")
else
  if [ "$KONTIKI_HOSTS_ENGINES" != none ]; then
    leave_out "Hosts with engines under faults: no network namespaces are to be had here (they need root, ip netns and iptables)"
    exit 0
  fi
  [ "${KONTIKI_HOSTS_LOOPBACK:-}" = 1 ] || say "No network namespaces are to be had here (they need root, ip netns and iptables): all on loopback"
  # Whatever sudo could do: what is started here is killed from here.
  export KONTIKI_HOSTS_LOOPBACK=1
  unset KONTIKI_HOSTS_SMALL_DISK
  place=(--loopback)
fi
keep="$root/.kontiki/chaos-failed-$(date -u +%Y%m%d-%H%M%S)"
cleanup() {
  local outcome=$? name
  trap '' INT TERM PIPE
  if [ $outcome != 0 ] && [ $outcome != 130 ]; then
    mkdir -p "$keep"
    cp "$KONTIKI_HOSTS_DIR/verbs.log" "$keep/" 2>/dev/null || true
    for name in "$KONTIKI_HOSTS_DIR"/{replica,node,engine}-*; do cp "$name/log" "$keep/$(basename "$name").log" 2>/dev/null || true; done
    give_back "$keep" "$keep"/*
  else
    rm -rf "$keep"
  fi
  "$root/deploy/hosts.sh" down || true
  [ ! -d "$keep" ] || say "The history and the logs are in $keep" || true
  exit $outcome
}
trap cleanup EXIT
trap 'exit 130' INT TERM
"$root/deploy/hosts.sh" up 3 >/dev/null
pods=0
[ "$KONTIKI_HOSTS_ENGINES" = none ] || pods=6
say "Faults for $DURATION_SECONDS s"
"$KONTIKI_CHAOS_REAL" --seconds "$DURATION_SECONDS" --script "$root/deploy/hosts.sh" --hosts 3 \
  --pods "$pods" "${place[@]}" --keep "$keep" "$@"
