#!/usr/bin/env bash
# Tests five hosts of hosts.sh, each with a replica, an engine and an agent: Pods of all of them talk to each other over the routes
# between their networks; two hosts fail, the leader's among them, and the other three go on; they come back; nothing is left.
# Takes some minutes and needs root (or sudo) and network namespaces. KONTIKI_BINARY is what it runs.
# KONTIKI_HOSTS_TEST_NET: the hosts are 10.<net>.0.i (87), their Pods and engines in the two nets after it.
. "$(dirname "$0")/lib.sh"
takes_nothing "$@"
[ -x "${KONTIKI_BINARY:-}" ] || fail "KONTIKI_BINARY must name a built kontiki, not '${KONTIKI_BINARY:-}'"
again_as_root
has_namespaces || {
  leave_out "Five hosts with engines: no network namespaces are to be had here (they need root, ip netns and iptables)"
  exit 0
}
for program in kubectl jq curl; do
  command -v $program >/dev/null || fail "$program is needed and was not found"
done
net=${KONTIKI_HOSTS_TEST_NET:-87}
pods=$((net + 1))
prefix="kontiki$net"
# Whatever is set for other hosts.
export KONTIKI_BINARY KONTIKI_HOSTS_DIR="$root/.kontiki/hosts-five" KONTIKI_HOSTS_NET=$net KONTIKI_HOSTS_ENGINES=own \
  KONTIKI_HOSTS_LOOPBACK="" KONTIKI_HOSTS_SMALL_DISK="" KONTIKI_HOSTS_HISTORY_BYTES="" \
  KUBECONFIG="$root/.kontiki/hosts-five/kubeconfig"
