"""Pieces of schema that pydantic has no word for: CEL rules and the topology of lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule: what must be true, and what to write when it is not."""

    rule: str
    message: str

    def schema(self) -> dict[str, Any]:
        """The schema extension that holds this rule."""
        return rules(self)


def rules(*several: Rule) -> dict[str, Any]:
    """The schema extension that holds several rules."""
    return {
        "x-kubernetes-validations": [{"rule": r.rule, "message": r.message} for r in several],
    }


def host_rule() -> dict[str, Any]:
    """The rules for a host: what is most often written wrong, each with its answer, and the rest.

    CEL knows IP addresses since Kubernetes 1.30 and named formats since 1.31.
    """
    return rules(
        Rule("size(self) > 0", "host must not be empty: write an IP address or a DNS name"),
        Rule(
            "!self.contains('://')",
            "host must not hold a scheme: write only the IP address or DNS name, and put http or "
            "https into spec.scheme",
        ),
        Rule(
            "!self.matches('[\\\\s]')",
            "host must not hold a space: write one IP address or DNS name",
        ),
        Rule(
            "!self.contains('[') && !self.contains(']')",
            "host must not hold brackets: write an IPv6 address bare, for example fd00::5",
        ),
        Rule(
            "isIP(self) || !self.matches('(^|[.])[0-9]+[.]?$')",
            "host ends in a number, but is no valid IP address: write for example 10.0.0.5, or a "
            "DNS name",
        ),
        Rule(
            "size(self) == 0 || self.contains('://') || self.matches('[\\\\s\\\\[\\\\]]') "
            "|| isIP(self) || !format.dns1123Subdomain().validate(self.lowerAscii()"
            ".endsWith('.') ? self.lowerAscii().substring(0, size(self) - 1) : self.lowerAscii())"
            ".hasValue()",
            "host must be an IP address or a DNS name, for example 10.0.0.5, fd00::5 or "
            "vicuna-0.models.svc: no port, no path",
        ),
    )


def set_of(max_items: int) -> FieldInfo:
    """A list in which each item stands once."""
    info: FieldInfo = Field(
        max_length=max_items, json_schema_extra={"x-kubernetes-list-type": "set"}
    )
    return info


def list_map(key: str) -> FieldInfo:
    """A list of objects that are told apart by one of their fields."""
    info: FieldInfo = Field(
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [key],
        }
    )
    return info
