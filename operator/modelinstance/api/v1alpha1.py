"""The custom resources of ``modelinstance.dev/v1alpha1``.

Field descriptions are what ``kubectl explain`` shows. Rules that a bound cannot say are CEL, with
a message that says what to write instead; bounds on every string and list keep their cost in
budget.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from kube_custom_resource.custom_resource import CustomResource
from kube_custom_resource.schema import BaseModel, Optional
from pydantic import ConfigDict, Field

from modelinstance.api.fields import Rule, host_rule, list_map, set_of


class Scheme(StrEnum):
    """How to speak to an instance."""

    HTTP = "http"
    HTTPS = "https"


class Rotation(StrEnum):
    """What routers are to do with an instance."""

    ACTIVE = "Active"
    DRAINING = "Draining"
    DISABLED = "Disabled"


ModelName = Annotated[
    str,
    Field(max_length=253, json_schema_extra=Rule(
        "self.trim() == self && size(self) > 0 && !self.matches('[\\\\x00-\\\\x1f\\\\x7f]')",
        "a model name must not be empty, must not begin or end with a space and must hold no "
        "control characters: write the name that routers ask for, for example vicuna or "
        "meta-llama/Llama-3.1-8B",
    ).schema()),
]  # fmt: skip


class Heartbeat(BaseModel):
    """How the instance shows that it is alive."""

    required: bool = Field(
        True,
        description=(
            "Whether the instance has to send heartbeats. When false it is taken at its owner's "
            "word and is Healthy as soon as it is known."
        ),
    )
    timeout_seconds: Optional[int] = Field(
        None,
        ge=1,
        le=86400,
        description=(
            "After how many seconds without a heartbeat the instance is Unhealthy. When unset, the "
            "registry's own timeout holds (120 unless it is set otherwise)."
        ),
    )


class Probe(BaseModel):
    """How the operator itself asks the instance."""

    path: Annotated[
        str,
        Field(max_length=1024, json_schema_extra=Rule(
            "self.matches('^/[!-~]*$') && !self.contains('#')",
            "a probe's path must begin with '/' and must hold no space, no '#', no control "
            "character and nothing but ASCII: write for example /health, and other characters "
            "percent-encoded",
        ).schema()),
    ] = Field(
        "/health",
        description=(
            "What is asked for by GET, from the root of the server: spec.basePath does not go "
            "before it. It is answered well with a status of 200 to 299; redirects are not "
            "followed."
        ),
    )  # fmt: skip
    period_seconds: int = Field(
        10, ge=1, le=3600, description="How often the instance is asked, in seconds."
    )
    timeout_seconds: int = Field(
        2, ge=1, le=60, description="How many seconds the instance has for its answer."
    )
    success_threshold: int = Field(
        1,
        ge=1,
        le=10,
        description="After how many good answers in a row an instance counts as passing.",
    )
    failure_threshold: int = Field(
        3,
        ge=1,
        le=10,
        description="After how many failures in a row an instance counts as failing.",
    )


class ModelInstanceSpec(BaseModel):
    """What the owner of an instance asks for."""

    model_name: ModelName = Field(
        description=(
            "The model that is served, as routers ask for it. It may hold '/', '@' and ':'."
        ),
    )
    aliases: Annotated[list[ModelName], set_of(16)] = Field(
        default_factory=list,
        description=(
            "Other names under which routers find this instance, for example those of LoRA "
            "adapters that it has loaded."
        ),
    )
    host: Annotated[str, Field(max_length=253, json_schema_extra=host_rule())] = Field(
        description=(
            "Where the instance listens: an IPv4 address, an IPv6 address without brackets, or a "
            "DNS name. No scheme, port or path."
        ),
    )
    port: int = Field(ge=1, le=65535, description="The TCP port on which the instance listens.")
    scheme: Scheme = Field(
        Scheme.HTTP, description="How routers speak to the instance: http or https."
    )
    base_path: Annotated[
        str,
        Field(max_length=1024, json_schema_extra=Rule(
            "self == '' || (self.startsWith('/') && !self.endsWith('/') "
            "&& !self.matches('[\\\\s?#]'))",
            "a base path must begin with '/', must not end with '/' and must hold no space, '?' or "
            "'#': write for example /v1, or leave it out",
        ).schema()),
    ] = Field(
        "",
        description="What routers put between the port and the path of a call, for example /llm.",
    )  # fmt: skip
    weight: int = Field(
        100,
        ge=0,
        le=2147483647,
        description=(
            "The instance's share of the requests relative to the model's other instances. With 0 "
            "it is listed and never picked."
        ),
    )
    rotation: Rotation = Field(
        Rotation.ACTIVE,
        description=(
            "What routers are to do: Active instances are picked while they are healthy, Draining "
            "ones get no new requests, Disabled ones are only listed."
        ),
    )
    heartbeat: Heartbeat = Field(
        default_factory=lambda: Heartbeat(required=True, timeout_seconds=None),
        description="How the instance shows that it is alive.",
    )
    probe: Optional[Probe] = Field(
        None,
        description=(
            "How the operator itself asks the instance, beside heartbeats where these are "
            "required. When unset nobody asks it. Only addresses that --allowed-network allows are "
            "asked."
        ),
    )


class IncarnationStatus(BaseModel):
    """One life of the resource."""

    uid: str = Field(
        max_length=128, description="The uid of the resource when this status was written."
    )
    model_name: str = Field(max_length=253, description="The model name that this is about.")
    host: str = Field(max_length=253, description="The host that this status is about.")
    port: int = Field(ge=1, le=65535, description="The port that this status is about.")


class Condition(BaseModel):
    """One aspect of the state of the resource (Kubernetes API conventions)."""

    type: str = Field(max_length=316, description="What the condition is about, for example Ready.")
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})] = Field(
        description="Whether the condition holds: True, False or Unknown.",
    )
    reason: str = Field(max_length=1024, description="Why, in one word for programs.")
    message: str = Field(max_length=32768, description="Why, in a sentence for people.")
    last_transition_time: datetime = Field(description="When the status last changed.")
    observed_generation: int = Field(
        ge=0, description="The metadata.generation that this condition is about."
    )


class ModelInstanceStatus(BaseModel):
    """What the registry found out. Written on changes only, by the operator alone."""

    observed_generation: Optional[int] = Field(
        None, description="The metadata.generation that this status is about."
    )
    phase: Optional[str] = Field(
        None,
        max_length=64,
        description=(
            "Where the instance is in its life, for display: Starting, Healthy, Degraded, "
            "Unhealthy, Conflicted, Draining, Disabled, Terminating; more may come. Programs read "
            "conditions."
        ),
    )
    address: Optional[str] = Field(
        None, max_length=2048, description="The base URL for calls to the instance."
    )
    last_heartbeat_time: Optional[datetime] = Field(
        None,
        description=(
            "The last heartbeat known when this status was written. It stands still while the "
            "instance is healthy: a beat causes no write."
        ),
    )
    incarnation: Optional[IncarnationStatus] = Field(
        None,
        description=(
            "The life of the resource that this status is about. A status of another is ignored."
        ),
    )
    conditions: Annotated[list[Condition], list_map("type")] = Field(
        default_factory=list,
        description=(
            "Ready: routers may call the instance. Degraded, Draining, Deregistered and Conflicted "
            "are there while they are true."
        ),
    )


class ModelInstance(  # type: ignore[call-arg, metaclass]  # the library's metaclass is dynamic
    CustomResource,
    short_names=["mi"],
    subresources={"status": {}},
    printer_columns=[
        {"name": "Model", "type": "string", "jsonPath": ".spec.modelName",
         "description": "The model that is served."},
        {"name": "Address", "type": "string", "jsonPath": ".status.address",
         "description": "The base URL for calls."},
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase",
         "description": "Where the instance is in its life."},
        {"name": "Reason", "type": "string",
         "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason",
         "description": "Why it is in that phase."},
        {"name": "Since", "type": "date",
         "jsonPath": ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime",
         "description": "When it last became ready or ceased to be."},
    ],
):  # fmt: skip
    """One running instance of a model: a server at host:port that routers may call."""

    spec: ModelInstanceSpec = Field(description="What the owner of the instance asks for.")
    status: Optional[ModelInstanceStatus] = Field(
        None, description="What the registry found out. Written by the operator alone."
    )


class RegistryHeartbeat(BaseModel):
    """What holds for instances that do not say otherwise."""

    timeout_seconds: Optional[int] = Field(
        None,
        ge=1,
        le=86400,
        description=(
            "After how many seconds without a heartbeat an instance is Unhealthy whose own "
            "spec.heartbeat.timeoutSeconds is unset. Default: 120."
        ),
    )


class RegistryRegistration(BaseModel):
    """What holds for instances that came by registration over HTTP."""

    remove_after_seconds: Optional[int] = Field(
        None,
        ge=1,
        le=31536000,
        description=(
            "After how many seconds without a sign of life the resource of such an instance is "
            "removed. Default: 3600."
        ),
    )


class CorrelatedSilence(BaseModel):
    """When silence is taken for an outage between the workers and the registry."""

    min_percent: int = Field(
        50,
        ge=1,
        le=100,
        description=(
            "What share of a model's instances, or of all, has to fall silent within one timeout, "
            "in percent."
        ),
    )
    min_instances: int = Field(
        3, ge=2, le=1000000, description="How many instances it has to be at least."
    )
    max_seconds: int = Field(
        600,
        ge=0,
        le=86400,
        description=(
            "For how many seconds at most they are selected on, as Degraded. With 0 silence always "
            "makes Unhealthy."
        ),
    )


class InstanceRegistrySpec(BaseModel):
    """The settings of the registry. A flag or environment variable of the operator goes first."""

    heartbeat: Optional[RegistryHeartbeat] = Field(
        None, description="What holds for instances that do not say otherwise."
    )
    resync_interval_seconds: Optional[int] = Field(
        None,
        ge=1,
        le=3600,
        description=(
            "How often all instances are listed anew, in seconds, to repair what a watch missed. "
            "Default: 60."
        ),
    )
    registration: Optional[RegistryRegistration] = Field(
        None, description="What holds for instances that came by registration over HTTP."
    )
    status_writes_per_second: Optional[int] = Field(
        None,
        ge=1,
        le=10000,
        description=(
            "How many statuses of instances are written in a second at the most, for example after "
            "the API server was away. Default: 500."
        ),
    )
    correlated_silence: Optional[CorrelatedSilence] = Field(
        None,
        description=(
            "When silence is taken for an outage between the workers and the registry, so that "
            "instances stay selected. When unset: at least half and at least 3 of a model's "
            "instances or of all, for 600 seconds at most."
        ),
    )


class InstanceRegistryStatus(BaseModel):
    """A summary of the registry. Written on changes only, by the operator alone."""

    observed_generation: Optional[int] = Field(
        None, description="The metadata.generation whose settings are in force."
    )
    mode: Optional[str] = Field(
        None,
        max_length=64,
        description=(
            "Live while the operator's view of the cluster is current; Stale while it answers from "
            "memory."
        ),
    )
    models: Optional[int] = Field(None, description="How many model names there are.")
    instances: Optional[int] = Field(None, description="How many instances there are.")
    healthy: Optional[int] = Field(None, description="How many instances routers may call.")


class InstanceRegistry(  # type: ignore[call-arg, metaclass]  # likewise
    CustomResource,
    plural_name="instanceregistries",
    short_names=["ireg"],
    subresources={"status": {}},
    printer_columns=[
        {"name": "Mode", "type": "string", "jsonPath": ".status.mode",
         "description": "Live or Stale."},
        {"name": "Models", "type": "integer", "jsonPath": ".status.models",
         "description": "How many model names there are."},
        {"name": "Instances", "type": "integer", "jsonPath": ".status.instances",
         "description": "How many instances there are."},
        {"name": "Healthy", "type": "integer", "jsonPath": ".status.healthy",
         "description": "How many instances routers may call."},
    ],
):  # fmt: skip
    """The settings of the registry and a summary of it: one object, named default."""

    model_config = ConfigDict(
        json_schema_extra=Rule(
            "self.metadata.name == 'default'",
            "only the InstanceRegistry named default is read: use that name",
        ).schema()
    )

    spec: InstanceRegistrySpec = Field(
        default_factory=lambda: InstanceRegistrySpec(
            heartbeat=None,
            resync_interval_seconds=None,
            registration=None,
            status_writes_per_second=None,
            correlated_silence=None,
        ),
        description="The settings of the registry.",
    )
    status: Optional[InstanceRegistryStatus] = Field(
        None, description="A summary of the registry. Written by the operator alone."
    )
