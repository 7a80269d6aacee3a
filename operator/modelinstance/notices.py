"""Troubles in the log: each is told when it comes or changes, and when it has passed."""

from __future__ import annotations

import logging


class Notices:
    """Remembers what was last logged about each subject, so that nothing is said each time."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._said: dict[str, str] = {}

    def tell(self, subject: str, message: str) -> None:
        """Warn, unless this is what was said of the subject the last time."""
        if self._said.get(subject) != message:
            self._said[subject] = message
            self._logger.warning("%s: %s", subject, message)

    def settle(self, subject: str, message: str) -> None:
        """Log that it is well, if it was not."""
        if self._said.pop(subject, None) is not None:
            self._logger.info("%s: %s", subject, message)

    def forget(self, subject: str) -> None:
        """What is said next of it is news, and nothing is said until then."""
        self._said.pop(subject, None)
