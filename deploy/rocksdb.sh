#!/usr/bin/env bash
# Builds RocksDB's C++ once into the cache that deploy/env.sh names, so that no profile and no checkout
# has to do it again. Quick when the archive is there. Safe to run twice at the same time.
. "$(dirname "$0")/lib.sh"
takes_nothing "$@"
archive="$ROCKSDB_LIB_DIR/librocksdb.a"
[ -s "$archive" ] && exit 0

mkdir -p "$ROCKSDB_LIB_DIR"
exec 9>"$ROCKSDB_LIB_DIR/.lock"
flock 9
[ -s "$archive" ] && exit 0

work="$ROCKSDB_LIB_DIR/build"
mkdir -p "$work/src"
cat > "$work/Cargo.toml" <<'TOML'
[package]
name = "rocksdb-archive"
version = "0.1.0"
edition = "2024"

[workspace]

[dependencies]
# The same release as the workspace's `rocksdb`, pinned: the archive must fit its headers.
librocksdb-sys = { version = "=0.19.0", default-features = false, features = ["lz4", "bindgen-runtime"] }

[profile.release]
opt-level = 2
TOML
echo 'pub use librocksdb_sys as _;' > "$work/src/lib.rs"

total=$(($(nproc)))
echo "Building RocksDB's C++ with $total jobs. This is done once per machine and takes 12 to 25 minutes on two cores."
unset ROCKSDB_STATIC
(
  cd "$work"
  # SSE4.2 gives hardware CRC32C; every x86-64 server since 2010 has it.
  [ "$(uname -m)" = x86_64 ] && export RUSTFLAGS="-Ctarget-feature=+sse4.2,+pclmulqdq"
  export CXXFLAGS="-ffunction-sections -fdata-sections"
  env -u ROCKSDB_LIB_DIR CARGO_TARGET_DIR="$work/target" cargo build --release -q > "$work/log" 2>&1
) &
build=$!
started=$SECONDS
while kill -0 "$build" 2>/dev/null; do
  sleep 5
  objects=$(find "$work/target" -path '*librocksdb-sys*' -name '*.o' 2>/dev/null | wc -l)
  sources=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -path '*librocksdb-sys-0.19.0*' -name rocksdb_lib_sources.txt -exec cat {} + 2>/dev/null | wc -l)
  if [ -t 1 ]; then
    printf '\r  %d of %d files, %d s ' "$objects" "${sources:-0}" $((SECONDS - started))
  elif [ $(((SECONDS - started) / 5 % 12)) = 0 ]; then
    printf '  %d of %d files, %d s\n' "$objects" "${sources:-0}" $((SECONDS - started))
  fi
done
if ! wait "$build"; then
  echo "RocksDB did not build. The last lines of $work/log:" >&2
  tail -n 20 "$work/log" >&2
  exit 1
fi
found=$(find "$work/target/release" -name librocksdb.a | head -n 1)
cp "$found" "$archive.part"
mv "$archive.part" "$archive"
rm -rf "$work"
echo "RocksDB is ready: $archive ($(du -h "$archive" | cut -f1)), $((SECONDS - started)) s."
