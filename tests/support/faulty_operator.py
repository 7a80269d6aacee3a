"""The command ``modelinstance`` with faults that cannot be caused from outside.

``FAULTS_PAGE_SIZE`` in the environment is the number of objects in a page of our own LISTs.
``FAULTS_KOPF`` names a file: as long as it holds a number above 0, kopf dies, and the number is
one less. ``FAULTS_BLOCK`` names a file: when it holds a number, the registry's thread does nothing
for so many seconds, and the file is gone. ``FAULTS_WALL`` names a file: by so many seconds as it
holds its clock of the day is ahead. ``FAULTS_CENSUS`` names a file: when it is there and empty, it
is filled with what is in memory. ``FAULTS_PROBATION`` is for how many seconds an instance has to be
well at first to return. ``FAULTS_LEFT_OUT`` is the name of a mechanism in
`support.left_out` that is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import kopf

from modelinstance import app, cli
from modelinstance.cluster.client import ClusterClient
from modelinstance.registry.clock import SystemClock
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.mirror.mirror import Mirror
from support.left_out import LEFT_OUT
from support.memory import memory_mb

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


def with_blocking(trigger: Path) -> dict[str, Any]:
    """Options of `OperatorProcess`: the registry's thread is blocked as the file says."""
    return {"module": MODULE, "env": {**FAULTS, "FAULTS_BLOCK": str(trigger)}}


def with_wall_clock(ahead: Path) -> dict[str, Any]:
    """Options of `OperatorProcess`: its time of day is ahead by the seconds that the file holds."""
    return {"module": MODULE, "env": {**FAULTS, "FAULTS_WALL": str(ahead)}}


def with_census(told: Path) -> dict[str, Any]:
    """Options of `OperatorProcess`: it tells what is in its memory in that file when empty."""
    return {"module": MODULE, "env": {**FAULTS, "FAULTS_CENSUS": str(told)}}


def with_probation(seconds: float) -> dict[str, Any]:
    """Options of `OperatorProcess`: who has to prove itself has to do so for that time at first."""
    return {"module": MODULE, "env": {**FAULTS, "FAULTS_PROBATION": str(seconds)}}


def with_left_out(mechanism: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of `OperatorProcess` with that mechanism left out beside what they ask for."""
    env = {**FAULTS, **options.get("env", {}), "FAULTS_LEFT_OUT": mechanism}
    return {**options, "module": MODULE, "env": env}


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
    """Whether it is to die; a file that is removed meanwhile does not come back by that."""
    try:
        with trigger.open("r+", encoding="utf-8") as file:
            deaths = int(file.read() or 0)
            if deaths:
                file.seek(0)
                file.truncate()
                file.write(str(deaths - 1))
    except FileNotFoundError:
        return False
    return deaths > 0


def _let_the_registry_block(trigger: Path) -> None:
    attend = Mirror.attend

    def late(self: Mirror) -> float:
        with contextlib.suppress(FileNotFoundError, ValueError):
            seconds = float(trigger.read_text(encoding="utf-8"))
            trigger.unlink()
            time.sleep(seconds)
        return attend(self)

    Mirror.attend = late  # type: ignore[method-assign]


def _set_the_wall_clock(ahead: Path) -> None:
    wall = SystemClock.wall

    def shifted(self: SystemClock) -> datetime:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return wall(self) + timedelta(seconds=float(ahead.read_text(encoding="utf-8")))
        return wall(self)

    SystemClock.wall = shifted  # type: ignore[method-assign]


def _count_when_asked(told: Path) -> None:
    def count() -> None:
        while True:
            time.sleep(POLL_SECONDS)
            if told.exists() and not told.stat().st_size:
                gc.collect()  # what is only not collected yet is not kept
                megabytes = memory_mb()
                kinds = Counter(type(found) for found in gc.get_objects())
                ours = {
                    kind.__name__: number
                    for kind, number in kinds.items()
                    if kind.__module__.startswith("modelinstance.registry.")
                }
                told.write_text(json.dumps({"megabytes": megabytes, "objects": ours}))

    threading.Thread(target=count, name="census", daemon=True).start()


def main() -> None:
    """Run the command."""
    if size := os.environ.get("FAULTS_PAGE_SIZE"):
        defaults = ClusterClient.list_pages.__kwdefaults__
        assert defaults is not None
        assert "limit" in defaults
        defaults["limit"] = int(size)
    if trigger := os.environ.get("FAULTS_KOPF"):
        _let_kopf_die(Path(trigger))
    if trigger := os.environ.get("FAULTS_BLOCK"):
        _let_the_registry_block(Path(trigger))
    if trigger := os.environ.get("FAULTS_WALL"):
        _set_the_wall_clock(Path(trigger))
    if told := os.environ.get("FAULTS_CENSUS"):
        _count_when_asked(Path(told))
    if seconds := os.environ.get("FAULTS_PROBATION"):
        vars(app)["Hysteresis"] = partial(Hysteresis, first=float(seconds))
    if mechanism := os.environ.get("FAULTS_LEFT_OUT"):
        LEFT_OUT[mechanism]()
    cli.main()


if __name__ == "__main__":
    main()
