"""What workers send, and what is refused of it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic.alias_generators import to_camel

from modelinstance.registry import selectors
from modelinstance.registry.instance import DNS_LABEL, DNS_NAME, InstanceSpec, normalize_host
from modelinstance.registry.intake.registrations import MANAGED_BY, Pod, Registration
from modelinstance.registry.load import Load

MAX_BATCH = 10_000
MAX_NUMBER = 1e12
NAMESPACE = rf"^{DNS_LABEL}$"
INCARNATION = r"^[0-9a-f]{16}$"
EXCLUDED = r"^.+/.+$"
POD_NAME = rf"^{DNS_LABEL}(?:\.{DNS_LABEL})*$"
POD_UID = r"^[0-9A-Za-z-]{1,128}$"
EXTRA_NAME = r"^[A-Za-z_:][A-Za-z0-9_:.-]{0,63}$"
PATTERNS = {
    NAMESPACE: "write the name of a namespace: lower-case letters, digits and '-', at most 63",
    INCARNATION: "write the 16 hexadecimal digits that a registration is answered with",
    EXCLUDED: "write NAMESPACE/NAME",
    POD_NAME: "write the pod's metadata.name",
    POD_UID: "write the pod's metadata.uid",
    EXTRA_NAME: "write a name of at most 64 letters, digits, '_', ':', '.' and '-'",
}
"""What to write instead of what does not match."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DNS_NAME = re.compile(DNS_NAME)


def _check_model(name: str) -> str:
    if name != name.strip() or _CONTROL.search(name):
        raise ValueError(
            "a model name must not begin or end with a space and must hold no control characters: "
            "write the name that routers ask for, for example meta-llama/Llama-3.1-8B"
        )
    return name


def _check_host(host: str) -> str:
    if "://" in host:
        raise ValueError(
            "host must not hold a scheme: write only the IP address or DNS name, and put http or "
            "https into scheme"
        )
    try:
        if "%" not in host:  # a zone is about one machine's own interfaces
            return str(ip_address(host))
    except ValueError:
        pass
    normal = normalize_host(host)
    if (
        re.search(r"[\s\[\]]", host)
        or not _DNS_NAME.fullmatch(normal)
        or normal.rpartition(".")[2].isdigit()
    ):
        raise ValueError(
            "host must be an IP address or a DNS name, for example 10.0.0.5, fd00::5 or "
            "vicuna-0.models.svc: no port, no path, no brackets"
        )
    return normal


def _check_base_path(path: str) -> str:
    if path and (
        not path.startswith("/")
        or path.endswith("/")
        or re.search(r"[\s\x00-\x1f\x7f-\x9f?#]", path)
    ):
        raise ValueError(
            "a base path must begin with '/', must not end with '/' and must hold no space, '?' or "
            "'#': write for example /v1, or leave it out"
        )
    return path


def _check_weight(weight: float) -> float:
    if 0 < weight < 0.01:
        raise ValueError("the least weight above 0 is 0.01; 0 is listed and never picked")
    return round(weight, 2) + 0.0  # no negative zero


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not selectors.is_label(key, value):
            raise ValueError(
                f"{key!r}: {value!r} is no label: write Kubernetes label syntax, for example "
                f"tier: gold"
            )
    if MANAGED_BY in labels:
        raise ValueError(f"{MANAGED_BY} is set by the registry: leave it out")
    return labels


ModelName = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_check_model)]
Number = Annotated[float, Field(ge=0, le=MAX_NUMBER, allow_inf_nan=False)]


class Body(BaseModel):
    """Base of what is sent: nothing unknown, nothing converted."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", frozen=True, strict=True
    )


class LoadBody(Body):
    """What a worker has to do."""

    running: Number = Field(0.0, description="Requests that run.")
    waiting: Number = Field(0.0, description="Requests that wait.")
    kv_cache: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="The used share of the KV cache, from 0 to 1."
    )
    extra: Annotated[
        dict[
            Annotated[str, Field(pattern=EXTRA_NAME)],
            Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)],
        ],
        Field(max_length=16),
    ] = Field(default_factory=dict, description="Numbers of the worker's own choice.")

    def meant(self) -> Load:
        """The load in the registry's terms."""
        return Load(self.running, self.waiting, self.kv_cache, self.extra)


def load_of(body: LoadBody | None) -> Load | None:
    """The load that was told, if one was."""
    return None if body is None else body.meant()


