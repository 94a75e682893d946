#!/usr/bin/env bash
# Several hosts on this machine: a network namespace each, with an address, a Docker engine, a replica and an agent of
# its own, and routes between their Pod networks.
#   hosts.sh up [N]          N hosts (default 3); the first 3 carry replicas, or 5 where N is 5 or more
#   hosts.sh down            stops them and removes namespaces, engines and containers; the state goes too
#   hosts.sh status          the hosts, and what runs on each
#   hosts.sh fail I          host I dies: engine, containers, replica and agent are killed at once
#   hosts.sh start I         it is switched on again, with what is on its disk
#   hosts.sh cut A B         no packet between the hosts A and B any more
#   hosts.sh cut-one-way A B no packet from A reaches B
#   hosts.sh mend-one-way A B  what `cut-one-way A B` did last is undone
#   hosts.sh isolate I       no packet between host I and any other host
#   hosts.sh heal            every cut is mended
#   hosts.sh run I COMMAND…  runs a command in the network of host I, with DOCKER_HOST set to its engine
# KONTIKI_HOSTS_ENGINES=shared: one Docker engine for all, of this machine; Pods are then on one network.
# KONTIKI_HOSTS_ENGINES=none: replicas alone, neither engines nor agents.
# KONTIKI_HOSTS_PORT: where no namespaces are to be had, the first port of the replicas on loopback (9443).
# KONTIKI_HOSTS_SMALL_DISK=I:SIZE: the replica of host I has its data on a file system of that size (such as 3:192m).
. "$(dirname "$0")/lib.sh"
: "${KONTIKI_HOSTS_DIR:=$root/.kontiki/hosts}"
: "${KONTIKI_HOSTS_ENGINES:=own}"
: "${KONTIKI_HOSTS_SMALL_DISK:=}"
: "${KONTIKI_HOSTS_PORT:=9443}"
# 10.<net>.0.i is host i; its Pods are in 10.<net + 1>.i.0/24.
: "${KONTIKI_HOSTS_NET:=77}"
net=$KONTIKI_HOSTS_NET
pods=$((net + 1))
prefix="kontiki$net"
binary="$KONTIKI_HOSTS_DIR/bin/kontiki"
network="kontiki-pods"

numbers() { find "$KONTIKI_HOSTS_DIR" -maxdepth 1 \( -name 'node-*' -o -name 'replica-*' \) 2>/dev/null | sed 's/.*-//' | sort -nu; }
namespace() { echo "/run/netns/$prefix-$1"; }
# A command in the network of a host. Not `ip netns exec`, which hides the control groups that Docker needs.
inside() {
  local host=$1
  shift
  nsenter --net="$(namespace "$host")" "$@"
}
socket() { [ "$KONTIKI_HOSTS_ENGINES" = own ] && echo "unix://$KONTIKI_HOSTS_DIR/engine-$1/docker.sock" || echo "unix:///var/run/docker.sock"; }
on_engine() {
  local host=$1
  shift
  DOCKER_HOST=$(socket "$host") timeout 60 docker "$@"
}
on_loopback() { [ -e "$KONTIKI_HOSTS_DIR/loopback" ]; }
known() {
  ! on_loopback || fail "replicas and nodes are all on loopback here: there is no host ${1:-} to act on"
  [[ "${1:-}" =~ ^[0-9]+$ ]] && [ -e "$(namespace "$1")" ] || fail "there is no host ${1:-(none named)}; hosts: $(numbers | tr '\n' ' ')"
}

