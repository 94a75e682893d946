#!/usr/bin/env bash
# Forgets the cluster's state: data, certificates, logs.
. "$(dirname "$0")/lib.sh"
takes_nothing "$@"
for file in "$KONTIKI_DIR"/*/pid; do
  [ -e "$file" ] || continue
  if alive "$file" "$KONTIKI_DIR/bin/kontiki"; then fail "the cluster is running: make down first"; fi
done
rm -rf "$KONTIKI_DIR"
say "Forgotten: $KONTIKI_DIR"
