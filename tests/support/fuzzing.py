"""Hooks of schemathesis: what its configuration cannot say."""

from __future__ import annotations

from typing import Any

import schemathesis

SECONDS = 0.01
"""How long a request may take by its own wish: there are many of them."""
MAX_SECONDS = {"wait": 60, "timeoutSeconds": 3600}
"""Parameters by which a request takes long, and how long at most."""


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Shorten what is asked for in good form; what is wrong stays wrong."""
    for name, most in MAX_SECONDS.items():
        if name in case.query and _is_between(case.query[name], SECONDS, most):
            case.query[name] = SECONDS
    if case.operation.path == "/api/v1/watch":
        case.query.setdefault("timeoutSeconds", SECONDS)


def _is_between(value: object, least: float, most: float) -> bool:
    try:
        return least < float(str(value)) <= most
    except ValueError:
        return False
