# Sourced by hosts.sh: a Docker engine for each host, where asked for, and the network of its Pods.

# Whether a host's engine is there with all that its Pods need; taken back whenever the engine has ended.
is_equipped() { [ -e "$KONTIKI_HOSTS_DIR/engine-$1/equipped" ] && alive "$KONTIKI_HOSTS_DIR/engine-$1/pid" "$(command -v dockerd)"; }

engine() {
  local host=$1 dir="$KONTIKI_HOSTS_DIR/engine-$1"
  mkdir -p "$dir" "/run/$prefix-$host"
  alive "$dir/pid" "$(command -v dockerd)" && return 0
  rm -f "$dir/pid" "$dir/docker.pid" "$dir/equipped"
  setsid nsenter --net="$(namespace "$host")" dockerd --data-root "$dir/data" --exec-root "/run/$prefix-$host" \
    --pidfile "$dir/docker.pid" -H "$(socket "$host")" --bip "10.$((pods + 1)).$host.1/24" >>"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

# Waits for the engine, then makes the images and the network of its Pods.
equip() {
  local host=$1
  ! is_equipped "$host" || return 0
  await_engine "$host"
  DOCKER_HOST=$(socket "$host") "$root/deploy/images.sh" "$binary" >/dev/null
  pod_network "$host"
  touch "$KONTIKI_HOSTS_DIR/engine-$host/equipped"
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

# The engine and all containers are killed; what a machine without power forgets is forgotten: mounts, control groups, /run.
end_engine_hard() {
  local host=$1 engine="$KONTIKI_HOSTS_DIR/engine-$1"
  if alive "$engine/pid" "$(command -v dockerd)"; then kill -9 "$(cat "$engine/pid")"; fi
  rm -f "$engine/pid" "$engine/equipped"
  forget_engine "$host"
}

# Stops it and removes its containers, as long as it can be asked.
end_engine() {
  local host=$1
  on_engine "$host" ps -aq 2>/dev/null | xargs -r -n 20 env DOCKER_HOST="$(socket "$host")" timeout 60 docker rm -f -v >/dev/null 2>&1 || true
  stop_pid "$KONTIKI_HOSTS_DIR/engine-$host/pid" "$(command -v dockerd)" 20
  forget_engine "$host"
}

# Ends and removes what an engine that is gone has left on this machine. Its disk is not meant.
forget_engine() {
  local host=$1 run="/run/$prefix-$1" leases group pid
  # containerd, the shims and the hooks: the engine's /run stands in their command lines.
  for pid in $(pgrep -f "^[^ ]*(containerd|docker|runc)[^ ]* .*$run/" || true); do kill -9 "$pid" 2>/dev/null || true; done
  for group in $(container_groups "$host"); do
    for pid in $(cat "$group/cgroup.procs" 2>/dev/null || true); do kill -9 "$pid" 2>/dev/null || true; done
  done
  for _ in $(seq 20); do
    for group in $(container_groups "$host"); do rmdir "$group" 2>/dev/null || true; done
    [ -n "$(container_groups "$host")" ] || break
    sleep 0.1
  done
  unmount_below "$KONTIKI_HOSTS_DIR/engine-$host/" "$run/"
  leases=$(cat "$KONTIKI_HOSTS_DIR/engine-$host/leases" 2>/dev/null || true)
  rm -rf "$run" "${leases:-$run}"
}

# The control groups of an engine's containers, the innermost first: each has a container's id in its name.
container_groups() {
  find /sys/fs/cgroup -depth -type d 2>/dev/null | grep -F -f <(ls "$KONTIKI_HOSTS_DIR/engine-$1/data/containers" 2>/dev/null) || true
}

unmount_below() { # two paths, each with a slash at its end
  awk -v one="$1" -v other="$2" 'index($2, one) == 1 || index($2, other) == 1 {print $2}' /proc/mounts | sort -r |
    while read -r mount; do umount -l "$mount" 2>/dev/null || true; done
}
