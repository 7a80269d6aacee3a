"""Instances as bytes: `Instance` is the one source of what they say."""

from __future__ import annotations

from modelinstance.http.models import Instance
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.load import Load
from modelinstance.registry.records.records import Records

_UNKNOWN_AGE = b"null}"
"""The end of what `Instance` is written as, without an age."""


def shown(records: Records, record: Record) -> Instance:
    """An instance as it is now."""
    return Instance.of(record, message=records.explain(record), monotonic=records.clock.monotonic())


class Renderings:
    """Writes instances, and remembers all but their age until something in them changes."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._rendered: dict[InstanceKey, tuple[bytes, Load | None]] = {}
        records.on_change(self._forget)

    def _forget(self, record: Record) -> None:
        self._rendered.pop(record.key, None)

    def render(self, record: Record) -> bytes:
        """The JSON of an instance, as it is now.

        Why one is not ready may change with another record or with the settings: that is written
        anew each time.
        """
        known = self._rendered.get(record.key)
        if known is None or known[1] is not record.load or not record.verdict.ready:
            known = self._rendered[record.key] = (self._renew(record), record.load)
        beat = record.last_beat_monotonic
        if beat is None:
            return known[0] + _UNKNOWN_AGE
        return b"%b%.3f}" % (known[0], self._records.clock.monotonic() - beat)

    def _renew(self, record: Record) -> bytes:
        """All that is written of an instance before its age."""
        ageless = shown(self._records, record).model_copy(update={"heartbeat_age_seconds": None})
        return ageless.model_dump_json(by_alias=True).encode().removesuffix(_UNKNOWN_AGE)
