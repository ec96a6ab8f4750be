"""The types that several schemas are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from ryu_apps.model.address import parse_unicast_mac
from ryu_apps.model.datapath_id import parse_dpid
from ryu_apps.model.documents import ID_PATTERN, parse_id


def checked(parse: Callable[[str], object]) -> AfterValidator:
    """Return a validator that leaves the text as it is, when `parse` accepts it."""

    def validate(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(validate)


class Body(BaseModel):
    """A JSON object of which every name is known."""

    model_config = ConfigDict(extra="forbid", strict=True)


Id = Annotated[str, checked(parse_id), WithJsonSchema({"type": "string", "pattern": f"^{ID_PATTERN}$"})]
Mac = Annotated[
    str,
    checked(parse_unicast_mac),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"}),
]
Dpid = Annotated[str, checked(parse_dpid), WithJsonSchema({"type": "string", "pattern": "^(?!0+$)[0-9a-fA-F]{1,16}$"})]
# OpenFlow tells 15 characters of a port's name (OpenFlow 1.4.0, section 7.2.1).
PortName = Annotated[str, Field(pattern=r"^[!-.0-~]{1,15}$")]
