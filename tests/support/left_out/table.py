"""The table of mechanisms, and how one is patched away."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

LEFT_OUT: dict[str, Callable[[], None]] = {}
"""How to leave each mechanism out, by its name."""


def leaves_out(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Enter a function into the table: it leaves the mechanism of that name out."""

    def enter(patch: Callable[[], None]) -> Callable[[], None]:
        assert name not in LEFT_OUT
        LEFT_OUT[name] = patch
        return patch

    return enter


def let_do(function: Any, instead: Any) -> None:
    """Let a function or method do something else, for all who have hold of it already.

    What it does instead must use nothing but its arguments and its own imports.
    """
    assert isinstance(function, FunctionType)
    assert isinstance(instead, FunctionType)
    function.__code__ = instead.__code__
    function.__defaults__, function.__kwdefaults__ = instead.__defaults__, instead.__kwdefaults__


def put(owner: Any, name: str, value: Any) -> None:
    """Set what is there in a module or a class to something else."""
    assert hasattr(owner, name), f"there is no {name} in {owner}"
    setattr(owner, name, value)


def nothing(*_arguments: Any, **_options: Any) -> None:
    """Stands in for a function, and does nothing."""
