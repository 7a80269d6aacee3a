"""One registry that is kept told, come what may."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from http import HTTPStatus
from random import Random

from modelinstance.agent.models import Served
from modelinstance.agent.state import Word
from modelinstance.client.errors import RegistryUnavailableError
from modelinstance.client.workers import Registered, Registration, WorkerClient, has_ended
from modelinstance.notices import Notices

logger = logging.getLogger("modelinstance.agent")

LONGEST_PAUSE = 30.0
"""The most that is waited between two attempts, in seconds, unless the registry asks for more."""
LONGEST_RETRY_AFTER = 300.0
BEATS_A_TIMEOUT = 3
"""How many beats should fit into a heartbeat timeout, so that one may be lost."""
GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
Describe = Callable[[Served], Registration]
"""How a worker with these names registers."""


class Link:
    """Tells one registry the newest word, at most once each.

    It registers when it is not known there and the engine is well, beats, and registers again when
    the names have changed or the registry knows it no more. Where the model is another it says
    goodbye first, at once and whether the engine is well or not. When something is refused or not
    answered it waits for a random share of a time that doubles, so that those who wait for the
    same registry do not all come at once; it never gives up. ``period`` is in seconds, and so is
    ``silence``: how long nothing may be told while it is not sure that the engine fails.

    All requests are made by `run`, one after another.
    """

    def __init__(
        self,
        client: WorkerClient,
        describe: Describe,
        *,
        period: float,
        silence: float,
        random: Random,
        now: Callable[[], float],
        notices: Notices,
    ) -> None:
        self._client = client
        self._describe = describe
        self._period = period
        self._silence = silence
        self._random = random
        self._now = now
        self._notices = notices
        self._subject = f"registry {client.connection}"
        self._word: Word | None = None
        self._untold = False
        self._wake = asyncio.Event()
        self._known: Registered | None = None
        self._as: Registration | None = None
        self._failures = 0
        self._not_before = float("-inf")
        self._drains = self._drained = self._leaves = False

    @property
    def registered(self) -> bool:
        """Whether the registry knows this worker, as far as it is known here."""
        return self._known is not None

    @property
    def failing(self) -> bool:
        """Whether the last request was refused or not answered."""
        return self._failures > 0

    def tell(self, word: Word | None) -> None:
        """What is to be told from now on; ``None`` for nothing."""
        self._word, self._untold = word, word is not None
        self._wake.set()

    def wait_at_random(self) -> None:
        """Let the first request wait for a random share of a period, as others begin as well."""
        self._not_before = self._now() + self._random.uniform(0, self._period)

    def drain(self) -> None:
        """Ask for no new requests, at once and until that is granted."""
        self._drains, self._not_before = True, float("-inf")
        self._wake.set()

    def leave(self) -> None:
        """Say goodbye, and let `run` end; it is tried once."""
        self._leaves = True
        self._wake.set()

    async def run(self) -> None:
        """Tell, until it is to leave."""
        while not self._leaves:
            pause = self._not_before - self._now() if self._has_something_to_tell else None
            if pause is not None and pause <= 0:
                await self._attempt()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
        if self._known is not None:
            await self._goodbye(self._known, once=True)

    @property
    def _has_something_to_tell(self) -> bool:
        return self._untold or self._has_to_drain

    @property
    def _has_to_drain(self) -> bool:
        return self._drains and not self._drained and self._known is not None

    async def _attempt(self) -> None:
        """One round of requests; a word that is not granted is told later if there is no newer."""
        word = self._word if self._untold else None
        self._untold = False
        try:
            if self._has_to_drain and self._known is not None:
                await self._drain(self._known)
            if word is not None:
                await self._say(word)
        except RegistryUnavailableError as error:
            self._untold = self._untold or (word is not None and self._word is word)
            self._fail(str(error), error.retry_after)
        except Exception as error:
            logger.exception("%s: an error of the agent itself; it is tried again", self._subject)
            self._fail(f"an error of the agent itself: {type(error).__name__}")
        else:
            self._failures = 0
            self._notices.settle(self._subject, "it answers again")

    async def _drain(self, known: Registered) -> None:
        try:
            await self._client.drain(known)
        except RegistryUnavailableError as error:
            if not has_ended(error):
                raise
        else:
            logger.info("%s: no new requests are to come", self._subject)
        self._drained = True

    async def _say(self, word: Word) -> None:
        wanted = self._describe(word.served)
        if self._known is not None and self._as is not None and self._as.model != wanted.model:
            await self._goodbye(self._known, once=False)
        if self._known is not None:
            try:
                if await self._only_beats(word, wanted, self._known):
                    await self._beat(word, self._known)
                    return
            except RegistryUnavailableError as error:
                if error.status not in GONE:
                    raise
                logger.info("%s: it knows this worker no more", self._subject)
                self._known = self._as = None
        if not word.failure and not self._drains:
            await self._register(word, wanted)

    async def _only_beats(self, word: Word, wanted: Registration, known: Registered) -> bool:
        """Whether there is nothing to register, or not now: it would take back another's drain."""
        if word.failure or self._drains or wanted == self._as:
            return True
        return await self._client.is_draining(known)

    async def _register(self, word: Word, wanted: Registration) -> None:
        known = await self._client.register(wanted, word.load)
        self._known, self._as = known, wanted
        logger.info(
            "%s: registered %s as %s/%s", self._subject, wanted.model, known.namespace, known.name
        )
        if not known.stored:
            logger.info("%s: it is not stored there: %s", self._subject, known.detail)
        subject = f"{self._subject}, heartbeat timeout"
        if known.heartbeat_timeout < BEATS_A_TIMEOUT * self._period:
            self._notices.tell(
                subject,
                f"it is {known.heartbeat_timeout:g} s, too short for --period={self._period:g}: "
                f"one lost heartbeat makes this instance Unhealthy",
            )
        elif known.heartbeat_timeout < self._silence:
            self._notices.tell(
                subject,
                f"it is {known.heartbeat_timeout:g} s, but it may take {self._silence:g} s to be "
                f"sure that the engine fails: until then the instance would be HeartbeatExpired",
            )
        else:
            self._notices.forget(subject)

    async def _beat(self, word: Word, known: Registered) -> None:
        """A registration that is not stored yet goes along, but never for an engine that fails."""
        held = self._as if not known.stored and not word.failure and not self._drains else None
        heard = await self._client.beat(
            known.incarnation, load=word.load, failure=word.failure, registration=held
        )
        if heard.incarnation != known.incarnation:
            self._known = Registered(
                known.namespace, known.name, heard.incarnation, stored=True, detail="",
                heartbeat_timeout=known.heartbeat_timeout,
            )  # fmt: skip

    async def _goodbye(self, known: Registered, *, once: bool) -> None:
        """Deregister; what might be granted later is raised, unless there is no later.

        What is refused for good is left to silence, which says it as well.
        """
        try:
            await self._client.deregister(known)
        except RegistryUnavailableError as error:
            if error.passing and not once:
                raise
            if not has_ended(error):
                logger.warning("%s: no goodbye could be said: %s", self._subject, error)
        else:
            logger.info("%s: deregistered %s/%s", self._subject, known.namespace, known.name)
        self._known = self._as = None

    def _fail(self, why: str, retry_after: float = 0.0) -> None:
        self._failures += 1
        self._notices.tell(self._subject, why)
        longest = LONGEST_PAUSE
        if self._known is not None:
            longest = min(longest, self._known.heartbeat_timeout / BEATS_A_TIMEOUT)
        pause = min(max(longest, self._period), self._period * 2.0 ** min(self._failures - 1, 10))
        least = min(retry_after, LONGEST_RETRY_AFTER)
        self._not_before = self._now() + max(self._random.uniform(0, pause), least)
