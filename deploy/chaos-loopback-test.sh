#!/usr/bin/env bash
# Tests chaos-real.sh on loopback, as it is where no network namespaces are to be had: by an ordinary user, also when root runs
# this. Takes a minute; leaves nothing behind but, after a failure, its directory. KONTIKI_BINARY and KONTIKI_CHAOS_REAL are run.
. "$(dirname "$0")/lib.sh"
takes_nothing "$@"
for built in "${KONTIKI_BINARY:-}" "${KONTIKI_CHAOS_REAL:-}"; do
  [ -x "$built" ] || fail "KONTIKI_BINARY and KONTIKI_CHAOS_REAL must name a built kontiki and chaos-real, not '$built'"
done
work=$(mktemp -d /tmp/kontiki-chaos-loopback.XXXXXX)
as_user=()
cleanup() {
  local outcome=$?
  trap '' INT TERM PIPE
  [ ! -e "$work/hosts" ] || "${as_user[@]}" env KONTIKI_HOSTS_DIR="$work/hosts" "$work/deploy/hosts.sh" down || true
  if [ $outcome = 0 ] || [ $outcome = 130 ]; then rm -rf "$work"; else say "What is left of it is in $work"; fi
  exit $outcome
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# A checkout and a build may lie where an ordinary user does not get to.
cp -r "$root/deploy" "$work/deploy"
cp "$KONTIKI_BINARY" "$work/kontiki"
cp "$KONTIKI_CHAOS_REAL" "$work/chaos-real"
if [ "$(id -u)" = 0 ]; then
  chown -R 65534:65534 "$work"
  as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
"${as_user[@]}" env HOME="$work" KONTIKI_CACHE="$work" KONTIKI_BINARY="$work/kontiki" KONTIKI_CHAOS_REAL="$work/chaos-real" \
  KONTIKI_HOSTS_DIR="$work/hosts" KONTIKI_HOSTS_LOOPBACK=1 KONTIKI_HOSTS_ENGINES=none KONTIKI_HOSTS_PORT="${KONTIKI_HOSTS_TEST_PORT:-19443}" \
  DURATION_SECONDS=25 "$work/deploy/chaos-real.sh" | tee "$work/said"
grep -q '^All replicas on loopback' "$work/said" || fail "chaos-real does not say that all replicas are on loopback"
[ ! -e "$work/hosts" ] || fail "chaos-real.sh left $work/hosts behind"
