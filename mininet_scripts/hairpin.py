"""Two tenants' chains of real network functions across two hosts: each hop captured, one killed, all cut, and drawn.

Starts a controller of its own with an empty state on free ports, builds the network, and takes both away again.
Writes the way that the switches' entries give two connections to `hairpin.svg`, or where `--picture` says.
Exit status 0 only if everything that it looks at held. Needs root: run it with `make demo-hairpin`.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

# Run as a file, its own folder is what Python searches; the packages lie beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from mininet_scripts.demo import chain_cost, chain_failure, chain_hops, chain_tenants
from mininet_scripts.demo.show import Show, run
from topologies.chain_hosts import ChainHosts


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(description="Show chains of network functions behind a hairpin.")
    parser.add_argument("--picture", type=Path, default=Path("hairpin.svg"), help="where the picture is written")
    options = parser.parse_args()
    return run(
        Show(
            topology=ChainHosts,
            built="two hosts with NICs of three ports, eight VMs and ten instances of functions",
            prepared=chain_tenants.prepared,
            preparing="registering tenants red and blue with their chains, and starting the functions",
            steps={
                "capturing a connection of each tenant at every hop": chain_hops.captured,
                "following both in the switches' entries": partial(chain_hops.followed, picture=options.picture),
                "killing a filter in the middle of a transfer": chain_failure.survived,
                "taking all filters away, closed and open": chain_failure.closed_and_open,
                "measuring what the chain costs": chain_cost.measured,
            },
        )
    )


if __name__ == "__main__":
    sys.exit(main())
