#!/usr/bin/env bash
# Format, lints, layering, licences. Writes nothing in the checkout.
. "$(dirname "$0")/lib.sh"
takes_nothing "$@"
cd "$root"
"$root/deploy/setup.sh"

say "Format"
cargo fmt --all --check
say "Lints (warnings are errors)"
cargo clippy --workspace --all-targets --locked -q -- -D warnings
# Nothing else compiles the mutants, which would rot unnoticed until the next `make mutants`.
cargo clippy --workspace --all-targets --locked -q --features kontiki-chaos-tests/mutants -- -D warnings

say "Layering"
# $1 must not depend, at any depth, on any of the others.
forbid() {
  local crate=$1 found
  shift
  found=$(cargo tree -p "$crate" -e normal --prefix none --locked | awk '{print $1}' | sort -u | grep -xF "$(printf '%s\n' "$@")" || true)
  [ -z "$found" ] || fail "$crate must not depend on: $(tr '\n' ' ' <<<"$found")(see ARCHITECTURE.md)"
}
forbid kontiki-api tokio tonic openraft rocksdb bollard hyper kontiki-proto kontiki-raft kontiki-server kontiki-node kontiki-client
forbid kontiki-control tokio tonic openraft rocksdb bollard hyper kontiki-proto kontiki-raft kontiki-server kontiki-node kontiki-client
forbid kontiki-proto openraft rocksdb bollard kontiki-api kontiki-raft
forbid kontiki-raft bollard kontiki-api kontiki-control kontiki-server
forbid kontiki-server bollard kontiki-node kontiki-client
forbid kontiki-client openraft rocksdb bollard kontiki-raft kontiki-server kontiki-node
forbid kontiki-node openraft rocksdb kontiki-raft kontiki-server kontiki-control
# Nobody but its owner names a dependency that is somebody's secret.
for pair in openraft:raft rocksdb:raft bollard:node rtnetlink:node; do
  others=$(grep -lE "^${pair%%:*}(\.workspace)? *=" ./*/Cargo.toml | grep -v "^./${pair##*:}/" || true)
  [ -z "$others" ] || fail "${pair%%:*} belongs to ${pair##*:}/ alone, and stands in $others"
done

say "Licences"
# MPL-2.0 (imbl) asks only that changes to its own files stay open.
allowed='MIT|Apache-2.0|BSD-2-Clause|BSD-3-Clause|ISC|Zlib|Unicode-3.0|CC0-1.0|0BSD|BSL-1.0|Unlicense|MIT-0|CDLA-Permissive-2.0|MPL-2.0+'
odd=$(cargo metadata --format-version 1 --locked | python3 -c '
import json, re, sys
allowed = set(sys.argv[1].split("|"))
for package in json.load(sys.stdin)["packages"]:
    licence = (package.get("license") or "none").replace("/", " OR ")
    ways = [set(re.sub(r"WITH [A-Za-z-]+", "", way).replace("(", " ").replace(")", " ").replace("AND", " ").split()) for way in licence.split(" OR ")]
    if not any(way <= allowed for way in ways):
        print(package["name"], package["version"], licence)
' "$allowed")
[ -z "$odd" ] || fail "licences that are not on the list:
$odd"
if command -v cargo-deny >/dev/null; then
  say "Advisories"
  cargo deny --offline check advisories || fail "advisories concern us (or the advisory database is not on this machine)"
else
  say "Advisories: left out (cargo-deny is not installed)"
fi
say "Checked."
