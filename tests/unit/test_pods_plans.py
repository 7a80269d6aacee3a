"""What has to be done for one name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.intake.podplans import Resource, Step, plan
from modelinstance.registry.intake.podspecs import PodInstance, instance_of
from unit.pods import facts

POD = facts()
WANTED = instance_of(POD)
OURS = Resource("u", 1, ours=True, owner=POD.uid, digest=WANTED.digest)
THEIRS = replace(OURS, ours=False, owner=None, digest=None)


@pytest.mark.parametrize(
    ("pod", "wanted", "found", "step"),
    [
        (None, None, None, Step.NOTHING),
        (POD, None, None, Step.NOTHING),
        (POD, WANTED, None, Step.STORE),
        (POD, WANTED, OURS, Step.NOTHING),
        (POD, WANTED, replace(OURS, digest="old"), Step.STORE),
        (POD, WANTED, replace(OURS, owner=None), Step.STORE),
        (POD, WANTED, replace(OURS, owner="earlier"), Step.REMOVE),
        (POD, None, replace(OURS, owner="earlier"), Step.REMOVE),
        (POD, None, OURS, Step.NOTHING),
        (None, None, OURS, Step.REMOVE),
        (None, None, replace(OURS, deleting=True), Step.NOTHING),
        (POD, WANTED, replace(OURS, deleting=True), Step.NOTHING),
        (POD, WANTED, THEIRS, Step.NAME_TAKEN),
        (POD, None, THEIRS, Step.NOTHING),
        (None, None, THEIRS, Step.NOTHING),
    ],
)
def test_the_next_step(
    pod: PodFacts | None, wanted: PodInstance | None, found: Resource | None, step: Step
) -> None:
    assert plan(pod, wanted, found) is step


resources = st.none() | st.builds(
    Resource,
    uid=st.sampled_from(["u", "v"]),
    version=st.integers(1, 9),
    ours=st.booleans(),
    owner=st.sampled_from([None, POD.uid, "earlier"]),
    digest=st.sampled_from([None, "old", WANTED.digest]),
)


@given(there=st.booleans(), known=st.booleans(), found=resources)
def test_step_by_step_a_pod_has_its_resource_and_others_keep_theirs(
    there: bool, known: bool, found: Resource | None
) -> None:
    pod = POD if there else None
    wanted = WANTED if there and known else None
    before = found
    for _ in range(4):
        step = plan(pod, wanted, found)
        if step is Step.REMOVE:
            assert found is not None
            assert found.ours
            found = None
        elif step is Step.STORE:
            found = replace(OURS, uid=found.uid if found else "new")
    assert plan(pod, wanted, found) in {Step.NOTHING, Step.NAME_TAKEN}
    if before is not None and not before.ours:
        assert found == before
    elif wanted is not None:
        assert found is not None
        assert (found.owner, found.digest) == (POD.uid, WANTED.digest)
    elif pod is None:
        assert found is None
