"""The command ``modelinstance`` with faults that cannot be caused from outside.

``FAULTS_PAGE_SIZE`` in the environment is the number of objects in a page of our own LISTs.
``FAULTS_KOPF`` names a file: as long as it holds a number above 0, kopf dies, and the number is
one less.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import kopf

from modelinstance import cli
from modelinstance.cluster.client import ClusterClient

POLL_SECONDS = 0.02

TESTS = str(Path(__file__).resolve().parents[1])
FAULTS = {"PYTHONPATH": os.pathsep.join((TESTS, os.environ.get("PYTHONPATH", TESTS)))}
"""The environment that this module needs."""
MODULE = "support.faulty_operator"


def with_page_size(size: int) -> dict[str, Any]:
    """Options of `OperatorProcess`: our LISTs have pages of that size."""
    return {"module": MODULE, "env": {**FAULTS, "FAULTS_PAGE_SIZE": str(size)}}


def with_kopf_deaths(trigger: Path) -> dict[str, Any]:
    """Options of `OperatorProcess`: kopf dies as often as the file says."""
    return {"module": MODULE, "env": {**FAULTS, "FAULTS_KOPF": str(trigger)}}


def _let_kopf_die(trigger: Path) -> None:
    operator = kopf.operator

    async def ordered() -> None:
        while not _take_one(trigger):  # noqa: ASYNC110 - a file sets no event
            await asyncio.sleep(POLL_SECONDS)

    async def mortal(*arguments: Any, **options: Any) -> None:
        working = asyncio.create_task(operator(*arguments, **options))
        dying = asyncio.create_task(ordered())
        try:
            await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                raise RuntimeError("kopf was told to die")
            await working
        finally:
            for task in (working, dying):
                task.cancel()
            await asyncio.gather(working, dying, return_exceptions=True)

    vars(kopf)["operator"] = mortal


def _take_one(trigger: Path) -> bool:
    try:
        deaths = int(trigger.read_text(encoding="utf-8") or 0)
    except FileNotFoundError:
        return False
    if deaths:
        trigger.write_text(str(deaths - 1), encoding="utf-8")
    return deaths > 0


def main() -> None:
    """Run the command."""
    if size := os.environ.get("FAULTS_PAGE_SIZE"):
        defaults = ClusterClient.list_pages.__kwdefaults__
        assert defaults is not None
        assert "limit" in defaults
        defaults["limit"] = int(size)
    if trigger := os.environ.get("FAULTS_KOPF"):
        _let_kopf_die(Path(trigger))
    cli.main()


if __name__ == "__main__":
    main()