class HeartbeatBody(Body):
    """How the instance shows that it is alive."""

    required: bool = Field(True, description="False: taken at its word, it never expires.")
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] | None = Field(
        None, description="Silence that makes it Unhealthy; unset: the registry's own timeout."
    )


class PodBody(Body):
    """The pod that a worker runs in."""

    name: Annotated[str, Field(pattern=POD_NAME, max_length=253)] = Field(
        description="Its metadata.name."
    )
    uid: Annotated[str, Field(pattern=POD_UID)] = Field(description="Its metadata.uid.")


class RegistrationBody(Body):
    """A worker registers."""

    namespace: Annotated[str, Field(pattern=NAMESPACE)] | None = Field(
        None, description="The namespace of its resource; unset: the registry's default."
    )
    model: ModelName = Field(description="The model that it serves, as routers ask for it.")
    aliases: Annotated[list[ModelName], Field(max_length=16)] = Field(
        default_factory=list, description="Other names under which routers find it."
    )
    host: Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_check_host)] = Field(
        description="IP address (IPv6 without brackets) or DNS name."
    )
    port: int = Field(ge=1, le=65535, description="TCP port.")
    scheme: Literal["http", "https"] = Field("http", description="How routers speak to it.")
    base_path: Annotated[str, Field(max_length=1024), AfterValidator(_check_base_path)] = Field(
        "", description="What routers put between the port and the path of a call."
    )
    weight: Annotated[
        float, Field(ge=0, le=21474836, allow_inf_nan=False), AfterValidator(_check_weight)
    ] = Field(1.0, description="Its share of the requests; 1.0 is the usual one, steps are 0.01.")
    labels: Annotated[dict[str, str], Field(max_length=32), AfterValidator(_check_labels)] = Field(
        default_factory=dict, description="Labels of its resource, for selectors."
    )
    heartbeat: HeartbeatBody = Field(
        default_factory=lambda: HeartbeatBody(required=True, timeoutSeconds=None),
        description="How it shows that it is alive.",
    )
    load: LoadBody | None = Field(None, description="What it has to do.")
    pod: PodBody | None = Field(
        None,
        description="The pod that it runs in, in the same namespace: its resource goes with it, "
        "and what other pods said of the address is of the past.",
    )

    def meant(self, default_namespace: str) -> Registration:
        """The registration in the registry's terms."""
        return Registration(
            namespace=self.namespace or default_namespace,
            spec=InstanceSpec(
                model_name=self.model,
                host=self.host,
                port=self.port,
                scheme=self.scheme,
                base_path=self.base_path,
                aliases=frozenset(self.aliases),
                weight=self.weight,
                heartbeat_required=self.heartbeat.required,
                heartbeat_timeout=self.heartbeat.timeout_seconds,
            ),
            labels=self.labels,
            load=load_of(self.load),
            pod=None if self.pod is None else Pod(self.pod.name, self.pod.uid),
        )


class BeatBody(Body):
    """One heartbeat."""

    incarnation: Annotated[str, Field(pattern=INCARNATION)] = Field(
        description="The id that the registration was answered with."
    )
    load: LoadBody | None = Field(None, description="What the worker has to do.")
    failure: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None,
        description="Why the worker, which is there, cannot answer: the instance is Unhealthy "
        "until a heartbeat without it.",
    )
    registration: RegistrationBody | None = Field(
        None,
        description="The worker's registration again, as long as it was answered with "
        "stored: false: should the registry have forgotten it by a restart, it is taken from here.",
    )


class BeatBatch(Body):
    """Several heartbeats, for example of all workers of a node."""

    items: Annotated[list[BeatBody], Field(min_length=1, max_length=MAX_BATCH)] = Field(
        description="The heartbeats."
    )


ONE, SEVERAL = "(one)", "(several)"
UNION_TAGS = frozenset({ONE, SEVERAL})
"""What pydantic puts into the place of an error beside the names of fields."""


def number_of(body: Any) -> str:
    """Whether a body is about one or about several: these are its ``items``."""
    batched = "items" in body if isinstance(body, dict) else hasattr(body, "items")
    return SEVERAL if batched else ONE


Beats = Annotated[
    Annotated[BeatBody, Tag(ONE)] | Annotated[BeatBatch, Tag(SEVERAL)], Discriminator(number_of)
]
"""One heartbeat, or several as ``items``."""
