#!/usr/bin/env bash
# Stops the cluster of this checkout and removes its containers and network. The data stays.
. "$(dirname "$0")/lib.sh"
takes_nothing "$@"
binary="$KONTIKI_DIR/bin/kontiki"

# Agents first, so that nobody starts again what is removed below.
for kind in node replica; do
  for dir in "$KONTIKI_DIR/$kind"-*/; do
    [ -d "$dir" ] || continue
    stop_pid "${dir}pid" "$binary" 10 &
  done
  wait
done
cluster=$(sed -n 's/^clusterId: *//p' "$KONTIKI_DIR/replica-1/config.yaml" 2>/dev/null || true)
if [ -n "$cluster" ] && docker_answers; then
  containers=$(timeout 20 docker ps -aq --filter "label=io.kontiki.cluster=$cluster")
  if [ -n "$containers" ]; then
    say "Removing $(wc -w <<<"$containers") containers"
    xargs -r -n 20 timeout 60 docker rm -f -v >/dev/null <<<"$containers"
  fi
  network=$(sed -n 's/^podNetwork: *//p' "$KONTIKI_DIR/node-1/config.yaml" 2>/dev/null || true)
  [ -z "$network" ] || remove_pod_network "$network"
fi
# Mounts that Pods' memory volumes left behind.
awk -v dir="$KONTIKI_DIR/" 'index($2, dir) == 1 {print $2}' /proc/mounts | while read -r mount; do as_root umount "$mount"; done
# A cluster without nodes has never asked for an engine.
if compgen -G "$KONTIKI_DIR/node-*" >/dev/null; then "$root/deploy/docker.sh" down; fi
say "Stopped. The state is kept in $KONTIKI_DIR (make clean-data forgets it)."
