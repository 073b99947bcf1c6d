#!/bin/sh
# Make the lock files again from the *.in files: `sh lock.sh` with uv on PATH. Hashes are of the public package index.
# What only PyTorch's CUDA build needs is kept out of requirements*.lock and goes, with PyTorch, into torch.lock.
set -eu
cd "$(dirname "$0")"
compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate "$@"; }

compile torch.in --output-file torch.all
gpu=$(sed -n 's/^\(torch\|triton\|nvidia-[a-z0-9-]*\|cuda-[a-z]*\)==.*/--no-emit-package \1/p' torch.all)
rest=$(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' torch.all | grep -vE '^(torch|triton|nvidia-.*|cuda-.*)$' | sort -u | sed 's/^/--no-emit-package /')
# shellcheck disable=SC2086 # each word is an argument
compile torch.in --output-file torch.lock $rest
for set in requirements requirements-longcat; do
  # shellcheck disable=SC2086
  compile "$set.in" --output-file "$set.lock" $gpu
done
rm torch.all
