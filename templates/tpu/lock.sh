#!/bin/sh
# Make the lock files again from the *.in files: `sh lock.sh` with uv on PATH. Hashes are of the public package index.
set -eu
cd "$(dirname "$0")"
for set in requirements libtpu; do
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate "$set.in" --output-file "$set.lock"
done
