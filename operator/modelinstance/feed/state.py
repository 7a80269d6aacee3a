"""Which workers a feed has added, over its restarts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from modelinstance import files

VERSION = 1


class StateError(Exception):
    """A state file cannot be used."""


class State:
    """The workers that were added, by router, and for which model; in a file, if there is one.

    Entries of other routers stay in the file: a feed may be started with some of its routers alone.
    Raises `StateError` for a file that is there and holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._owned: dict[str, Mapping[str, str]] = {}
        if path is not None:
            self._owned = _read(path)

    def owned(self, router: str) -> AbstractSet[str]:
        """The URLs of the workers that were added to a router."""
        return self.models(router).keys()

    def models(self, router: str) -> Mapping[str, str]:
        """For which model each of them was added; empty where that is not known."""
        return self._owned.get(router, {})

    def own(self, router: str, models: Mapping[str, str]) -> None:
        """Remember what was added for which model. Raises `OSError` if that cannot be written."""
        before, self._owned[router] = self.models(router), dict(models)
        if self._path is None or before == self._owned[router]:
            return
        routers = {name: dict(sorted(owned.items())) for name, owned in sorted(self._owned.items())}
        text = json.dumps({"version": VERSION, "routers": routers}, indent=2) + "\n"
        try:
            files.replace(self._path, text)
        except OSError:
            self._owned[router] = before
            raise


def _read(path: Path) -> dict[str, Mapping[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StateError(f"it cannot be read: {error}") from error
    try:
        body = json.loads(text)
        version, routers = body["version"], body["routers"]
        owned = {name: _models(models) for name, models in routers.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(
            f"it holds no state of a feed ({error}); name another file, or delete this one"
        ) from error
    if version != VERSION:
        raise StateError(f"it has version {version!r}, not {VERSION}: name another file")
    return owned


def _models(value: Any) -> Mapping[str, str]:
    """The models by URL; an earlier feed kept a list of the URLs alone."""
    models = value if isinstance(value, dict) else dict.fromkeys(value, "")
    for each in (*models, *models.values()):
        if not isinstance(each, str):
            raise TypeError(f"{each!r} is no text")
    return models
