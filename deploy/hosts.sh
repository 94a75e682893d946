#!/usr/bin/env bash
# Several hosts on this machine: a network namespace each, with an address, a Docker engine, a replica and an agent of
# its own, and routes between their Pod networks.
#   hosts.sh up [N]          N hosts (default 3); the first 3 carry replicas, or 5 where N is 5 or more
#   hosts.sh down            stops them and removes namespaces, engines and containers; the state goes too
#   hosts.sh status          the hosts, and what runs on each
#   hosts.sh mode            `namespaces` or `loopback`: what the hosts are that are up, else what `up` would make
#   hosts.sh fail I          host I dies: engine, containers, replica and agent are killed at once (on loopback: the last two)
#   hosts.sh start I         it is switched on again, with what is on its disk
#   hosts.sh cut A B         no packet between the hosts A and B any more
#   hosts.sh cut-one-way A B no packet from A reaches B
#   hosts.sh mend-one-way A B  what `cut-one-way A B` did last is undone
#   hosts.sh isolate I       no packet between host I and any other host
#   hosts.sh heal            every cut is mended
#   hosts.sh run I COMMAND…  runs a command in the network of host I, with DOCKER_HOST set to its engine
# KONTIKI_HOSTS_ENGINES=shared: one Docker engine for all, of this machine; Pods are then on one network.
# KONTIKI_HOSTS_ENGINES=none: replicas alone, neither engines nor agents.
# KONTIKI_HOSTS_LOOPBACK=1: no namespaces, also where they are to be had: all on loopback, with this machine's engine.
# KONTIKI_HOSTS_PORT: the first port of the replicas on loopback then (9443).
# KONTIKI_HOSTS_HISTORY_BYTES: how much history the replicas keep (their `historyBytes`), where it is not the default.
# KONTIKI_HOSTS_SMALL_DISK=I:SIZE: the replica of host I has its data on a file system of that size (such as 3:192m); not on
# loopback.
. "$(dirname "$0")/lib.sh"
: "${KONTIKI_HOSTS_DIR:=$root/.kontiki/hosts}"
# What `up` was told holds for all verbs.
: "${KONTIKI_HOSTS_ENGINES:=$(cat "$KONTIKI_HOSTS_DIR/engines" 2>/dev/null || echo own)}"
: "${KONTIKI_HOSTS_SMALL_DISK:=}"
: "${KONTIKI_HOSTS_HISTORY_BYTES:=}"
: "${KONTIKI_HOSTS_LOOPBACK:=}"
: "${KONTIKI_HOSTS_PORT:=9443}"
# 10.<net>.0.i is host i; its Pods are in 10.<net + 1>.i.0/24.
: "${KONTIKI_HOSTS_NET:=77}"
net=$KONTIKI_HOSTS_NET
pods=$((net + 1))
prefix="kontiki$net"
binary="$KONTIKI_HOSTS_DIR/bin/kontiki"
network="kontiki-pods"
. "$root/deploy/hosts-wires.sh"
. "$root/deploy/hosts-engines.sh"

numbers() { find "$KONTIKI_HOSTS_DIR" -maxdepth 1 \( -name 'node-*' -o -name 'replica-*' \) 2>/dev/null | sed 's/.*-//' | sort -nu; }
namespace() { echo "/run/netns/$prefix-$1"; }
# A command in the network of a host. Not `ip netns exec`, which hides the control groups that Docker needs.
inside() {
  local host=$1
  shift
  nsenter --net="$(namespace "$host")" "$@"
}
socket() { [ "$KONTIKI_HOSTS_ENGINES" = own ] && echo "unix:///run/$prefix-$1/docker.sock" || echo "${DOCKER_HOST:-unix:///var/run/docker.sock}"; }
on_engine() {
  local host=$1
  shift
  DOCKER_HOST=$(socket "$host") timeout 60 docker "$@"
}
on_loopback() { [ -e "$KONTIKI_HOSTS_DIR/loopback" ]; }
mode() { if on_loopback || [ "$KONTIKI_HOSTS_LOOPBACK" = 1 ] || ! has_namespaces; then echo loopback; else echo namespaces; fi; }
# One engine serves all of them there.
if on_loopback && [ "$KONTIKI_HOSTS_ENGINES" = own ]; then KONTIKI_HOSTS_ENGINES=shared; fi
known() {
  [[ "${1:-}" =~ ^[0-9]+$ ]] && numbers | grep -qx "$1" || fail "there is no host ${1:-(none named)}; hosts: $(numbers | tr '\n' ' ')"
}
wired() {
  known "${1:-}"
  ! on_loopback || fail "replicas and nodes are all on loopback here: host $1 has no network of its own"
}

