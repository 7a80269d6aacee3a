"""The instance object that users of DB-GPT's registry pass in and get back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from modelinstance.registry.errors import ImmutableFieldError
from modelinstance.registry.instance import Address, normalize_host

IDENTITY = frozenset({"model_name", "host", "port"})

Observer = Callable[["ModelInstance", str], None]


@dataclass
class ModelInstance:
    """One model served at one address: DB-GPT's ten fields, in their order.

    ``weight`` 1.0 is the usual share and 0 is never picked. ``check_healthy=False`` never expires.
    ``last_heartbeat`` is a naive local time. Once registered, the object is the one that is
    listed: the registry keeps ``healthy`` and ``last_heartbeat`` up to date in it, and assigning
    to a field tells the registry. Assigning to ``model_name``, ``host`` or ``port`` then raises
    `ImmutableFieldError`.
    """

    model_name: str
    host: str
    port: int
    weight: float | None = 1.0
    check_healthy: bool | None = True
    healthy: bool | None = False
    enabled: bool | None = True
    prompt_template: str | None = None
    last_heartbeat: datetime | None = None
    remove_from_registry: bool | None = False
    _observers: ClassVar[tuple[Observer, ...]] = ()

    def __setattr__(self, name: str, value: object) -> None:
        if self._observers and name in IDENTITY and value != self.__dict__[name]:
            raise ImmutableFieldError(name, value)
        super().__setattr__(name, value)
        for observer in self._observers:
            observer(self, name)

    @property
    def address(self) -> Address:
        """What identifies it."""
        return Address(self.model_name.strip(), normalize_host(self.host), self.port)

    def __getstate__(self) -> dict[str, object]:
        """A copy, also a deep or pickled one, is nobody's listed object."""
        return {name: value for name, value in self.__dict__.items() if name != "_observers"}

    def observe(self, observer: Observer) -> None:
        """Call the observer with each field that a caller assigns from now on."""
        self.__dict__["_observers"] = (*self._observers, observer)

    def disregard(self, observer: Observer) -> None:
        """Stop calling the observer."""
        left = tuple(known for known in self._observers if known != observer)
        self.__dict__["_observers"] = left

    def show(self, **fields: object) -> None:
        """Set what a registry found out, without telling anyone."""
        self.__dict__.update(fields)
