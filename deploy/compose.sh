#!/usr/bin/env bash
# The cluster as containers: `compose.sh up` makes what compose.yaml needs and starts it, `compose.sh down` removes
# it with its data.
. "$(dirname "$0")/lib.sh"
: "${KONTIKI_COMPOSE_DIR:=$root/.kontiki/compose}"
export KONTIKI_COMPOSE_DIR
compose() {
  local tool=(docker-compose)
  if ! command -v docker-compose >/dev/null; then
    docker compose version >/dev/null 2>&1 || fail "neither docker-compose nor docker compose is installed (Debian: apt-get install docker-compose)"
    tool=(docker compose)
  fi
  timeout 180 "${tool[@]}" -p kontiki -f "$root/deploy/compose.yaml" "$@"
}

up() {
  # KONTIKI_BINARY: run this one instead of building.
  local binary="${KONTIKI_BINARY:-}"
  if [ -z "$binary" ]; then
    "$root/deploy/setup.sh"
    say "Building kontiki"
    (cd "$root" && cargo build --release --locked --bin kontiki)
    binary="$CARGO_TARGET_DIR/release/kontiki"
  fi
  "$root/deploy/images.sh" "$binary"
  "$binary" init --dir "$KONTIKI_COMPOSE_DIR" --replicas 3 --nodes 3 --port 7443 --separate-hosts \
    --replica-host 'replica-{}' --node-host '172.30.77.2{}' --pod-network kontiki-compose-pods --pod-subnet 10.245.0.0/16
  compose up -d
  export KUBECONFIG="$KONTIKI_COMPOSE_DIR/kubeconfig"
  "$binary" status --wait 60s --nodes 3
  printf '\nTry next:\n  export KUBECONFIG=%s\n  kubectl get nodes\n' "$KUBECONFIG"
}

down() {
  local cluster
  # First the agents, so that nobody starts again what is removed below.
  compose stop -t 10 node-1 node-2 node-3
  cluster=$(cat "$KONTIKI_COMPOSE_DIR/cluster-id" 2>/dev/null || true)
  if [ -n "$cluster" ]; then
    timeout 20 docker ps -aq --filter "label=io.kontiki.cluster=$cluster" | xargs -r -n 20 timeout 60 docker rm -f -v >/dev/null
  fi
  compose down -v -t 10
  rm -rf "$KONTIKI_COMPOSE_DIR"
}

case "$*" in
up) up ;;
down) down ;;
*) fail "usage: compose.sh up|down" ;;
esac
