#!/usr/bin/env bash
# Installs what the build and the cluster need and this host lacks. Quick when nothing is missing.
#   setup.sh [tests]      (what the tests need as well)
. "$(dirname "$0")/lib.sh"
case "$*" in '' | tests) ;; *) fail "usage: setup.sh [tests]" ;; esac

command -v cargo >/dev/null || fail "a Rust toolchain is needed (cargo was not found): https://rustup.rs"
missing=()
command -v g++ >/dev/null || missing+=(g++)
# libclang-cpp, which some systems bring along, is another library.
{ ls /usr/lib{,64,/*,/llvm*/lib}/libclang{,-[0-9]*}.so* 2>/dev/null || true; } | grep -q . || missing+=(libclang-dev)
command -v dockerd >/dev/null || docker_answers || missing+=(docker.io iptables)
command -v docker >/dev/null || missing+=(docker.io)
command -v curl >/dev/null || missing+=(curl)
command -v make >/dev/null || missing+=(make)
if [ "${1:-}" = tests ]; then
  [ -x /bin/busybox ] || [ -x /usr/bin/busybox ] || missing+=(busybox-static)
  command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
  command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || missing+=(docker-compose)
  command -v jq >/dev/null || missing+=(jq)
fi

if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null ||
    fail "missing: ${missing[*]} (these are Debian's package names). Install them with your system's packages, then run this again."
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "missing: ${missing[*]}. Without root or sudo they cannot be installed; as root run: apt-get install ${missing[*]}"
  say "Installing from Debian: ${missing[*]}"
  as_root apt-get update -qq
  # Debian's packages may want to start services where no init runs; that is not an error here.
  DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
if [ "${1:-}" = tests ] && ! cargo nextest --version >/dev/null 2>&1; then
  say "Installing cargo-nextest (the test runner; this compiles it, some minutes)"
  cargo install --locked cargo-nextest
fi

# The Python client, for the test that uses it. Without Python that test is left out, and says so.
python_client() {
  local home="$KONTIKI_CACHE/python" wanted='kubernetes==37.0.2'
  command -v python3 >/dev/null || return 0
  [ "$(cat "$home/wanted" 2>/dev/null)" != "$wanted" ] || return 0
  say "Installing Python's client: $wanted"
  rm -rf "$home"
  if python3 -m venv "$home" >/dev/null && "$home/bin/python" -m pip install -q --disable-pip-version-check "$wanted"; then
    echo "$wanted" >"$home/wanted"
  else
    rm -rf "$home"
    say "It could not be installed (Debian: apt-get install python3-venv): its test is left out"
  fi
}
[ "${1:-}" != tests ] || python_client

"$root/deploy/docker.sh" up
"$root/deploy/rocksdb.sh"
