"""Instances as bytes: `Instance` is the one source of what they say."""

from __future__ import annotations

from dataclasses import dataclass

from modelinstance.http.models import Instance
from modelinstance.registry.health import Verdict
from modelinstance.registry.instance import InstanceKey, InstanceSpec
from modelinstance.registry.load import Load
from modelinstance.registry.record import Record
from modelinstance.registry.records import Records

_UNKNOWN_AGE = b"null}"
"""The end of what `Instance` is written as, without an age."""


def shown(records: Records, record: Record) -> Instance:
    """An instance as it is now."""
    return Instance.of(record, message=records.explain(record), monotonic=records.clock.monotonic())


@dataclass(frozen=True, slots=True)
class _Rendered:
    """What an instance was written as, up to the age, and from what."""

    head: bytes
    id: str
    spec: InstanceSpec
    verdict: Verdict
    load: Load | None


class Renderings:
    """Writes instances, and remembers all but their age until something in them changes."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._rendered: dict[InstanceKey, _Rendered] = {}
        records.on_change(self._forget)

    def _forget(self, record: Record) -> None:
        self._rendered.pop(record.key, None)

    def render(self, record: Record) -> bytes:
        """The JSON of an instance, as it is now."""
        known = self._rendered.get(record.key)
        if (
            known is None
            or not record.verdict.ready  # why not may change with another record or the settings
            or known.load is not record.load
            or known.verdict is not record.verdict
            or known.spec is not record.spec
            or known.id != record.id
        ):
            known = self._rendered[record.key] = self._renew(record)
        beat = record.last_beat_monotonic
        if beat is None:
            return known.head + _UNKNOWN_AGE
        return b"%b%.3f}" % (known.head, self._records.clock.monotonic() - beat)

    def _renew(self, record: Record) -> _Rendered:
        ageless = shown(self._records, record).model_copy(update={"heartbeat_age_seconds": None})
        head = ageless.model_dump_json(by_alias=True).encode().removesuffix(_UNKNOWN_AGE)
        return _Rendered(head, record.id, record.spec, record.verdict, record.load)
