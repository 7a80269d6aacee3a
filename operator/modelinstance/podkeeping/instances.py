"""Writes the resources of pods, and removes those of pods that are gone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from modelinstance import api
from modelinstance.cluster.client import CONFLICT, FORBIDDEN, ClusterError
from modelinstance.cluster.outcomes import FailureLog
from modelinstance.cluster.pods import PodClient, PodInstanceWriter
from modelinstance.cluster.translate import UnreadableError
from modelinstance.podkeeping.complaints import Complaints
from modelinstance.podkeeping.names import NameReader
from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.instance import InstanceKey, InstanceSpec
from modelinstance.registry.intake.podbook import PodBook, is_made_for_pod
from modelinstance.registry.intake.podplans import Resource, Step, plan
from modelinstance.registry.intake.podspecs import (
    LABEL,
    MAX_ALIASES,
    Names,
    PodInstance,
    SettingError,
    discovers_names,
    instance_of,
    wants_names,
)
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.mirror.outbox import Outbox

logger = logging.getLogger(__name__)

BATCH = 20
REFUSED_RETRY_SECONDS = 60.0
MAX_SHOWN = 100
"""How much of a wrong value is shown, in characters."""

INVALID = "InvalidAnnotation"
TAKEN = "NameTaken"
REFUSED = "InstanceRefused"
LEFT_OUT = "AliasesLeftOut"


@dataclass(frozen=True, slots=True)
class _Act:
    """What is to be done for one name."""

    key: InstanceKey
    step: Step
    wanted: PodInstance | None
    found: Resource | None


class Instances:
    """Sees to it that each pod has the resource that it asks for, and no other is touched."""

    def __init__(
        self,
        client: PodClient,
        mirror: Mirror,
        book: PodBook,
        *,
        names: NameReader,
        complaints: Complaints,
        writes: Counter[tuple[str, str]],
    ) -> None:
        self._writer = PodInstanceWriter(client)
        self._mirror = mirror
        self._book = book
        self._names = names
        self._complaints = complaints
        self._writes = writes
        self._outbox = Outbox(mirror.records.random)
        self._removed: dict[InstanceKey, str] = {}
        self._failures = FailureLog(logger)

    def look(self, key: InstanceKey) -> None:
        """A pod, the names of its engine, or a resource of its name may have changed."""
        facts = self._book.get(key)
        if facts is not None:
            self._recall(facts)
        self._outbox.add(key)

    def _recall(self, facts: PodFacts) -> None:
        """After a restart the resource still holds the names that the engine said.

        So it does those that an agent told, who does not tell them again.
        """
        record = self._mirror.records.get(facts.key)
        if record is None or record.owner != facts.uid or not is_made_for_pod(record):
            return
        if not facts.address:
            return
        with contextlib.suppress(SettingError):
            if wants_names(facts):
                self._recall_said(facts, record.spec)
            else:
                self._recall_told(facts, record.spec)

    def _recall_said(self, facts: PodFacts, shown: InstanceSpec) -> None:
        if not self._names.waits_for(facts):
            return
        names = Names(shown.model_name, tuple(sorted(shown.aliases)))
        if instance_of(facts, names).digest == self._mirror.pod_digest_of(facts.key):
            self._names.remember(facts, names)

    def _recall_told(self, facts: PodFacts, shown: InstanceSpec) -> None:
        if self._names.told(facts.uid) is not None:
            return
        own = instance_of(facts).spec
        others = shown.aliases - own.aliases
        if not others:
            return
        names = Names(own.model_name, tuple(sorted(others)))
        known = instance_of(facts, told=names)
        if known.told and known.digest == self._mirror.pod_digest_of(facts.key):
            self._names.tell(facts.uid, names)

    async def write(self) -> bool:
        """Write a few resources; returns whether there were any, and none failed."""
        if not self._mirror.synced:
            return False
        batch = list(itertools.islice(self._due(), BATCH))
        for act in batch:
            self._outbox.sent(act.key)
        done = await asyncio.gather(*map(self._try, batch))
        return bool(batch) and all(done)

    def _due(self) -> Iterator[_Act]:
        for key in self._outbox.ready(self._mirror.records.local.now):
            if not self._book.is_listed(key.namespace):
                continue
            facts, found = self._book.get(key), self._find(key)
            pod = None if facts is None or facts.ended else facts
            wanted = None if pod is None else self._wanted(pod)
            step = plan(pod, wanted, found)
            if step is Step.NAME_TAKEN and pod is not None:
                self._complaints.say(
                    pod, TAKEN, f"ModelInstance {key} was not made for this pod and is left alone: "
                    f"delete it, give it or the pod another name, or take the label "
                    f"{api.MODEL_LABEL} off the pod",
                )  # fmt: skip
            if step in {Step.NOTHING, Step.NAME_TAKEN}:
                if step is Step.NOTHING and pod is not None and wanted is not None and wanted.named:
                    self._book.name(pod)  # not earlier: it had the names of the label
                self._outbox.discard(key)
            else:
                yield _Act(key, step, wanted, found)

    def _find(self, key: InstanceKey) -> Resource | None:
        """The resource of a name, but for one that is known to be gone."""
        record, version = self._mirror.records.get(key), self._mirror.version_of(key)
        if record is None or version is None:
            self._removed.pop(key, None)
            return None
        if self._removed.get(key) == record.uid:
            return None
        digest = self._mirror.pod_digest_of(key)
        return Resource(
            uid=record.uid,
            version=version,
            ours=digest is not None and is_made_for_pod(record),
            owner=record.owner,
            digest=digest,
            deleting=record.deleting,
        )

    def _wanted(self, pod: PodFacts) -> PodInstance | None:
        """What a pod asks for; ``None`` if it says nothing that could be followed."""
        if not pod.address or pod.terminating:
            return None
        try:
            if discovers_names(pod):
                wanted = instance_of(pod, self._names.get(pod.uid))
            else:
                wanted = instance_of(pod, told=self._names.told(pod.uid))
        except SettingError as error:
            annotation = f"annotation {api.POD_PREFIX}{error.setting}"
            what = f"label {api.MODEL_LABEL}" if error.setting == LABEL else annotation
            said = " is missing" if error.value is None else f"={error.value[:MAX_SHOWN]!r}"
            self._complaints.say(pod, INVALID, f"{what}{said}: {error.instead}")
            return None
        if wanted.left_out:
            self._complaints.say(
                pod, LEFT_OUT, f"an instance has {MAX_ALIASES} aliases at most, first those of the "
                f"annotation {api.POD_PREFIX}aliases; left out: "
                f"{', '.join(wanted.left_out)[:MAX_SHOWN]}",
            )  # fmt: skip
        return wanted

    async def _try(self, act: _Act) -> bool:
        """Do what is to be done for one name; returns whether it went well."""
        result, wait = "failed", 0.0
        try:
            result = await self._do(act)
        except ClusterError as error:
            wait = error.retry_after
            if error.status == CONFLICT:
                result = "conflict"
                await self._look_again(act.key)
            else:
                wait = max(wait, self._report(act, error))
        except UnreadableError as error:
            logger.warning("%s", error)
        self._writes["instance", result] += 1
        if result in {"written", "removed"}:
            self._outbox.settle(act.key)
            return True
        self._outbox.fail(act.key, self._mirror.records.local.now, wait)
        return False

    async def _do(self, act: _Act) -> str:
        """Do it; returns what came of it. Raises `ClusterError` and `UnreadableError`."""
        if act.step is Step.REMOVE and act.found is not None:
            if await self._writer.remove(act.key, act.found.uid, act.found.version):
                self._removed[act.key] = act.found.uid
                logger.info("removed ModelInstance %s, whose pod is gone", act.key)
                return "removed"
            await self._look_again(act.key)
            return "conflict"
        if act.wanted is None:
            return "conflict"
        if act.found is not None:
            observed, ours = await self._writer.change(act.wanted, act.found.uid), True
        else:
            observed, ours = await self._writer.create(act.wanted)
        self._mirror.answered(observed)
        shown = (observed.owner, observed.pod_digest)
        if not ours or shown != (act.wanted.pod_uid, act.wanted.digest):
            return "conflict"  # or whoever changes what we write would be written to without end
        logger.info("wrote ModelInstance %s for its pod", act.key)
        return "written"

    async def _look_again(self, key: InstanceKey) -> None:
        """After a conflict the resource is another: let it be decided anew."""
        try:
            observed = await self._writer.look(key)
        except (ClusterError, UnreadableError) as error:
            logger.info("%s", error)
            return
        record = self._mirror.records.get(key)
        if observed is not None:
            self._mirror.answered(observed)
        elif record is not None:
            self._removed[key] = record.uid

    def _report(self, act: _Act, error: ClusterError) -> float:
        """Say why a write failed; returns the seconds after which it may be tried again."""
        self._failures.say(act.key, str(error))
        pod = self._book.get(act.key)
        if pod is not None and not error.passing and error.status != FORBIDDEN:
            self._complaints.say(pod, REFUSED, str(error))
        return 0.0 if error.passing else REFUSED_RETRY_SECONDS
