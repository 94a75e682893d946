#!/usr/bin/env bash
# Builds Kontiki and starts a cluster on this host: replicas and nodes as background processes.
# Safe to run again: what runs is left alone, what died is started.
#   In the environment: KONTIKI_REPLICAS (3), KONTIKI_NODES (3), KONTIKI_PORT (6443), KONTIKI_DIR (.kontiki),
#   KONTIKI_BINARY (a built one to run)
. "$(dirname "$0")/lib.sh"
takes_nothing "$@"

# KONTIKI_BINARY: run this one instead of building.
if [ -z "${KONTIKI_BINARY:-}" ]; then
  "$root/deploy/setup.sh"
  say "Building kontiki (the first build takes some minutes)"
  (cd "$root" && cargo build --release --locked --bin kontiki)
  KONTIKI_BINARY="$CARGO_TARGET_DIR/release/kontiki"
fi
mkdir -p "$KONTIKI_DIR/bin"
binary="$KONTIKI_DIR/bin/kontiki"
if ! cmp -s "$KONTIKI_BINARY" "$binary"; then
  # A new file, so that processes running the old one keep it.
  cp "$KONTIKI_BINARY" "$binary.new" && mv -f "$binary.new" "$binary"
fi
if [ "$KONTIKI_NODES" != 0 ]; then
  docker_answers || "$root/deploy/docker.sh" up
  "$root/deploy/images.sh" "$binary"
fi

"$binary" init --dir "$KONTIKI_DIR" --replicas "$KONTIKI_REPLICAS" --nodes "$KONTIKI_NODES" --port "$KONTIKI_PORT" \
  --pod-network "$KONTIKI_POD_NETWORK" --pod-subnet "$KONTIKI_POD_SUBNET"

start() { # name, arguments...
  local name=$1 dir="$KONTIKI_DIR/$1"
  shift
  if alive "$dir/pid" "$binary"; then return 0; fi
  setsid "$binary" "$@" --config "$dir/config.yaml" >>"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  started+=("$name")
}
started=()
for i in $(seq "$KONTIKI_REPLICAS"); do start "replica-$i" server; done
for i in $(seq "$KONTIKI_NODES"); do start "node-$i" node; done
if [ ${#started[@]} -gt 0 ]; then say "Started ${started[*]}"; fi

export KUBECONFIG="$KONTIKI_DIR/kubeconfig"
if ! "$binary" status --wait 60s --nodes "$KONTIKI_NODES" >/dev/null 2>"$KONTIKI_DIR/up.error"; then
  cat "$KONTIKI_DIR/up.error" >&2
  for name in ${started[@]+"${started[@]}"}; do
    alive "$KONTIKI_DIR/$name/pid" "$binary" || { echo "--- $name ended; the last lines of its log:" >&2; tail -n 5 "$KONTIKI_DIR/$name/log" >&2; }
  done
  fail "the cluster is not ready after 60 s (logs: $KONTIKI_DIR/*/log)"
fi
"$binary" status
cat <<TEXT

Try next:
  export KUBECONFIG=$KUBECONFIG
  kubectl apply -f deploy/examples/nginx.yaml     # or: $(realpath --relative-to="$PWD" "$binary" 2>/dev/null || echo "$binary") apply -f …
  kubectl get pods -o wide --watch
TEXT