# The wires: a bridge in a namespace of its own, where nobody's firewall looks at it, with a pair of ends for this
# machine and one for each host.
hub() { nsenter --net="/run/netns/$prefix-hub" "$@"; }
wire_hub() {
  [ -e "/run/netns/$prefix-hub" ] && return 0
  ip netns add "$prefix-hub"
  hub ip link add bridge type bridge
  hub ip link set bridge up
  ip link add "$prefix" type veth peer name here netns "$prefix-hub"
  hub ip link set here master bridge up
  ip address add "10.$net.0.254/24" dev "$prefix"
  ip link set "$prefix" up
  # The hosts reach what this machine reaches: images are pulled so.
  sysctl -qw net.ipv4.ip_forward=1
  iptables -w 5 -t nat -I POSTROUTING -s "10.$net.0.0/24" ! -o "$prefix" -j MASQUERADE
  iptables -w 5 -I FORWARD -i "$prefix" -j ACCEPT
  iptables -w 5 -I FORWARD -o "$prefix" -j ACCEPT
}
unwire_hub() {
  iptables -w 5 -t nat -D POSTROUTING -s "10.$net.0.0/24" ! -o "$prefix" -j MASQUERADE 2>/dev/null || true
  iptables -w 5 -D FORWARD -i "$prefix" -j ACCEPT 2>/dev/null || true
  iptables -w 5 -D FORWARD -o "$prefix" -j ACCEPT 2>/dev/null || true
  ip netns delete "$prefix-hub" 2>/dev/null || true
  ip link delete "$prefix" 2>/dev/null || true
}
wire() {
  local host=$1 other
  [ -e "$(namespace "$host")" ] && return 0
  ip netns add "$prefix-$host"
  inside "$host" ip link add eth0 type veth peer name "host$host" netns "$prefix-hub"
  hub ip link set "host$host" master bridge up
  inside "$host" ip link set lo up
  inside "$host" ip address add "10.$net.0.$host/24" dev eth0
  inside "$host" ip link set eth0 up
  inside "$host" ip route add default via "10.$net.0.254"
  inside "$host" sysctl -qw net.ipv4.ip_forward=1
  [ "$KONTIKI_HOSTS_ENGINES" = own ] || return 0
  ip route replace "10.$pods.$host.0/24" via "10.$net.0.$host"
  for other in $(seq "$hosts"); do
    [ "$other" = "$host" ] || inside "$host" ip route replace "10.$pods.$other.0/24" via "10.$net.0.$other"
  done
}

