#!/usr/bin/env bash
# Tests the hosts of hosts.sh on loopback, as they are where no network namespaces are to be had: three replicas, of which
# one fails and comes back. Takes seconds, needs no root and leaves nothing behind. KONTIKI_BINARY is what it runs.
. "$(dirname "$0")/lib.sh"
takes_nothing "$@"
[ -x "${KONTIKI_BINARY:-}" ] || fail "KONTIKI_BINARY must name a built kontiki, not '${KONTIKI_BINARY:-}'"
work=$(mktemp -d /tmp/kontiki-loopback.XXXXXX)
export KONTIKI_HOSTS_DIR="$work/hosts" KONTIKI_HOSTS_LOOPBACK=1 KONTIKI_HOSTS_ENGINES=none \
  KONTIKI_HOSTS_PORT="${KONTIKI_HOSTS_TEST_PORT:-19443}" KUBECONFIG="$work/hosts/kubeconfig"
kontiki="$KONTIKI_HOSTS_DIR/bin/kontiki"
hosts() { timeout 120 "$root/deploy/hosts.sh" "$@"; }
cleanup() {
  local outcome=$?
  trap '' INT TERM
  if [ $outcome != 0 ]; then tail -n 15 "$KONTIKI_HOSTS_DIR"/replica-*/log >&2 || true; fi
  hosts down >/dev/null || true
  rm -rf "$work"
  exit $outcome
}
trap cleanup EXIT
trap 'exit 130' INT TERM

write() { printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata: {of: hosts}\n' "$1" | timeout 30 "$kontiki" apply -f -; }
running() { pgrep -f "^$kontiki server" | wc -l; }
expect() { # what, found, wanted
  [ "$2" = "$3" ] || fail "$1: $2, not $3"
}

hosts up 3 >/dev/null
expect "replicas on loopback" "$(running)" 3
expect "where the hosts are" "$(hosts mode)" loopback
write before
hosts fail 2
expect "replicas when one has failed" "$(running)" 2
[[ "$(hosts status)" == *"replica-2 is down"* ]] || fail "hosts.sh status does not say that replica 2 is down"
write meanwhile
hosts start 2
timeout 60 "$kontiki" status --wait 45s >/dev/null
expect "replicas when it is back" "$(running)" 3
for name in before meanwhile; do timeout 30 "$kontiki" get configmap "$name" >/dev/null; done
# What it cannot do it refuses.
if hosts cut 1 2 2>/dev/null; then fail "hosts.sh cut acted on hosts without networks of their own"; fi
hosts down >/dev/null
expect "replicas afterwards" "$(running)" 0
[ ! -e "$KONTIKI_HOSTS_DIR" ] || fail "hosts.sh down left $KONTIKI_HOSTS_DIR behind"
say "Hosts on loopback: a replica failed and came back"
