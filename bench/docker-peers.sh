#!/usr/bin/env bash
# The same 30 containers by the peers on the same engine: bare `docker run`, four at a time, and a Swarm service.
. "$(dirname "$0")/../deploy/lib.sh"
image=kontiki:dev
rounds=${1:-3}

run_one() { timeout 60 docker run -d --label kontiki-bench=peer "$image" pause >/dev/null; }
export -f run_one
export image
for round in $(seq "$rounds"); do
  from=$(date +%s%N)
  seq 30 | xargs -P 4 -I{} bash -c run_one
  echo "docker run, 30, four at a time: $((($(date +%s%N) - from) / 1000000)) ms"
  timeout 20 docker ps -aq --filter label=kontiki-bench=peer | xargs -r -n 10 timeout 60 docker rm -f >/dev/null
done

timeout 20 docker swarm init --advertise-addr 127.0.0.1 >/dev/null || { echo "docker swarm: not available here"; exit 0; }
for round in $(seq "$rounds"); do
  from=$(date +%s%N)
  timeout 60 docker service create -d -q --no-resolve-image --name kontiki-bench --replicas 30 "$image" pause >/dev/null
  until [ "$(timeout 20 docker service ps kontiki-bench --filter desired-state=running --format '{{.CurrentState}}' | grep -c ^Running)" = 30 ]; do
    sleep 0.1
    [ $((($(date +%s%N) - from) / 1000000000)) -lt 90 ] || break
  done
  echo "swarm service, 30: $((($(date +%s%N) - from) / 1000000)) ms"
  timeout 60 docker service rm kontiki-bench >/dev/null
  while [ -n "$(timeout 20 docker ps -q --filter name=kontiki-bench)" ]; do sleep 0.5; done
done
timeout 60 docker swarm leave --force >/dev/null
