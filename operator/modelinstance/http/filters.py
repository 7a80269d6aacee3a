"""Which instances a caller means: ``namespace=`` and ``selector=`` on every read."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Query

from modelinstance.http.access import Caller, Who
from modelinstance.http.problems import ProblemError
from modelinstance.registry import selectors
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.records.records import Records

MAX_NAMESPACE = 63
Filter = Callable[[Record], bool] | None
"""Whether an instance is meant; ``None`` stands for all."""


async def read_filter(
    caller: Who,
    namespace: Annotated[
        str | None,
        Query(
            description="Only instances of this namespace.", min_length=1, max_length=MAX_NAMESPACE
        ),
    ] = None,
    selector: Annotated[
        str | None,
        Query(
            description="Only instances whose resource has these labels, in the syntax of "
            "Kubernetes' label selectors: tier=gold,zone in (a,b),!old.",
            max_length=selectors.MAX_LENGTH,
        ),
    ] = None,
) -> Filter:
    """The instances that a request is about: what it asks for, as far as the caller may see it.

    Raises `ProblemError` with status 422 for a bad selector.
    """
    matches = None
    if selector is not None:
        try:
            matches = selectors.parse(selector)
        except selectors.SelectorError as error:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"query.selector: {error}"
            ) from error
    return narrowed(caller, namespace, matches)


def narrowed(
    caller: Caller, namespace: str | None, matches: selectors.Selector | None = None
) -> Filter:
    """The filter for one namespace or all, and labels, as far as a caller may see."""
    if caller.namespaces is None and namespace is None and matches is None:
        return None

    def admits(record: Record) -> bool:
        if namespace is not None and record.key.namespace != namespace:
            return False
        return caller.sees(record.key.namespace) and (matches is None or matches(record.labels))

    return admits


Wanted = Annotated[Filter, Depends(read_filter)]


def find(records: Records, caller: Caller, namespace: str, name: str) -> Record:
    """One instance. Raises `ProblemError` (404) where a caller sees none of that name."""
    records.expire()
    record = records.get(InstanceKey(namespace, name))
    if record is None or not caller.sees(namespace):
        raise ProblemError(HTTPStatus.NOT_FOUND, f"there is no instance {namespace}/{name}")
    return record
