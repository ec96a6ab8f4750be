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
"""How the packet leaves when it has no receiver: one of the two constants below."""

EXIT_AS_VF: Final = 1
"""By the uplink, with the VLAN of the sending VF."""

EXIT_AS_SEGMENT: Final = 2
"""By the uplink, with the VLAN by which the outside knows the segment."""