process() { # host, name, verb
  local host=$1 name=$2 dir="$KONTIKI_HOSTS_DIR/$2" enter=()
  [ -d "$dir" ] || return 0
  alive "$dir/pid" "$binary" && return 0
  on_loopback || enter=(nsenter --net="$(namespace "$host")")
  DOCKER_HOST=$(socket "$host") setsid "${enter[@]}" "$binary" "$3" --config "$dir/config.yaml" >>"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

install_binary() {
  mkdir -p "$KONTIKI_HOSTS_DIR/bin"
  cmp -s "$KONTIKI_BINARY" "$binary" || { cp "$KONTIKI_BINARY" "$binary.new" && mv -f "$binary.new" "$binary"; }
}

# Once: `up` may be said again.
shorten_history() { # replicas
  local host config
  [ -n "$KONTIKI_HOSTS_HISTORY_BYTES" ] || return 0
  for host in $(seq "$1"); do
    config="$KONTIKI_HOSTS_DIR/replica-$host/config.yaml"
    grep -q '^historyBytes:' "$config" || echo "historyBytes: $KONTIKI_HOSTS_HISTORY_BYTES" >>"$config"
  done
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
    equip "$host"
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
  export KONTIKI_BINARY
  # Before root makes it.
  mkdir -p "$KONTIKI_HOSTS_DIR"
  if on_loopback || [ "$KONTIKI_HOSTS_LOOPBACK" = 1 ]; then
    up_on_loopback "$replicas" "$nodes"
    return 0
  fi
  again_as_root up "$hosts"
  if ! has_namespaces; then
    say "No network namespaces are to be had here (they need root, ip netns and iptables)"
    up_on_loopback "$replicas" "$nodes"
    return 0
  fi
  install_binary
  local subnet="10.$pods.{}.0/24"
  if [ "$KONTIKI_HOSTS_ENGINES" = shared ]; then
    "$root/deploy/docker.sh" up
    "$root/deploy/images.sh" "$binary"
    subnet="10.$pods.0.0/16"
  fi
  "$binary" init --dir "$KONTIKI_HOSTS_DIR" --replicas "$replicas" --nodes "$nodes" --port 6443 --separate-hosts \
    --replica-host "10.$net.0.{}" --node-host "10.$net.0.{}" --proxy-host "10.$net.0.{}" \
    --pod-network "$network" --pod-subnet "$subnet"
  echo "$KONTIKI_HOSTS_ENGINES" >"$KONTIKI_HOSTS_DIR/engines"
  shorten_history "$replicas"
  give_back "$KONTIKI_HOSTS_DIR" "$KONTIKI_HOSTS_DIR/kubeconfig"
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

# The same replicas and nodes on one address, each with ports of its own.
up_on_loopback() { # replicas, nodes
  [ ! -e "/run/netns/$prefix-hub" ] || fail "hosts with networks of their own are up: deploy/hosts.sh down first"
  [ -z "$KONTIKI_HOSTS_SMALL_DISK" ] || fail "KONTIKI_HOSTS_SMALL_DISK: hosts on loopback have no disks of their own"
  touch "$KONTIKI_HOSTS_DIR/loopback"
  if [ "$2" = 0 ]; then say "All on loopback"; else say "All on loopback, with one Docker engine"; fi
  # Beside a cluster of `make up`: ports and a Pod network of their own.
  if [ -n "$KONTIKI_HOSTS_HISTORY_BYTES" ]; then
    install_binary
    # up.sh keeps what is there.
    "$binary" init --dir "$KONTIKI_HOSTS_DIR" --replicas "$1" --nodes "$2" --port "$KONTIKI_HOSTS_PORT" \
      --pod-network "$prefix-pods" --pod-subnet "10.$pods.0.0/16"
    shorten_history "$1"
  fi
  KONTIKI_DIR="$KONTIKI_HOSTS_DIR" KONTIKI_REPLICAS=$1 KONTIKI_NODES=$2 KONTIKI_PORT=$KONTIKI_HOSTS_PORT \
    KONTIKI_POD_NETWORK="$prefix-pods" KONTIKI_POD_SUBNET="10.$pods.0.0/16" "$root/deploy/up.sh"
}

# Everything on the host ends at once, as when its power is cut.
fail_host() {
  local host=$1 name
  for name in "replica-$host" "node-$host"; do
    if alive "$KONTIKI_HOSTS_DIR/$name/pid" "$binary"; then kill -9 "$(cat "$KONTIKI_HOSTS_DIR/$name/pid")"; fi
  done
  if [ "$KONTIKI_HOSTS_ENGINES" = own ]; then end_engine_hard "$host"; fi
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
    KONTIKI_DIR="$KONTIKI_HOSTS_DIR" "$root/deploy/down.sh" >/dev/null
    rm -rf "$KONTIKI_HOSTS_DIR"
    say "The hosts are gone, and their state with them"
    return 0
  fi
  for host in $(numbers); do stop_pid "$KONTIKI_HOSTS_DIR/node-$host/pid" "$binary" 5 & done
  wait
  for host in $(numbers); do stop_pid "$KONTIKI_HOSTS_DIR/replica-$host/pid" "$binary" 10 & done
  wait
  if [ "$KONTIKI_HOSTS_ENGINES" = own ]; then
    for host in $(numbers); do end_engine "$host" & done
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
  unmount_below "$KONTIKI_HOSTS_DIR/" "/run/$prefix-"
  rm -rf "$KONTIKI_HOSTS_DIR" /run/"$prefix"-*
  say "The hosts are gone, and their state with them"
}

verb=${1:-}
[ $# = 0 ] || shift
case "$verb" in
# What runs as root is acted on as root.
mode) [ "$KONTIKI_HOSTS_LOOPBACK" = 1 ] || [ -O "$KONTIKI_HOSTS_DIR/loopback" ] || again_as_root "$verb" ;;
down | status | fail | start | cut | cut-one-way | mend-one-way | isolate | heal | run) [ -O "$KONTIKI_HOSTS_DIR/loopback" ] || again_as_root "$verb" "$@" ;;
esac
case "$verb" in
up) up "$@" ;;
down) down ;;
status) status ;;
mode) mode ;;
fail)
  known "${1:-}"
  fail_host "$1"
  ;;
start)
  known "${1:-}"
  switch_on "$1"
  ;;
cut)
  cut_one_way "${1:-}" "${2:-}"
  cut_one_way "$2" "$1"
  ;;
cut-one-way) cut_one_way "${1:-}" "${2:-}" ;;
mend-one-way) mend_one_way "${1:-}" "${2:-}" ;;
isolate)
  wired "${1:-}"
  for other in $(numbers); do
    [ "$other" = "$1" ] || { cut_one_way "$1" "$other" && cut_one_way "$other" "$1"; }
  done
  ;;
heal) heal ;;
run)
  wired "${1:-}"
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
