#!/usr/bin/env bash
# Puts ovs-testcontroller, a peer of the benchmarks, into .venv; does nothing where the machine has one.
# Its package is unpacked and not installed: installed, it would start a controller at port 6653 and with each boot.
set -euo pipefail
cd "$(dirname "$0")/.."

program=ovs-testcontroller
[ -x ".venv/bin/$program" ] || command -v "$program" > /dev/null && exit 0

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

echo "Fetching $program"
download() { (cd "$folder" && apt-get --quiet --quiet download "openvswitch-testcontroller" 2> /dev/null); }
download || { "${as_root[@]}" apt-get --quiet update && download; } || {
    echo "No package openvswitch-testcontroller to be had: the benchmarks say that they miss $program." >&2
    exit 0
}
dpkg --extract "$folder"/*.deb "$folder/unpacked"
cp "$folder/unpacked/usr/bin/$program" .venv/bin/
