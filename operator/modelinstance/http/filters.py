"""Which instances a caller means: ``namespace=`` and ``selector=`` on every read."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Query

from modelinstance.http.problems import ProblemError
from modelinstance.registry import selectors
from modelinstance.registry.record import Record

Filter = Callable[[Record], bool] | None
"""Whether an instance is meant; ``None`` stands for all."""


def read_filter(
    namespace: Annotated[
        str | None,
        Query(description="Only instances of this namespace.", min_length=1, max_length=63),
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
    """The filter that a request asks for; a bad selector is a problem with status 422."""
    if namespace is None and selector is None:
        return None
    matches = None
    if selector is not None:
        try:
            matches = selectors.parse(selector)
        except selectors.SelectorError as error:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"query.selector: {error}"
            ) from error

    def admits(record: Record) -> bool:
        if namespace is not None and record.key.namespace != namespace:
            return False
        return matches is None or matches(record.labels)

    return admits


Wanted = Annotated[Filter, Depends(read_filter)]
