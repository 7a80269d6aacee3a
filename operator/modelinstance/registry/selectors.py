"""Label selectors, in Kubernetes' syntax.

See "Label selectors" in the Kubernetes documentation: ``a=b,c!=d,e in (f,g),h notin (i),j,!k``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

MAX_LENGTH = 4096

Labels = Mapping[str, str]
Selector = Callable[[Labels], bool]

_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_PREFIX = rf"(?=[-a-z0-9.]{{1,253}}/){_DNS_LABEL}(?:\.{_DNS_LABEL})*/"
_KEY = rf"(?:{_PREFIX})?[A-Za-z0-9](?:[-\w.]{{0,61}}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?)?"
_REQUIREMENT = re.compile(
    rf"\s*(?:(?P<absent>!\s*{_KEY})"
    rf"|(?P<set>{_KEY})\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)"
    rf"|(?P<key>{_KEY})\s*(?P<relation>==|=|!=)\s*(?P<value>{_VALUE})"
    rf"|(?P<present>{_KEY}))\s*(?:,(?!$)|$)",
    re.ASCII,
)
_LABEL = re.compile(rf"{_KEY}={_VALUE}", re.ASCII)


class SelectorError(ValueError):
    """A label selector cannot be understood; the message shows where."""


def parse(text: str) -> Selector:
    """What a selector asks for, as a predicate on labels. Raises `SelectorError`."""
    if len(text) > MAX_LENGTH:
        raise SelectorError(f"{len(text)} characters: write at most {MAX_LENGTH}")
    text = text.strip(" \t\r\n")
    requirements, at = [], 0
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if found is None:
            raise SelectorError(
                f"cannot read {text[at : at + 40]!r}: write for example tier=gold,zone in (a,b)"
            )
        requirements.append(_requirement(found))
        at = found.end()
    return lambda labels: all(requirement(labels) for requirement in requirements)


def _requirement(found: re.Match[str]) -> Selector:
    if absent := found["absent"]:
        key = absent[1:].strip()
        return lambda labels: key not in labels
    if present := found["present"]:
        return lambda labels: present in labels
    if key := found["key"]:
        value, wanted = found["value"], found["relation"] != "!="
        return lambda labels: (labels.get(key) == value) is wanted
    values = {value.strip() for value in found["values"].split(",")}
    for value in values:
        if not re.fullmatch(_VALUE, value, re.ASCII):
            raise SelectorError(
                f"{value[:70]!r} is no label value: write at most 63 letters, digits, '-', '_', '.'"
            )
    key, wanted = found["set"], found["operator"] == "in"
    return lambda labels: (labels.get(key) in values) is wanted


def is_label(key: str, value: str) -> bool:
    """Whether that is a label by Kubernetes' syntax."""
    return _LABEL.fullmatch(f"{key}={value}") is not None
