"""The instance that a pod's label and annotations describe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from ipaddress import ip_address

from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.instance import InstanceKey, InstanceSpec
from modelinstance.registry.intake.registrations import MANAGED_BY

MANAGER = "modelinstance-pods"
"""Who owns what a pod's instance is made of, also in the label `MANAGED_BY`."""
DISCOVER = "discover-names"
LABEL = "model"
"""Stands for the label itself among the settings."""
MAX_ALIASES = 16
MAX_NAME = 253
MAX_WEIGHT = 2**31 - 1
MAX_TIMEOUT_SECONDS = 86400
USUAL_WEIGHT = 100
"""The weight in an annotation that is 1.0 in the registry."""

OF_CONTROLLERS = frozenset(
    {
        "app.kubernetes.io/managed-by",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-completion-index",
        "batch.kubernetes.io/job-name",
        "controller-revision-hash",
        "controller-uid",
        "job-name",
        "pod-template-generation",
        "pod-template-hash",
        "statefulset.kubernetes.io/pod-name",
    }
)
"""Labels of a pod that tell of who made it, and change where the instance stays what it is."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_PATH = re.compile(r"[\s?#]")


class SettingError(ValueError):
    """An annotation, or the label, does not say what it has to.

    ``setting`` is its name behind the prefix, ``value`` what it says (``None`` when it is not
    there), ``instead`` what to write.
    """

    def __init__(self, setting: str, value: str | None, instead: str) -> None:
        super().__init__(f"{setting}={value!r}: {instead}")
        self.setting = setting
        self.value = value
        self.instead = instead


@dataclass(frozen=True, slots=True)
class Names:
    """The names under which an engine answers: the model's, and the others in its own order."""

    model: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodInstance:
    """The instance that a pod asks for.

    ``named``: its engine has said its names. ``told``: it has names that an agent has told.
    ``left_out`` are the names that are too many.
    """

    key: InstanceKey
    pod_uid: str
    spec: InstanceSpec
    labels: Mapping[str, str] = field(default_factory=dict)
    named: bool = False
    told: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Tells whether two ask for the same resource."""
        spec = asdict(self.spec) | {"aliases": sorted(self.spec.aliases)}
        said = [self.pod_uid, spec, sorted(self.labels.items()), self.named]
        if self.told:
            said.append("told")
        return blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8).hexdigest()


def wants_names(facts: PodFacts) -> bool:
    """Whether the engine is to be asked for its names; not so where the pod says that wrongly."""
    return facts.settings.get(DISCOVER) == "true"


def discovers_names(facts: PodFacts) -> bool:
    """Whether the engine is to be asked for its names. Raises `SettingError`."""
    value = facts.settings.get(DISCOVER, "false")
    if value not in {"true", "false"}:
        raise SettingError(DISCOVER, value, "write true or false")
    return wants_names(facts)


def instance_of(
    facts: PodFacts, names: Names | None = None, *, told: Names | None = None
) -> PodInstance:
    """The instance that a pod with an address asks for. Raises `SettingError`.

    ``names`` are those that its engine said: its model is that of the instance. ``told`` are those
    that an agent told; they count for that model alone. The aliases of the annotation come first.
    """
    model, own = _model(facts), _aliases(facts)
    if names is not None:
        model, others = names.model, names.others
    elif told is not None and told.model == model:
        others = told.others
    else:
        others = ()
    aliases = [name for name in dict.fromkeys((*own, *others)) if name != model]
    kept = frozenset(aliases[:MAX_ALIASES])
    timeout = _number(facts, "heartbeat-timeout-seconds", 1, MAX_TIMEOUT_SECONDS)
    weight = _number(facts, "weight", 0, MAX_WEIGHT)
    spec = InstanceSpec(
        model_name=model,
        host=ip_address(facts.address).compressed,
        port=port_of(facts),
        scheme=_scheme(facts),
        base_path=_base_path(facts),
        aliases=kept,
        weight=(USUAL_WEIGHT if weight is None else weight) / USUAL_WEIGHT,
        heartbeat_required=timeout is not None,
        heartbeat_timeout=timeout,
    )
    return PodInstance(
        facts.key,
        facts.uid,
        spec,
        labels_of(facts),
        named=names is not None,
        told=names is None and not kept <= {*own},
        left_out=tuple(aliases[MAX_ALIASES:]),
    )


def labels_of(facts: PodFacts) -> dict[str, str]:
    """The labels of a pod's resource: its own, but for those that tell of who made it."""
    own = {name: value for name, value in facts.labels.items() if name not in OF_CONTROLLERS}
    return {**own, MANAGED_BY: MANAGER}


def is_name(name: str) -> bool:
    """Whether a model can be called so."""
    return 0 < len(name) <= MAX_NAME and name == name.strip() and not _CONTROL.search(name)


def _model(facts: PodFacts) -> str:
    name = facts.settings.get("model-name")
    if name is None:
        if not facts.model:
            raise SettingError(
                LABEL, "", "write the model's name into the label, or into the annotation "
                "model-name if it holds a '/'",
            )  # fmt: skip
        return facts.model
    if not is_name(name):
        raise SettingError(
            "model-name", name, "write the name that routers ask for, without spaces at its ends, "
            f"of at most {MAX_NAME} characters, for example meta-llama/Llama-3.1-8B",
        )  # fmt: skip
    return name


def _aliases(facts: PodFacts) -> tuple[str, ...]:
    value = facts.settings.get("aliases")
    if value is None:
        return ()
    names = tuple(dict.fromkeys(name for each in value.split(",") if (name := each.strip())))
    if not names or len(names) > MAX_ALIASES or not all(map(is_name, names)):
        raise SettingError(
            "aliases", value, f"write 1 to {MAX_ALIASES} names with commas between them, for "
            f"example vicuna-lora,vicuna-latest",
        )  # fmt: skip
    return names


def _number(facts: PodFacts, setting: str, least: int, most: int) -> int | None:
    value = facts.settings.get(setting)
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", value) or not least <= int(value) <= most:
        raise SettingError(setting, value, f"write a whole number from {least} to {most}")
    return int(value)


def port_of(facts: PodFacts) -> int:
    """The port that a pod's engine listens on. Raises `SettingError`."""
    port = _number(facts, "port", 1, 65535)
    if port is not None:
        return port
    named = [number for name, number in facts.ports if name == "http"]
    candidates = named or sorted({number for _, number in facts.ports})
    if len(candidates) == 1 or named:
        return candidates[0]
    declared = ", ".join(map(str, candidates)) or "none"
    raise SettingError(
        "port", None, f"write the port that the engine listens on, or name one port of a container "
        f"http (declared TCP ports: {declared})",
    )  # fmt: skip


def _scheme(facts: PodFacts) -> str:
    value = facts.settings.get("scheme", "http")
    if value not in {"http", "https"}:
        raise SettingError("scheme", value, "write http or https")
    return value


def _base_path(facts: PodFacts) -> str:
    value = facts.settings.get("base-path", "")
    wrong: tuple[Callable[[str], object], ...] = (
        lambda path: not path.startswith("/"),
        lambda path: path.endswith("/"),
        _NO_PATH.search,
        lambda path: len(path) > 1024,
    )
    if value and any(check(value) for check in wrong):
        raise SettingError(
            "base-path", value, "write a path that begins with '/', does not end with '/' and "
            "holds no space, '?' or '#', for example /v1",
        )  # fmt: skip
    return value
