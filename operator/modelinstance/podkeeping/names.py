"""Under which names engines answer: asked where their pods want that, or told by agents."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable, Iterable

from modelinstance.outbound.getter import ForbiddenAddressError, Getter, Got, UnreachableError
from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.intake.podbook import PodBook
from modelinstance.registry.intake.podspecs import (
    Names,
    SettingError,
    instance_of,
    is_name,
    wants_names,
)
from modelinstance.registry.timeline import Expiring, Timeline

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
RETRY_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
MAX_BYTES = 1 << 20
AT_ONCE = 8
NOT_WRITTEN = "they have yet to be written into its resource"


class NamesError(Exception):
    """An engine did not say its names; the message says what came instead."""


class _Asked(Expiring):
    """The engine of a pod: its deadline is when it is to be asked, in seconds of the loop.

    ``due`` is when it would be if its pod were ready, ``url`` where it was asked last.
    """

    __slots__ = ("due", "uid", "url")

    def __init__(self, uid: str) -> None:
        super().__init__()
        self.uid = uid
        self.due = 0.0
        self.url = ""


class NameReader:
    """The names of the engines in pods: with ``discover-names``, and those that agents tell.

    ``changed`` is called with each pod whose engine has just said others than before. What it costs
    grows with the engines that are due, not with all.
    """

    def __init__(self, getter: Getter, book: PodBook, changed: Callable[[PodFacts], None]) -> None:
        self._getter = getter
        self._book = book
        self._changed = changed
        self._names: dict[str, Names] = {}
        self._told: dict[str, Names] = {}
        self._asked: dict[str, _Asked] = {}
        self._timeline: Timeline[_Asked] = Timeline()

    def get(self, uid: str) -> Names | None:
        """The names of a pod's engine, if it has said them."""
        return self._names.get(uid)

    def told(self, uid: str) -> Names | None:
        """The names of a pod's engine that an agent has told, if it has."""
        return self._told.get(uid)

    def tell(self, uid: str, names: Names) -> None:
        """An agent tells of the engine in a pod."""
        self._told[uid] = names

    def look(self, facts: PodFacts) -> None:
        """A pod may have changed."""
        if not wants_names(facts):
            self._ask_no_more(facts.uid)
            return
        asked = self._asked.setdefault(facts.uid, _Asked(facts.uid))
        url = _url(facts)
        if url is None:
            asked.cancel_deadline()
        elif url != asked.url:
            self._timeline.schedule(asked, 0.0)
        elif asked.deadline is None:
            self._timeline.schedule(asked, asked.due)

    def waits_for(self, facts: PodFacts) -> bool:
        """Whether a pod's engine has yet to say its names."""
        return facts.uid in self._asked and facts.uid not in self._names

    def remember(self, facts: PodFacts, names: Names) -> None:
        """The names that an engine said to an earlier process."""
        self._names[facts.uid] = names
        self._book.name(facts)

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        self._names.pop(uid, None)
        self._told.pop(uid, None)
        self._ask_no_more(uid)

    def _ask_no_more(self, uid: str) -> None:
        asked = self._asked.pop(uid, None)
        if asked is not None:
            asked.cancel_deadline()

    async def read(self) -> bool:
        """Ask a few that are due; returns whether there were any, and all answered."""
        self._timeline.now = asyncio.get_running_loop().time()
        batch = list(itertools.islice(self._timeline.pop_due(), AT_ONCE))
        done = await asyncio.gather(*map(self._ask, batch))
        return bool(batch) and all(done)

    async def _ask(self, asked: _Asked) -> bool:
        facts = self._book.of(asked.uid)
        url = None if facts is None else _url(facts)
        if facts is None or url is None:
            return True
        asked.url = url
        self._ask_again(asked, INTERVAL_SECONDS)
        try:
            names = names_in(await self._get(url))
        except NamesError as error:
            if self._counts(asked, url):
                logger.info("pod %s: %s: %s", facts.key, url, error)
                self._ask_again(asked, RETRY_SECONDS)
                self._book.name(facts, f"{url}: {error}")
            return False
        if self._counts(asked, url) and self._names.get(asked.uid) != names:
            self._names[asked.uid] = names
            self._book.name(facts, NOT_WRITTEN)
            self._changed(facts)
        return True

    def _counts(self, asked: _Asked, url: str) -> bool:
        """Whether it still matters what came of asking there."""
        return self._asked.get(asked.uid) is asked and asked.url == url

    def _ask_again(self, asked: _Asked, seconds: float) -> None:
        asked.due = asyncio.get_running_loop().time() + seconds
        self._timeline.schedule(asked, asked.due)

    async def _get(self, url: str) -> Got:
        try:
            return await self._getter.get(url, timeout=TIMEOUT_SECONDS, limit=MAX_BYTES)
        except (ForbiddenAddressError, UnreachableError, ValueError) as error:
            raise NamesError(str(error)) from error


def _url(facts: PodFacts) -> str | None:
    """Where an engine tells of its models; ``None`` if it cannot be asked, or not be found."""
    if not facts.ready or facts.terminating or facts.ended or not facts.address:
        return None
    try:
        url = instance_of(facts).spec.url
    except SettingError:
        return None
    return f"{url}/models" if url.endswith("/v1") else f"{url}/v1/models"


def names_in(got: Got) -> Names:
    """The names in an answer of ``/v1/models``. Raises `NamesError`.

    The model is the first entry that has no parent; LoRA adapters have one.
    """
    if got.status != 200:
        raise NamesError(f"it answers {got.status} instead of 200")
    try:
        entries = [(entry["id"], entry.get("parent")) for entry in json.loads(got.body)["data"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise NamesError("it answers no list of models") from error
    known = [(name, parent) for name, parent in entries if isinstance(name, str) and is_name(name)]
    models = _first(name for name, parent in known if not parent)
    if models is None:
        raise NamesError("its list holds no model without a parent")
    return Names(models, tuple(dict.fromkeys(name for name, _ in known if name != models)))


def _first(names: Iterable[str]) -> str | None:
    return next(iter(names), None)
