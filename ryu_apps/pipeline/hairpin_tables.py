"""The tables of the datapaths of NIC ports 2 and 3, numbered from 0 as those of the VFs' datapath are."""

from __future__ import annotations

from typing import Final

from ryu_apps.pipeline.table import Miss, Table

HAIRPIN_TABLES: Final = (
    Table(
        name="splice",
        purpose="VLAN on the cable or the network ↔ sub-interface without the tag, one to one",
        matches=frozenset({"in_port", "vlan_vid", "eth_src"}),
        writes=frozenset({"vlan", "output"}),
        next=frozenset(),
        miss=Miss.DROP,
    ),
)
