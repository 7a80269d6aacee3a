"""Asks engines under which names they answer, where their pods want that."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from modelinstance.outbound.getter import ForbiddenAddressError, Getter, Got, UnreachableError
from modelinstance.registry.podbook import PodBook
from modelinstance.registry.pods import PodFacts
from modelinstance.registry.podspecs import (
    DISCOVER,
    Names,
    SettingError,
    instance_of,
    is_name,
)

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
RETRY_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
MAX_BYTES = 1 << 20
AT_ONCE = 8


class NamesError(Exception):
    """An engine did not say its names; the message says what came instead."""


@dataclass(slots=True)
class _Asked:
    """When an engine is to be asked next, in seconds of the loop, and at which URL it was."""

    due: float = 0.0
    url: str = ""


class NameReader:
    """The names of the engines in pods with ``discover-names``.

    ``changed`` is called with each pod whose engine has just said others than before.
    """

    def __init__(self, getter: Getter, book: PodBook, changed: Callable[[PodFacts], None]) -> None:
        self._getter = getter
        self._book = book
        self._changed = changed
        self._names: dict[str, Names] = {}
        self._asked: dict[str, _Asked] = {}
        self._discovering: set[str] = set()

    def get(self, uid: str) -> Names | None:
        """The names of a pod's engine, if it has said them."""
        return self._names.get(uid)

    def look(self, facts: PodFacts) -> None:
        """A pod may have changed."""
        if facts.settings.get(DISCOVER) == "true":
            self._discovering.add(facts.uid)
        else:
            self._discovering.discard(facts.uid)

    def waits_for(self, facts: PodFacts) -> bool:
        """Whether a pod's engine has yet to say its names."""
        return facts.uid in self._discovering and facts.uid not in self._names

    def remember(self, facts: PodFacts, names: Names) -> None:
        """The names that an engine said to an earlier process."""
        self._names[facts.uid] = names
        self._book.name(facts)

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        self._names.pop(uid, None)
        self._asked.pop(uid, None)
        self._discovering.discard(uid)

    async def read(self) -> bool:
        """Ask a few that are due; returns whether there were any, and all answered."""
        now = asyncio.get_running_loop().time()
        batch: list[tuple[PodFacts, str]] = []
        for facts in filter(None, map(self._book.of, self._discovering)):
            url = _url(facts) if facts.ready and not facts.terminating and not facts.ended else None
            asked = self._asked.setdefault(facts.uid, _Asked())
            if url is not None and (asked.due <= now or asked.url != url):
                batch.append((facts, url))
                if len(batch) == AT_ONCE:
                    break
        done = await asyncio.gather(*(self._ask(*each) for each in batch))
        return bool(batch) and all(done)

    async def _ask(self, facts: PodFacts, url: str) -> bool:
        asked = self._asked.setdefault(facts.uid, _Asked())
        asked.url = url
        try:
            names = names_in(await self._get(url))
        except NamesError as error:
            asked.due = asyncio.get_running_loop().time() + RETRY_SECONDS
            if self._book.of(facts.uid) is not None:
                logger.info("pod %s: %s: %s", facts.key, url, error)
                self._book.name(facts, f"{url}: {error}")
            return False
        asked.due = asyncio.get_running_loop().time() + INTERVAL_SECONDS
        if self._book.of(facts.uid) is None:
            self.forget(facts.uid)
        elif self._names.get(facts.uid) != names:
            self._names[facts.uid] = names
            self._changed(facts)
        self._book.name(facts)
        return True

    async def _get(self, url: str) -> Got:
        try:
            return await self._getter.get(url, timeout=TIMEOUT_SECONDS, limit=MAX_BYTES)
        except (ForbiddenAddressError, UnreachableError, ValueError) as error:
            raise NamesError(str(error)) from error


def _url(facts: PodFacts) -> str | None:
    """Where an engine tells of its models; ``None`` if its annotations are wrong."""
    try:
        if not facts.address:
            return None
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
    return Names(models, frozenset(name for name, _ in known) - {models})


def _first(names: Iterable[str]) -> str | None:
    return next(iter(names), None)
