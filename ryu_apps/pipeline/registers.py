"""The registers that carry what one table found out to the next; Nicira extension registers (NXM_NX_REG)."""

from __future__ import annotations

from typing import Final

SEGMENT: Final = "reg0"
"""Number of the segment that the packet is in."""

SENDER: Final = "reg1"
"""Number of the sending vport, 0 when the packet came in by the uplink."""

RECEIVER: Final = "reg2"
"""Number of the receiving vport, 0 when it leaves by the uplink."""

EXIT: Final = "reg3"
"""How the packet leaves when it has no receiver: one of the four constants below."""

EXIT_AS_VF: Final = 1
"""By the uplink, with the VLAN of the sending VF."""

EXIT_AS_SEGMENT: Final = 2
"""By the uplink, with the VLAN by which the outside knows the segment."""

EXIT_BY_TUNNEL: Final = 3
"""By the tunnel port, to the endpoint and with the VNI in the tunnel's metadata."""

EXIT_TO_FUNCTIONS: Final = 4
"""Toward network functions: by the cable of a hairpin with the VLAN of the sending VF, or by its sub-interface."""

METER: Final = "reg4"
"""Number of the meter to pass, for table `meter`."""

VIA: Final = "reg5"
"""Number of the vport that a rule sends the packet to, 0 for delivery by MAC."""

VIA_NO_FUNCTION: Final = 0xFFFF
"""No vport's number: delivery by MAC, on a host with a hairpin to its own VFs without network functions."""

SAID: Final = "reg7"
"""Priority that a rule has given, with the bit below; 0 for none."""

SAID_BIT: Final = 8
"""Tells that priority 0 was given from that none was."""

PRIORITY: Final = "reg8"
"""Priority of the packet: what a rule has given, else that of the sending vport."""

# Nicira's field of 16 bits (NXM_OF_IN_PORT): Open vSwitch does not let OpenFlow's in_port, of 32 bits, be set.
CAME_BY: Final = "nxm_in_port"
"""The port that the packet counts as having come in by; it never leaves there unless by `IN_PORT`."""

BACK: Final = "reg9"
"""1 for packets of a VF that go back to their VM where they would ask the controller."""

CHAIN: Final = "reg10"
"""Mark of the chain that the packet takes, in its segment; 0 for the segment's own, or for none."""

POSITION: Final = "reg11"
"""Where in its chain a packet is, on NIC port 2; the numbers are made in `ryu_apps/pipeline/chain.py`."""

HEADING: Final = "reg12"
"""Which way the packet's connection takes its chain with packets like this one: one of the two below, 0 for unknown.

Its lowest bit is that of the positions that it is looked up at, odd before hops forward, even in reverse.
"""

REVERSE: Final = 2
"""From the end of the chain to its begin."""

FORWARD: Final = 3
"""From the begin of the chain to its end."""

WAYS: Final = ("reg2", "reg3", "reg4", "reg5", "reg6", "reg7", "reg8", "reg9")
"""On NIC port 2, in place of what these registers are for at VFs: a port's number in 16 bits for each hop of a chain.

It names the instance by the port at which packets like this one meet it, 0 while none is chosen.
"""

COPY: Final = "reg6"
"""Number of the vport that a copy goes to, for table `mirror`."""

PUNT: Final = "reg15"
"""Why the packet asks the controller, for table `missed`: the numbers of the punts below."""
