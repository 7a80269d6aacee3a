"""What is wrong with a pod, told where its owner looks: in an Event on it, and in the log."""

from __future__ import annotations

import logging
from collections import deque

from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.telling.events import EventBook, Subject

logger = logging.getLogger(__name__)

MAX_SAID = 20
"""How many things that were said of a pod are known; an API server's refusals may all differ."""


class Complaints:
    """Says each thing of each pod, and not again soon."""

    def __init__(self, events: EventBook) -> None:
        self._events = events
        self._said: dict[str, deque[tuple[str, str]]] = {}

    def say(self, facts: PodFacts, reason: str, message: str) -> None:
        """Say something of a pod, unless it was said."""
        said = self._said.setdefault(facts.uid, deque(maxlen=MAX_SAID))
        if (reason, message) in said:
            return
        said.append((reason, message))
        logger.warning("pod %s: %s: %s", facts.key, reason, message)
        about = Subject("Pod", facts.key, facts.uid)
        self._events.note(about, reason, message, warning=True, once=True)

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        self._said.pop(uid, None)
