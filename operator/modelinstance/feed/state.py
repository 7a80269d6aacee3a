"""Which workers a feed has added, over its restarts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

from modelinstance import files

VERSION = 1


class StateError(Exception):
    """A state file cannot be used."""


class State:
    """The workers that were added, by router; in a file, if there is one.

    Entries of other routers stay in the file: a feed may be started with some of its routers alone.
    Raises `StateError` for a file that is there and holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._owned: dict[str, frozenset[str]] = {}
        if path is not None:
            self._owned = _read(path)

    def owned(self, router: str) -> AbstractSet[str]:
        """The URLs of the workers that were added to a router."""
        return self._owned.get(router, frozenset())

    def own(self, router: str, urls: Iterable[str]) -> None:
        """Remember what was added. Raises `OSError` when the file cannot be written."""
        before, self._owned[router] = self.owned(router), frozenset(urls)
        if self._path is None or before == self._owned[router]:
            return
        routers = {name: sorted(owned) for name, owned in sorted(self._owned.items())}
        text = json.dumps({"version": VERSION, "routers": routers}, indent=2) + "\n"
        try:
            files.replace(self._path, text)
        except OSError:
            self._owned[router] = frozenset(before)
            raise


def _read(path: Path) -> dict[str, frozenset[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StateError(f"it cannot be read: {error}") from error
    try:
        body = json.loads(text)
        version, routers = body["version"], body["routers"]
        owned = {name: frozenset(map(_url, urls)) for name, urls in routers.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(
            f"it holds no state of a feed ({error}); name another file, or delete this one"
        ) from error
    if version != VERSION:
        raise StateError(f"it has version {version!r}, not {VERSION}: name another file")
    return owned


def _url(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no URL")
    return value
