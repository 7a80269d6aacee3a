"""What the tests of the domain share."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, settings

from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.records import Records
from unit.builders import TIMEOUT
from unit.clock import FakeClock

settings.register_profile(
    "unit", deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def records(clock: FakeClock) -> Records:
    return Records(TIMEOUT, clock=clock, random=Random(1))


@pytest.fixture
def mirror(records: Records) -> Mirror:
    """A mirror of the whole cluster that has not seen anything yet."""
    return Mirror(records)