kontiki="$KONTIKI_HOSTS_DIR/bin/kontiki"
all=(1 2 3 4 5)
hosts() { timeout 300 "$root/deploy/hosts.sh" "$@"; }
# Of a run that could not clean up.
[ ! -d "$KONTIKI_HOSTS_DIR" ] || hosts down >/dev/null
[ ! -e "/run/netns/$prefix-hub" ] || fail "there are other hosts in 10.$net.0.0/24: KONTIKI_HOSTS_TEST_NET names another net"
work=$(mktemp -d /tmp/kontiki-five.XXXXXX)
cleanup() {
  local outcome=$?
  trap '' INT TERM
  if [ $outcome != 0 ] && [ $outcome != 130 ]; then tail -n 8 "$KONTIKI_HOSTS_DIR"/{replica,node,engine}-*/log >&2 || true; fi
  hosts down >/dev/null || true
  rm -rf "$work"
  exit $outcome
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Tries a command until it succeeds. What it said last is what was missing.
await() { # seconds, what, command…
  local seconds=$1 what=$2 until=$((SECONDS + $1))
  shift 2
  while ! ("$@") >"$work/said" 2>&1; do
    [ $SECONDS -lt $until ] || fail "not within $seconds s: $what. The last try said:
$(cat "$work/said")"
    sleep 0.5
  done
}

# Whom kubectl asks instead of the kubeconfig's server.
server=()
ask() { timeout 20 kubectl --cache-dir "$work/kube" "${server[@]}" "$@"; }
through() { # host, port
  server=(--server "https://10.$net.0.$1:$2" --tls-server-name kontiki.internal)
}

ready='select(any(.status.conditions[]?; .type == "Ready" and .status == "True"))'
all_well() {
  local status
  status=$(timeout 20 "$kontiki" status --wait 1s --nodes 5 -o json) || return 1
  jq -e '.replicas | length == 5 and all(.trouble == null)' <<<"$status" >/dev/null || fail "$status"
}
nodes_are_ready() { # the hosts whose nodes are, and no others
  local found
  found=$(ask get nodes -o json | jq -r ".items[] | $ready | .metadata.name | ltrimstr(\"node-\")" | sort -n | xargs)
  [ "$found" = "$*" ] || fail "ready are the nodes of the hosts $found, not of $*"
}
write() { printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {of: hosts}\n' "$1" | ask apply -f -; }

# One for each host. They stay while their host is away.
manifest() {
  local host
  for host in "${all[@]}"; do
    cat <<YAML
---
apiVersion: v1
kind: Pod
metadata: {name: five-$host, labels: {set: five}}
spec:
  nodeName: node-$host
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
  - name: web
    image: kontiki:dev
    imagePullPolicy: Never
    args: [demo-web]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
YAML
  done
}
# `1 10.88.1.2`: host and address of each Pod that is ready.
ready_pods() {
  ask get pods -l set=five -o json | jq -r ".items[] | $ready | \"\(.spec.nodeName | ltrimstr(\"node-\")) \(.status.podIP)\""
}
all_pods_are_ready() { [ "$(ready_pods | wc -l)" = 5 ] || fail "$(ask get pods -o wide 2>&1)"; }

address() { awk -v host="$1" '$1 == host {print $2}' <<<"$found"; } # of a host's Pod, as far as it is among those found
# From the Pod of a host, in whose image there is no program for it.
fetch() { # host, URLs…
  local host=$1 uid
  shift
  uid=$(ask get pod "five-$host" -o jsonpath='{.metadata.uid}')
  hosts run "$host" bash -c 'uid=$1 && shift
    pause=$(timeout 10 docker ps -q --filter "label=io.kontiki.pod.uid=$uid" --filter label=io.kontiki.container.kind=pause) &&
    pid=$(timeout 10 docker inspect -f "{{.State.Pid}}" "$pause") || exit
    for url in "$@"; do nsenter --net="/proc/$pid/ns/net" curl -sS --noproxy "*" --max-time 3 "$url"; done' bash "$uid" "$@"
}
# The Pods of these hosts fetch a page of each other, and each is seen under its own address: nothing in between translates it.
meet() { # the page, hosts…
  local page=$1 found urls=() from to said
  shift
  found=$(ready_pods) || return 1
  for to; do urls+=("http://$(address "$to"):8080/$page"); done
  for from; do
    said=$(fetch "$from" "${urls[@]}" 2>&1) || true
    for to; do
      grep -qxF "pod ip: $(address "$to")" <<<"$said" || fail "five-$from does not reach five-$to at '$(address "$to")'; it got:
$said"
    done
  done
  for to; do
    said=$(ask logs "five-$to" 2>&1) || true
    for from; do
      [[ "$said" == *"/$page from $(address "$from") is "* ]] ||
        fail "five-$to has not seen five-$from as '$(address "$from")', but: $(tail -n 8 <<<"$said")"
    done
  done
}
# Straight to the host, not by way of this machine, which would do too.
routed() {
  local from to ways
  for from in "${all[@]}"; do
    ways=$(hosts run "$from" ip route)
    for to in "${all[@]}"; do
      [ "$from" = "$to" ] || grep -q "^10\.$pods\.$to\.0/24 via 10\.$net\.0\.$to " <<<"$ways" ||
        fail "host $from has no route to the Pods of host $to, but: $ways"
    done
  done
}

say "Bringing up five hosts"
hosts up 5 >/dev/null
[ "$(hosts mode)" = namespaces ] || fail "the hosts are not in namespaces of their own, but: $(hosts mode)"
await 90 "five replicas and five nodes are well" all_well
await 30 "kubectl sees five ready nodes" nodes_are_ready "${all[@]}"
routed

say "Pods of five hosts talk to each other"
await 30 "kubectl writes" write before
manifest >"$work/pods.yaml"
await 30 "kubectl makes a Pod on each host" ask apply -f "$work/pods.yaml"
await 90 "five Pods are ready" all_pods_are_ready
await 60 "every Pod reaches every other one" meet first "${all[@]}"

# Host 1 is one of them: the kubeconfig's server is there.
first=$(timeout 40 "$kontiki" status --wait 30s -o json | jq -r .leader)
[[ "$first" =~ ^[1-5]$ ]] || fail "the leader is no replica of 1 to 5, but '$first'"
second=1
[ "$first" != 1 ] || second=2
mapfile -t living < <(printf '%s\n' "${all[@]}" | grep -vx -e "$first" -e "$second")
say "Hosts $first (the leader's) and $second fail"
hosts fail "$first"
hosts fail "$second"
# The proxy of an agent: node 1 has the first port after the replicas' two.
through "${living[0]}" $((6444 + living[0]))
await 30 "three of five replicas take a write through kubectl" write meanwhile
await 30 "three of five replicas are read through kubectl" ask get configmap before meanwhile
one_of_the_living_leads() {
  local leader
  leader=$(timeout 20 "$kontiki" status -o json | jq -r .leader)
  [[ " ${living[*]} " == *" $leader "* ]] || fail "the leader is '$leader', not one of ${living[*]}"
}
await 30 "a replica that is left leads" one_of_the_living_leads
await 60 "kubectl sees three ready nodes" nodes_are_ready "${living[@]}"
await 60 "the Pods that are left reach each other" meet meanwhile "${living[@]}"

say "Hosts $first and $second are back"
hosts start "$first"
hosts start "$second"
server=()
await 120 "five replicas and five nodes are well again" all_well
await 30 "kubectl sees five ready nodes again" nodes_are_ready "${all[@]}"
for host in "$first" "$second"; do
  # This replica itself.
  through "$host" 6443
  await 30 "replica $host, which was away, has what was written meanwhile" ask get configmap before meanwhile
done
server=()
await 120 "five Pods are ready again" all_pods_are_ready
await 60 "every Pod reaches every other one again" meet again "${all[@]}"

# What hosts.sh could leave behind, a line each.
left() {
  ls -d "$KONTIKI_HOSTS_DIR" /run/"$prefix"-* /run/netns/"$prefix"-* "${leases[@]}" 2>/dev/null
  pgrep -af "$KONTIKI_HOSTS_DIR/|/run/$prefix-"
  # Where a container's processes are.
  find /sys/fs/cgroup -type d 2>/dev/null | grep -F -f <(printf '%s\n' "${containers[@]}")
  awk -v one="$KONTIKI_HOSTS_DIR/" -v other="/run/$prefix-" 'index($2, one) == 1 || index($2, other) == 1 {print "mount " $2}' /proc/mounts
  ip -o link show "$prefix" 2>/dev/null
  ip route | grep -E "^10\.($net|$pods)\."
  { iptables -w 5 -S && iptables -w 5 -t nat -S; } | grep -w "$prefix"
  true
}
nothing_is_left() {
  local found
  found=$(left)
  [ -z "$found" ] || fail "$found"
}
mapfile -t leases < <(cat "$KONTIKI_HOSTS_DIR"/engine-*/leases)
mapfile -t containers < <(for host in "${all[@]}"; do hosts run "$host" docker ps -aq --no-trunc; done)
[ ${#leases[@]} = 5 ] && [ ${#containers[@]} -ge 10 ] ||
  fail "five engines have ${#leases[@]} networks of Pods and ${#containers[@]} containers, not 5 and two for each Pod"
say "Taking the five hosts down"
hosts down >/dev/null
await 10 "nothing of the hosts is left" nothing_is_left
say "Five hosts: their Pods talked to each other, two failed and came back, nothing is left"
