"""What the registry raises.

::

    RegistryError
    ├── NoHealthyInstanceError   (also a LookupError)
    ├── RefusedError
    └── ImmutableFieldError      (also an AttributeError)
"""

from __future__ import annotations

from enum import StrEnum


class RegistryError(Exception):
    """Base of all that the registry raises on purpose."""


class NoHealthyInstanceError(RegistryError, LookupError):
    """No instance of the model can be called right now.

    ``model_name`` is what was asked for; ``listed`` says how many instances carry that name.
    """

    def __init__(self, model_name: str, listed: int) -> None:
        self.model_name = model_name
        self.listed = listed
        if listed:
            detail = f"{listed} registered, none of them healthy, enabled and with a weight above 0"
        else:
            detail = "no instance is registered under this name"
        super().__init__(f"no healthy instance of model {model_name!r}: {detail}")


class ImmutableFieldError(RegistryError, AttributeError):
    """A field that identifies a registered instance was assigned."""

    def __init__(self, field: str, value: object) -> None:
        super().__init__(
            f"{field}={value!r}: the {field} of a registered instance cannot change; "
            f"deregister it with remove_from_registry=True and register a new ModelInstance"
        )


class Refusal(StrEnum):
    """Why a registration is refused."""

    INVALID = "Invalid"
    """It asks for what cannot be; it has to be corrected."""
    FORBIDDEN = "Forbidden"
    """The registry may not write it; its administrator has to act."""
    CONFLICT = "Conflict"
    """What is there already was changed by somebody else, and does not fit."""
    BUSY = "Busy"
    """Not now; the same may be granted later."""


class RefusedError(RegistryError):
    """A registration is refused; the message says why and what to do."""

    def __init__(self, refusal: Refusal, why: str) -> None:
        super().__init__(why)
        self.refusal = refusal
