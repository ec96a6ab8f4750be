"""The kinds of single values that a client may send, with their ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from ryu_apps.model.address import parse_address, parse_unicast_mac
from ryu_apps.model.datapath_id import parse_dpid
from ryu_apps.model.documents import ID_PATTERN, parse_id
from ryu_apps.model.nat_pool import parse_addresses, parse_ports
from ryu_apps.model.nic_limits import ACTION_NAMES


def checked(parse: Callable[[str], object]) -> AfterValidator:
    """Return a validator that leaves the text as it is, when `parse` accepts it."""

    def validate(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(validate)


def _action_name(text: str) -> str:
    """Return the name of an action; ValueError for any other text."""
    if text not in ACTION_NAMES:
        raise ValueError(f"{text[:80]!r} is no action: {', '.join(ACTION_NAMES)}")
    return text


def _number_or_text(value: Any) -> int | str:
    """Return a field's value as sent; ValueError unless it is a whole number or short text."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be a whole number or text")
    if len(str(value)) > 64:
        raise ValueError("must be at most 64 characters long")
    return value


class Body(BaseModel):
    """A JSON object of which every name is known."""

    model_config = ConfigDict(extra="forbid", strict=True)


Id = Annotated[str, checked(parse_id), WithJsonSchema({"type": "string", "pattern": f"^{ID_PATTERN}$"})]
Mac = Annotated[
    str,
    checked(parse_unicast_mac),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"}),
]
Ip = Annotated[
    str,
    checked(parse_address),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
]
Addresses = Annotated[str, checked(parse_addresses), Field(max_length=128)]
Ports = Annotated[str, checked(parse_ports), WithJsonSchema({"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$"})]
Dpid = Annotated[str, checked(parse_dpid), WithJsonSchema({"type": "string", "pattern": "^(?!0+$)[0-9a-fA-F]{1,16}$"})]
# OpenFlow tells 15 characters of a port's name (OpenFlow 1.4.0, section 7.2.1).
PortName = Annotated[str, Field(pattern=r"^[!-.0-~]{1,15}$")]
Vlan = Annotated[int, Field(ge=1, le=4094)]
Kbps = Annotated[int, Field(ge=0, le=4_000_000_000)]
MissRate = Annotated[int, Field(ge=1, le=1_000_000)]
# 24 bits (RFC 7348 section 4).
Vni = Annotated[int, Field(ge=1, le=0xFFFFFF)]
Priority = Annotated[int, Field(ge=0, le=65535)]
# Which packets go first where room is short, the highest; as many as there are in a VLAN tag (IEEE 802.1Q, PCP).
TrafficPriority = Annotated[int, Field(ge=0, le=7)]
Verdict = Literal["allow", "deny"]
Count = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
ActionName = Annotated[str, checked(_action_name), WithJsonSchema({"type": "string", "enum": list(ACTION_NAMES)})]
FieldValue = Annotated[
    int | str, PlainValidator(_number_or_text), WithJsonSchema({"type": ["string", "integer"], "maxLength": 64})
]


def absent() -> Any:
    """Return a field that may be left out but not be null."""
    return Field(default_factory=str)
