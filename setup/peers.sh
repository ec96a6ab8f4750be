#!/usr/bin/env bash
# Puts ovs-testcontroller, a peer of the benchmarks, into .venv; does nothing where the machine has one.
# Its package is unpacked and not installed: installed, it would start a controller at port 6653 and with each boot.
set -euo pipefail
cd "$(dirname "$0")/.."

program=ovs-testcontroller
if [ -x ".venv/bin/$program" ] || command -v "$program" > /dev/null; then exit 0; fi

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fetch=(apt-get -o APT::Sandbox::User=root --quiet --quiet download openvswitch-testcontroller)

echo "Fetching $program"
cd "$folder"
# Without lists of packages, or with old ones, it needs new lists.
if ! "${fetch[@]}" 2> said && ! { "${as_root[@]}" apt-get --quiet --quiet update 2> said && "${fetch[@]}" 2> said; }; then
    cat said >&2
    echo "There is no $program to compare with; the benchmarks say so." >&2
    exit 0
fi
dpkg --extract ./*.deb unpacked
cd "$OLDPWD"
# Renamed at the end, so that it is there as a whole or not at all.
cp "$folder/unpacked/usr/bin/$program" ".venv/bin/$program.new"
mv ".venv/bin/$program.new" ".venv/bin/$program"