# A host's own engine, and the network of its Pods.
engine() {
  local host=$1 dir="$KONTIKI_HOSTS_DIR/engine-$1"
  mkdir -p "$dir"
  alive "$dir/pid" "$(command -v dockerd)" && return 0
  rm -f "$dir/pid" "$dir/docker.pid" "$dir/docker.sock"
  setsid nsenter --net="$(namespace "$host")" dockerd --data-root "$dir/data" --exec-root "/run/$prefix-$host" \
    --pidfile "$dir/docker.pid" -H "$(socket "$host")" --bip "10.$((pods + 1)).$host.1/24" >>"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

# The Pods of other hosts are neighbours: nothing between them is filtered or translated.
pod_network() {
  local host=$1
  on_engine "$host" network inspect "$network" >/dev/null 2>&1 ||
    on_engine "$host" network create --label io.kontiki.network=pods --subnet "10.$pods.$host.0/24" \
      --gateway "10.$pods.$host.1" --ip-range "10.$pods.$host.128/25" "$network" >/dev/null
  # Where its leases are, for the day that this engine cannot be asked.
  on_engine "$host" network inspect -f '/run/kontiki/networks/{{slice .Id 0 12}}' "$network" >"$KONTIKI_HOSTS_DIR/engine-$host/leases"
  rule "$host" DOCKER-USER -s "10.$net.0.0/24" -d "10.$pods.0.0/16" -j ACCEPT
  rule "$host" DOCKER-USER -s "10.$pods.0.0/16" -d "10.$pods.0.0/16" -j ACCEPT
  rule "$host" POSTROUTING -t nat -s "10.$pods.0.0/16" -d "10.$pods.0.0/16" -j ACCEPT
  rule "$host" POSTROUTING -t nat -s "10.$pods.0.0/16" -d "10.$net.0.0/24" -j ACCEPT
}
rule() { # host, chain, rule: first in the chain, once
  local host=$1 chain=$2
  shift 2
  inside "$host" iptables -w 5 -D "$chain" "$@" 2>/dev/null || true
  inside "$host" iptables -w 5 -I "$chain" "$@"
}

await_engine() {
  local host=$1
  for _ in $(seq 60); do
    on_engine "$host" version >/dev/null 2>&1 && return 0
    sleep 0.5
  done
  tail -n 15 "$KONTIKI_HOSTS_DIR/engine-$host/log" >&2
  fail "the Docker engine of host $host did not come up within 30 s; its last lines stand above"
}

process() { # host, name, verb
  local host=$1 name=$2 dir="$KONTIKI_HOSTS_DIR/$2"
  [ -d "$dir" ] || return 0
  alive "$dir/pid" "$binary" && return 0
  DOCKER_HOST=$(socket "$host") setsid nsenter --net="$(namespace "$host")" "$binary" "$3" --config "$dir/config.yaml" >>"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

# Memory, but with an end: it outlives the host's failures as a disk does.
small_disk() {
  local host=${KONTIKI_HOSTS_SMALL_DISK%%:*} replica
  replica="$KONTIKI_HOSTS_DIR/replica-$host"
  [ -n "$host" ] && [ ! -e "$replica/small" ] || return 0
  [ -d "$replica" ] || fail "KONTIKI_HOSTS_SMALL_DISK: host $host has no replica"
  mkdir "$replica/small"
  mount -t tmpfs -o "size=${KONTIKI_HOSTS_SMALL_DISK#*:}" kontiki-small "$replica/small"
  mkdir "$replica/small/data"
  ln -s "$replica/small/data" "$replica/data"
}

switch_on() {
  local host=$1
  # It waits for no engine.
  process "$host" "replica-$host" server
  if [ "$KONTIKI_HOSTS_ENGINES" = own ]; then
    engine "$host"
    await_engine "$host"
    DOCKER_HOST=$(socket "$host") "$root/deploy/images.sh" "$binary" >/dev/null
    pod_network "$host"
  fi
  process "$host" "node-$host" node
}

up() {
  hosts=${1:-3}
  [[ "$hosts" =~ ^[0-9]+$ ]] && [ "$hosts" -ge 1 ] && [ "$hosts" -le 50 ] || fail "how many hosts? 1 to 50, not '$hosts'"
  local replicas=1 host
  [ "$hosts" -lt 3 ] || replicas=3
  [ "$hosts" -lt 5 ] || replicas=5
  local nodes=$hosts
  [ "$KONTIKI_HOSTS_ENGINES" != none ] || { nodes=0 hosts=$replicas; }
  # KONTIKI_BINARY: run this one instead of building.
  if [ -z "${KONTIKI_BINARY:-}" ]; then
    "$root/deploy/setup.sh"
    say "Building kontiki (the first build takes some minutes)"
    (cd "$root" && cargo build --release --locked --bin kontiki)
    KONTIKI_BINARY="$CARGO_TARGET_DIR/release/kontiki"
  fi
  if on_loopback || ! has_namespaces; then
    say "No network namespaces are to be had here (they need root, ip netns and iptables): all on loopback, with one Docker engine"
    mkdir -p "$KONTIKI_HOSTS_DIR"
    touch "$KONTIKI_HOSTS_DIR/loopback"
    # Beside a cluster of `make up`: ports and a Pod network of their own.
    KONTIKI_BINARY="$KONTIKI_BINARY" KONTIKI_DIR="$KONTIKI_HOSTS_DIR" KONTIKI_REPLICAS=$replicas KONTIKI_NODES=$nodes \
      KONTIKI_PORT=$KONTIKI_HOSTS_PORT KONTIKI_POD_NETWORK="$prefix-pods" KONTIKI_POD_SUBNET="10.$pods.0.0/16" exec "$root/deploy/up.sh"
  fi
  mkdir -p "$KONTIKI_HOSTS_DIR/bin"
  cmp -s "$KONTIKI_BINARY" "$binary" || { cp "$KONTIKI_BINARY" "$binary.new" && mv -f "$binary.new" "$binary"; }
  local subnet="10.$pods.{}.0/24"
  if [ "$KONTIKI_HOSTS_ENGINES" = shared ]; then
    "$root/deploy/docker.sh" up
    "$root/deploy/images.sh" "$binary"
    subnet="10.$pods.0.0/16"
  fi
  "$binary" init --dir "$KONTIKI_HOSTS_DIR" --replicas "$replicas" --nodes "$nodes" --port 6443 --separate-hosts \
    --replica-host "10.$net.0.{}" --node-host "10.$net.0.{}" --proxy-host "10.$net.0.{}" \
    --pod-network "$network" --pod-subnet "$subnet"
  small_disk
  say "Wiring $hosts hosts, starting what runs on them"
  wire_hub
  for host in $(seq "$hosts"); do wire "$host"; done
  if [ "$KONTIKI_HOSTS_ENGINES" = own ]; then
    for host in $(seq "$hosts"); do engine "$host"; done
  fi
  for host in $(seq "$hosts"); do switch_on "$host"; done
  export KUBECONFIG="$KONTIKI_HOSTS_DIR/kubeconfig"
  "$binary" status --wait 60s --nodes "$nodes" || fail "the cluster is not ready after 60 s (logs: $KONTIKI_HOSTS_DIR/*/log)"
  printf '\nTry next:\n  export KUBECONFIG=%s\n  kubectl get nodes -o wide\n  deploy/hosts.sh fail 2     # and look again: kubectl get nodes,pods -o wide (its server is the proxy on host 1)\n' "$KUBECONFIG"
}

# Everything on the host ends at once, as when its power is cut.
fail_host() {
  local host=$1 pids
  known "$host"
  for name in "replica-$host" "node-$host"; do
    alive "$KONTIKI_HOSTS_DIR/$name/pid" "$binary" && kill -9 "$(cat "$KONTIKI_HOSTS_DIR/$name/pid")"
  done
  [ "$KONTIKI_HOSTS_ENGINES" = own ] || return 0
  local engine="$KONTIKI_HOSTS_DIR/engine-$host"
  # Before the engine's own death, or its shims would outlive it unseen.
  pids=$(on_engine "$host" ps -q | xargs -r env DOCKER_HOST="$(socket "$host")" timeout 30 docker inspect -f '{{.State.Pid}}' 2>/dev/null || true)
  alive "$engine/pid" "$(command -v dockerd)" && kill -9 "$(cat "$engine/pid")"
  pids="$pids $(engine_processes "$host")"
  for pid in $pids; do [ "$pid" -gt 1 ] && kill -9 "$pid" 2>/dev/null || true; done
}

# containerd and the shims of a host's engine: its exec root stands in their command lines.
engine_processes() { pgrep -f "/run/$prefix-$1/" || true; }

cut_one_way() {
  known "$1"
  known "$2"
  inside "$2" iptables -w 5 -I INPUT -s "10.$net.0.$1" -j DROP -m comment --comment kontiki-cut
  inside "$2" iptables -w 5 -I FORWARD -s "10.$pods.$1.0/24" -j DROP -m comment --comment kontiki-cut
}

mend_one_way() {
  known "$1"
  known "$2"
  inside "$2" iptables -w 5 -D INPUT -s "10.$net.0.$1" -j DROP -m comment --comment kontiki-cut 2>/dev/null || true
  inside "$2" iptables -w 5 -D FORWARD -s "10.$pods.$1.0/24" -j DROP -m comment --comment kontiki-cut 2>/dev/null || true
}

heal() {
  local host chain
  for host in $(numbers); do
    for chain in INPUT FORWARD; do
      inside "$host" iptables -w 5 -S "$chain" 2>/dev/null | grep -- '--comment kontiki-cut' | sed 's/^-A/-D/' |
        while read -r rule; do eval "inside $host iptables -w 5 $rule"; done || true
    done
  done
}

status() {
  local host name line
  for host in $(numbers); do
    on_loopback && line="on loopback " || line="host $host  10.$net.0.$host "
    for name in "engine-$host" "replica-$host" "node-$host"; do
      [ -d "$KONTIKI_HOSTS_DIR/$name" ] || continue
      program=$binary
      [[ $name == engine-* ]] && program=$(command -v dockerd)
      alive "$KONTIKI_HOSTS_DIR/$name/pid" "$program" && line+="  $name runs" || line+="  $name is down"
    done
    echo "$line"
  done
  KUBECONFIG="$KONTIKI_HOSTS_DIR/kubeconfig" "$binary" status
}

down() {
  [ -d "$KONTIKI_HOSTS_DIR" ] || { say "There are no hosts"; return 0; }
  local host pid
  if on_loopback; then
    KONTIKI_DIR="$KONTIKI_HOSTS_DIR" "$root/deploy/down.sh"
    rm -rf "$KONTIKI_HOSTS_DIR"
    return 0
  fi
  for host in $(numbers); do stop_pid "$KONTIKI_HOSTS_DIR/node-$host/pid" "$binary" 5 & done
  wait
  for host in $(numbers); do stop_pid "$KONTIKI_HOSTS_DIR/replica-$host/pid" "$binary" 10 & done
  wait
  if [ "$KONTIKI_HOSTS_ENGINES" = own ]; then
    for host in $(numbers); do
      (
        on_engine "$host" ps -aq 2>/dev/null | xargs -r -n 20 env DOCKER_HOST="$(socket "$host")" timeout 60 docker rm -f -v >/dev/null 2>&1 || true
        rm -rf "$(cat "$KONTIKI_HOSTS_DIR/engine-$host/leases" 2>/dev/null || echo "$KONTIKI_HOSTS_DIR/none")"
        stop_pid "$KONTIKI_HOSTS_DIR/engine-$host/pid" "$(command -v dockerd)" 20
        for pid in $(engine_processes "$host"); do kill -9 "$pid" 2>/dev/null || true; done
      ) &
    done
    wait
  elif [ "$KONTIKI_HOSTS_ENGINES" = shared ]; then
    cluster=$(cat "$KONTIKI_HOSTS_DIR/cluster-id" 2>/dev/null || true)
    [ -z "$cluster" ] || timeout 20 docker ps -aq --filter "label=io.kontiki.cluster=$cluster" | xargs -r -n 20 timeout 60 docker rm -f -v >/dev/null
    remove_pod_network "$network" || true
  fi
  for host in $(numbers); do
    ip netns delete "$prefix-$host" 2>/dev/null || true
    ip route del "10.$pods.$host.0/24" 2>/dev/null || true
  done
  unwire_hub
  awk -v dir="$KONTIKI_HOSTS_DIR/" -v run="/run/$prefix-" 'index($2, dir) == 1 || index($2, run) == 1 {print $2}' /proc/mounts | sort -r |
    while read -r mount; do umount -l "$mount" 2>/dev/null || true; done
  rm -rf "$KONTIKI_HOSTS_DIR" /run/"$prefix"-*
  say "The hosts are gone, and their state with them"
}

verb=${1:-}
[ $# = 0 ] || shift
case "$verb" in
up) up "$@" ;;
down) down ;;
status) status ;;
fail) fail_host "$@" ;;
start)
  known "${1:-}"
  switch_on "$1"
  ;;
cut)
  cut_one_way "$1" "$2"
  cut_one_way "$2" "$1"
  ;;
cut-one-way) cut_one_way "$@" ;;
mend-one-way) mend_one_way "$@" ;;
isolate)
  known "${1:-}"
  for other in $(numbers); do
    [ "$other" = "$1" ] || { cut_one_way "$1" "$other" && cut_one_way "$other" "$1"; }
  done
  ;;
heal)
  ! on_loopback || known
  heal
  ;;
run)
  known "${1:-}"
  host=$1
  shift
  DOCKER_HOST=$(socket "$host") inside "$host" "$@"
  ;;
*)
  usage
  [ -z "$verb" ] || fail "there is no verb '$verb'"
  exit 2
  ;;
esac
