"""The API server's audit log, and the rights that requests need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self


class Mark(int):
    """A size of the log, and when it was that.

    A request is logged once it has been carried out: what one that came before has changed may be
    seen when its line is still to come.
    """

    at: datetime

    @classmethod
    def of(cls, log: Path) -> Self:
        """The log as it is now."""
        made = cls(log.stat().st_size)
        made.at = datetime.now(UTC)
        return made


@dataclass(frozen=True)
class AuditEntry:
    """One request of the audit log, and when it came, by the API server's clock.

    ``refused`` tells that its user had no right to it.
    """

    at: datetime
    user: str
    agent: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    url: str
    refused: bool


def read(log: Path, since: int = 0) -> Iterator[AuditEntry]:
    """The requests that came since a mark, or are logged since a size; watches from their start."""
    with log.open("rb") as file:
        file.seek(since)
        *lines, _unfinished = file.read().split(b"\n")
    seen: set[str] = set()
    for line in lines:
        entry = json.loads(line)
        if entry["auditID"] in seen:
            continue
        seen.add(entry["auditID"])
        at = datetime.fromisoformat(entry["requestReceivedTimestamp"])
        if isinstance(since, Mark) and at < since.at:
            continue
        about = entry.get("objectRef", {})
        resource = about.get("resource", "")
        if "subresource" in about:
            resource += "/" + about["subresource"]
        yield AuditEntry(
            at=at,
            user=entry["user"].get("username", ""),
            agent=entry.get("userAgent", ""),
            verb=entry["verb"],
            resource=resource,
            namespace=about.get("namespace", ""),
            name=about.get("name", ""),
            code=entry.get("responseStatus", {}).get("code", 0),
            url=entry["requestURI"],
            refused=entry.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid",
        )


@dataclass(frozen=True)
class Rule:
    """One verb on one resource.

    ``namespace`` is empty where it holds in all of them, ``name`` where it holds for all objects.
    """

    resource: str
    verb: str
    namespace: str
    name: str = ""

    def allows(self, entry: AuditEntry) -> bool:
        """Whether it lets a request pass."""
        return (
            (self.resource, self.verb) == (entry.resource, entry.verb)
            and self.namespace in {"", entry.namespace}
            and self.name in {"", entry.name}
        )  # fmt: skip

    def is_needed_for(self, entry: AuditEntry) -> bool:
        """Whether a request that passed would not have without it.

        To apply what is not there yet takes the right to create, beside that to patch.
        """
        made = entry.verb == "patch" and entry.code == 201
        return self.allows(entry) or (made and self.allows(replace(entry, verb="create")))


def rules_of(roles: Iterable[dict[str, Any]]) -> Iterator[Rule]:
    """What Roles and ClusterRoles grant; outside of our API group and the core by name alone."""
    for role in roles:
        for rule in role["rules"]:
            names = rule.get("resourceNames", [""])
            assert names
            assert rule["apiGroups"] in (["modelinstance.dev"], [""]) or "" not in names
            assert rule.keys() - {"resourceNames"} == {"apiGroups", "resources", "verbs"}
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in names:
                        yield Rule(resource, verb, role["metadata"].get("namespace", ""), name)
