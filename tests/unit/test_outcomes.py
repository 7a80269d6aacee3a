from __future__ import annotations

import logging

import pytest

from modelinstance.cluster.client import ClusterError
from modelinstance.cluster.outcomes import MAX_SAID, SILENCE_SECONDS, FailureLog, hint_of, result_of
from modelinstance.registry.mirror.pacing import WriteResult
from unit.builders import key

LOGGER = logging.getLogger(__name__)


def failed(status: int | None, why: str = "no", **about: str) -> ClusterError:
    return ClusterError("apply status of ModelInstance prod/vicuna-0", why, status, **about)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (failed(None), "unavailable"),
        (failed(400), "failed"),
        (failed(401), "unauthorized"),
        (failed(403), "forbidden"),
        (failed(404, kind="modelinstances"), "gone"),
        (failed(404), "unavailable"),
        (failed(409), "conflict"),
        (failed(422), "invalid"),
        (failed(429), "throttled"),
        (failed(500), "unavailable"),
        (failed(503), "unavailable"),
        (failed(504), "unavailable"),
        (
            failed(
                500,
                "HTTP 500: failed to create typed patch object (prod/vicuna-0; "
                "modelinstance.dev/v1alpha1, Kind=ModelInstance): .status.address: field not "
                "declared in schema",
            ),
            "invalid",
        ),
    ],
    ids=[
        "no answer", "400", "401", "403", "404 of it", "404 of the type", "409", "422", "429",
        "500", "503", "504", "a field the CRD has not",
    ],
)  # fmt: skip
def test_each_answer_is_taken_as_what_it_is(error: ClusterError, result: str) -> None:
    assert result_of(error) == result


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


class Time:
    """What the failures read as time."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def refusal(name: str, namespace: str = "prod", result: str = "forbidden") -> tuple[str, str]:
    return (
        result,
        f"apply status of ModelInstance {namespace}/{name}: HTTP 403: modelinstances "
        f'"{name}" is forbidden in the namespace "{namespace}"',
    )


def say(failures: FailureLog, name: str, namespace: str = "prod", about: str = "") -> None:
    result, text = refusal(name, namespace)
    failures.say(key(name, namespace), text + about, hint=hint_of(WriteResult(result)))


def test_what_is_said_of_many_instances_is_said_once_for_each_namespace(
    log: pytest.LogCaptureFixture, time: Time
) -> None:
    failures = FailureLog(LOGGER, time)
    for name in ("a", "b", "c"):
        say(failures, name)
        say(failures, name, "other")
    assert [record.levelname for record in log.records] == ["ERROR", "ERROR"]
    assert "prod/a" in log.messages[0]
    assert "grant the operator" in log.messages[0]
    assert "it will be tried again" in log.messages[0]
    assert "other/a" in log.messages[1]


def test_what_goes_on_is_not_said_again_and_what_comes_back_is(
    log: pytest.LogCaptureFixture, time: Time
) -> None:
    failures = FailureLog(LOGGER, time)
    for _ in range(30):
        say(failures, "a")
        time.now += SILENCE_SECONDS / 2
    assert len(log.records) == 1
    time.now += SILENCE_SECONDS
    say(failures, "a")
    assert len(log.records) == 2


def test_what_passes_by_itself_is_a_warning(log: pytest.LogCaptureFixture, time: Time) -> None:
    FailureLog(LOGGER, time).say(key(), "no answer", hint=hint_of(WriteResult.UNAVAILABLE))
    assert [record.levelname for record in log.records] == ["WARNING"]


def test_what_was_said_does_not_pile_up(log: pytest.LogCaptureFixture, time: Time) -> None:
    failures = FailureLog(LOGGER, time)
    for number in range(5 * MAX_SAID):
        say(failures, "a", about=str(number))
    assert len(failures._said) <= MAX_SAID + 1
    say(failures, "a", about="0")
    assert len(log.records) == 5 * MAX_SAID + 1
