"""What can go wrong when a registry is asked."""

from __future__ import annotations

from http import HTTPStatus


class RegistryUnavailableError(Exception):
    """A request to a registry was not granted.

    ``status`` is the HTTP status, or ``None`` when there was no answer; ``retry_after`` the seconds
    that the registry asked to be left alone for.
    """

    def __init__(
        self, what: str, why: str, status: int | None = None, *, retry_after: float = 0.0
    ) -> None:
        super().__init__(f"{what}: {why}")
        self.status = status
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether the same request may be granted later as it is."""
        return (
            self.status is None
            or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            or self.status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
        )
