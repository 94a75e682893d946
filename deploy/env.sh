# Sourced by the Makefile's scripts and by hand (`. deploy/env.sh`): where builds keep what is worth
# keeping between checkouts. Everything here can be set from outside.
: "${KONTIKI_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/kontiki}"
: "${CARGO_TARGET_DIR:=$KONTIKI_CACHE/target}"
# RocksDB's C++ is compiled once, by deploy/rocksdb.sh, and linked from here in every profile.
: "${ROCKSDB_LIB_DIR:=$KONTIKI_CACHE/rocksdb-11.8.1}"
ROCKSDB_STATIC=1
export KONTIKI_CACHE CARGO_TARGET_DIR ROCKSDB_LIB_DIR ROCKSDB_STATIC
