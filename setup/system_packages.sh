#!/usr/bin/env bash
# Installs the system packages that are missing (Debian, Ubuntu); does nothing when all are there.
set -euo pipefail

packages=(
    python3-venv        # the virtual environment
    openvswitch-switch  # the switch itself
    mininet             # the mn command, its Python module and mnexec
    iproute2 iputils-ping net-tools ethtool procps  # what Mininet's hosts are set up with
    iperf3 tcpdump      # load and captures
    nftables            # firewalls and NAT that are network functions
    conntrack           # emptying the memory of a firewall or NAT that is killed
    haproxy             # a third party's program as network function
    curl                # what documentation speaks REST with
)

if ! command -v dpkg-query > /dev/null; then
    echo "This is neither Debian nor Ubuntu: install the equivalents of ${packages[*]} by hand." >&2
    exit 1
fi

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes -o DPkg::Lock::Timeout=300)

echo "Installing system packages: ${missing[*]}"
"${apt[@]}" update
"${apt[@]}" install --no-install-recommends "${missing[@]}" < /dev/null
