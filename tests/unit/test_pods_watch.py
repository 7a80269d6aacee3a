"""When it is tried again to follow pods."""

from __future__ import annotations

import pytest

from modelinstance.cluster.client import ClusterError
from modelinstance.cluster.podwatch import _delay


@pytest.mark.parametrize(
    ("status", "failures", "seconds"),
    [
        (None, 1, 0.5),
        (None, 2, 1.0),
        (None, 10_000, 5.0),
        (403, 1, 2.0),
        (403, 10_000, 60.0),
        (404, 10_000, 60.0),
        (410, 1, 0.5),
    ],
)
def test_the_delay_grows_to_its_most_and_no_further(
    status: int | None, failures: int, seconds: float
) -> None:
    assert _delay(ClusterError("LIST pods", "why", status), failures) == seconds


def test_the_api_server_is_left_alone_for_as_long_as_it_asks() -> None:
    assert _delay(ClusterError("LIST pods", "busy", 429, retry_after=7.0), 1) == 7.0
