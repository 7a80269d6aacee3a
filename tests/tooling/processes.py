"""Waiting for processes that are no children of the test's."""

import os
import select


class Exit:
    """Waits for the end of a process that need not be a child of ours."""

    def __init__(self, pid: int) -> None:
        self._handle = os.pidfd_open(pid)

    def wait(self, timeout: float = 30) -> bool:
        """Whether it has ended by the time-out."""
        ended = bool(select.select([self._handle], [], [], timeout)[0])
        os.close(self._handle)
        return ended
