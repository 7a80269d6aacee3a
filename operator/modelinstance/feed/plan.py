"""What has to be done to a router. Values in, values out: no I/O, no time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType

from modelinstance.client.steady import Choice, why_not
from modelinstance.client.watching import Instance
from modelinstance.feed.urls import base_of_rank, normalized

NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the registry says of workers, by normalised URL.

    ``wanted`` are those to have, with the instance they are for. ``refused`` are those of the other
    instances that are listed, with why they are not selected. ``unfit`` are selected instances that
    no router can be told of, by ``NAMESPACE/NAME``, with why. ``names`` are the models and aliases
    of each that is wanted, the model first. ``known`` are those of all that are listed.
    """

    wanted: Mapping[str, str]
    refused: Mapping[str, str]
    unfit: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: AbstractSet[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do to one router, by URL with the reason.

    ``removes`` are keyed by the URL as the router spells it. ``left`` are workers that stay
    although the registry does not select them.
    """

    adds: Mapping[str, str]
    removes: Mapping[str, str]
    left: Mapping[str, str]


def wishes(choice: Choice) -> Wishes:
    """What follows for workers from what is to be used."""
    wanted: dict[str, str] = {}
    unfit: dict[str, str] = {}
    names: dict[str, tuple[str, ...]] = {}
    for key, instance in sorted(choice.selected.items()):
        url = _url(instance)
        if url is None:
            unfit[key] = f"its address {instance.address} has a path, and routers add their own"
        else:
            wanted.setdefault(url, key)
            names[url] = (*names.get(url, ()), *instance.names)
    refused = {
        url: why_not(instance)
        for url, instance in _by_url(choice.listed.values())
        if url not in wanted
    }
    known = {name for instance in choice.listed.values() for name in instance.names}
    return Wishes(wanted, refused, unfit, names, known)


def _url(instance: Instance) -> str | None:
    """Its URL without ``/v1``, which routers add; ``None`` if it has another path."""
    return normalized(instance.address.rstrip("/").removesuffix("/v1"))


def _by_url(instances: Iterable[Instance]) -> Iterable[tuple[str, Instance]]:
    for instance in sorted(instances, key=lambda each: each.key, reverse=True):
        url = _url(instance)
        if url is not None:
            yield url, instance


def outdated(
    wishes: Wishes, models: Mapping[str, str], remembered: Mapping[str, str]
) -> Mapping[str, str]:
    """The workers that a router takes for another model's than they are now, with why.

    ``models`` are what the router says, by URL in its own spelling; ``remembered`` those that each
    was last added for or found with, by URL. A router asks the engine for its model when it adds
    it, and not again. Engines may call their model something else than the registry does: only a
    model that has changed since counts, or where nothing is remembered one that another has.
    """
    found: dict[str, str] = {}
    for spelled, model in models.items():
        url = normalized(spelled) or ""
        names = wishes.names.get(url, ())
        if not names or model in names:
            continue
        before = remembered.get(url)
        if before not in names if before else model in wishes.known:
            found[spelled] = f"the router takes it for {model}, and it serves {names[0]} now"
    return found


def plan(
    wishes: Wishes,
    present: Iterable[str],
    *,
    owned: AbstractSet[str] = frozenset(),
    pending: AbstractSet[str] = frozenset(),
    spared: AbstractSet[str] = frozenset(),
    exclusive: bool = False,
    outdated: Mapping[str, str] = NONE,
) -> Plan:
    """What makes a router's workers those that are wanted, touching none that is another's.

    ``present`` are the router's workers in its own spelling. ``owned`` were added by this feed, now
    or before; what the registry lists is owned as well, whatever its state. ``pending`` were asked
    for and may yet come, ``spared`` are not to be removed yet. ``exclusive``: all are owned.
    ``outdated`` are to be removed although they are wanted, and added again once they have gone.
    """
    removes: dict[str, str] = {}
    left: dict[str, str] = {}
    served: set[str] = set()
    for spelled in sorted(set(present)):
        url = normalized(spelled)
        if url is None:
            served.update(filter(None, [base_of_rank(spelled)]))
            left[spelled] = "it is no plain base URL"
        elif url in wishes.wanted:
            served.add(url)
            if spelled in outdated:
                removes[spelled] = outdated[spelled]
        elif url in wishes.refused:
            removes[spelled] = wishes.refused[url]
        elif url in spared:
            left[spelled] = "the registry may not know of it yet"
        elif exclusive or url in owned:
            removes[spelled] = why_not(None)
        else:
            left[spelled] = "it was not added from the registry"
    adds = {
        url: f"{key} is selected"
        for url, key in sorted(wishes.wanted.items())
        if url not in served and url not in pending
    }
    return Plan(adds, removes, left)
