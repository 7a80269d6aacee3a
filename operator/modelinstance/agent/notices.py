"""What the agent logs: a trouble when it comes or changes, and when it has passed."""

from __future__ import annotations

import logging

logger = logging.getLogger("modelinstance.agent")


class Notices:
    """Remembers what was last logged about each subject, so that nothing is said each period."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def tell(self, subject: str, message: str) -> None:
        """Warn, unless this is what was said of the subject the last time."""
        if self._said.get(subject) != message:
            self._said[subject] = message
            logger.warning("%s: %s", subject, message)

    def settle(self, subject: str, message: str) -> None:
        """Log that it is well, if it was not."""
        if self._said.pop(subject, None) is not None:
            logger.info("%s: %s", subject, message)

    def forget(self, subject: str) -> None:
        """Nothing is to be said of it any more."""
        self._said.pop(subject, None)
