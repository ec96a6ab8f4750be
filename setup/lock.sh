#!/usr/bin/env bash
# Writes requirements.lock anew from requirements.in, with the hash of every published file.
# Run by hand, to renew dependencies; set-up only reads the result.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Ryu's wheel pins an eventlet with a known request-smuggling flaw: requirements.in decides instead.
grep '^eventlet' requirements.in > "$scratch/override.txt"
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet uv
# One release for all Pythons (fewest): what the tests saw is what everyone gets.
"$scratch/venv/bin/uv" pip compile requirements.in --quiet --upgrade \
    --override "$scratch/override.txt" \
    --universal --python-version 3.10 --fork-strategy fewest \
    --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links \
    --output-file "$scratch/requirements.lock"
{
    echo "# Made by setup/lock.sh from requirements.in: edit that file, not this one."
    echo "# Install with: pip install --no-deps --require-hashes -r requirements.lock"
    cat "$scratch/requirements.lock"
} > requirements.lock
