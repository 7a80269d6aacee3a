"""The values of the chart: their defaults, their schema and their page in the reference.

The models below are the one source of ``values.yaml``, ``values.schema.json`` and
``docs/reference/values.md``. What Kubernetes itself describes (resources, tolerations, ...) is
passed on as it is, and checked by the API server.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from modelinstance.registry.instance import DNS_LABEL

WIDTH = 100
NOTE = "Generated from tools/generate/values.py by `make generate`."

Namespace = Annotated[str, Field(pattern=f"^{DNS_LABEL}$", max_length=63)]
Seconds = Annotated[int | None, Field(ge=1)]
IntOrPercent = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^[0-9]+%$")]
Cidr = Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Mapping = dict[str, Any]
Strings = dict[str, str]
Duration = Annotated[str, Field(pattern=r"^([0-9]+(ms|[smhdwy]))+$")]

OWN_LABELS = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
)
Labels = Annotated[
    Strings, Field(json_schema_extra={"propertyNames": {"not": {"enum": list(OWN_LABELS)}}})
]
"""More labels: those of the chart are what selectors and others go by, and cannot be changed."""

SERVICE_NAME = r"^([a-z]([-a-z0-9]*[a-z0-9])?)?$"
LABEL_NAME = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"
SUBDOMAIN_NAME = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"


class Part(BaseModel):
    """A mapping in the values. An unknown key is an error: it is most likely a typo."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


def part(kind: type[Part]) -> Any:
    """A field that is a mapping, described as its class is."""
    return Field(kind.model_construct(), description=kind.__doc__)


class Image(Part):
    """The image of the operator."""

    repository: str = Field(
        "modelinstance-operator", min_length=1, description="Where the image is."
    )
    tag: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$",
        description="Its tag; the chart's appVersion when empty.",
    )
    digest: str = Field(
        "", pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="Its digest (sha256:...), which goes before the tag.",
    )  # fmt: skip
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent",
        description="When the node pulls it: Always, IfNotPresent or Never.",
    )


class PullSecret(Part):
    """A reference to a Secret."""

    name: str = Field(description="The Secret's name.")


class Crds(Part):
    """The CustomResourceDefinitions."""

    install: bool = Field(
        True,
        description="Install and upgrade the CRDs with this release. They stay, with all "
        "instances, when it is uninstalled. Only one release in a cluster can have them.",
    )


class Rbac(Part):
    """The rights of the operator and of users."""

    create: bool = Field(True, description="Make the operator's roles and bind them.")
    aggregate_roles: bool | None = Field(
        None,
        description="Let whoever has the cluster's view, edit or admin role read or edit the "
        "resources, too. Unset: where the CRDs are installed with this release.",
    )


class ServiceAccount(Part):
    """Who the operator is."""

    create: bool = Field(True, description="Make the ServiceAccount.")
    name: str = Field(
        "", pattern=SUBDOMAIN_NAME, description="Its name; that of the release when empty."
    )
    annotations: Strings = Field({}, description="Its annotations.")


class AccessTokens(Part):
    """Who is let in to the endpoint."""

    secret_name: str = Field(
        "",
        description="A Secret with the bearer tokens, one a line, of which each request to /api/ "
        "and /metrics must send one. It may change. When empty, everyone is let in who can reach "
        "the Service, also to register, drain and remove workers.",
    )
    key: str = Field("tokens", min_length=1, description="The key in the Secret.")


class Pods(Part):
    """Instances for pods."""

    enabled: bool = Field(
        True,
        description="Keep a ModelInstance for each pod with the label modelinstance.dev/model. The "
        "operator then may list and watch pods, and patch the status of pods for the "
        "readiness gate modelinstance.dev/routable.",
    )


class Service(Part):
    """What routers call. A headless Service with the suffix -headless comes with it."""

    name: str = Field(
        "",
        max_length=54,
        pattern=SERVICE_NAME,
        description="Its name; that of the release when empty.",
    )
    port: Port = Field(80, description="Its TCP port.")
    annotations: Strings = Field({}, description="Its annotations.")


class PodDisruptionBudget(Part):
    """What an eviction, for example by `kubectl drain`, may do."""

    enabled: bool = Field(True, description="Make a PodDisruptionBudget.")
    max_unavailable: IntOrPercent = Field(
        1, description="How many pods may be evicted at a time, as a number or a percentage."
    )
    min_available: IntOrPercent | None = Field(
        None,
        description="How many pods have to stay, instead of maxUnavailable. The operator has one: "
        "1 means that it is never evicted, and that a drain of its node waits until it is deleted.",
    )


class TokenSecret(Part):
    """A Secret with one of the access tokens, which is sent with each scrape."""

    name: str = Field("", description="The Secret's name.")
    key: str = Field("token", min_length=1, description="The key in it.")


class ServiceMonitor(Part):
    """For the Prometheus operator."""

    enabled: bool = Field(False, description="Make a ServiceMonitor. Its CRD must be there.")
    interval: Duration = Field("30s", description="How often metrics are scraped.")
    scrape_timeout: Duration = Field("10s", description="How long a scrape may take.")
    labels: Labels = Field({}, description="Labels by which a Prometheus finds it.")
    token_secret: TokenSecret = part(TokenSecret)


class ApiServer(Part):
    """What the operator itself may call, beside DNS: the API server."""

    ports: list[Port] = Field([443, 6443], min_length=1, description="Its TCP ports.")
    to: list[Mapping] = Field(
        [], description="NetworkPolicyPeers that it is among; anywhere when empty."
    )


class NetworkPolicy(Part):
    """What may talk to the operator, and to what it may talk."""

    enabled: bool = Field(
        False, description="Make a NetworkPolicy. It needs a network plugin that enforces it."
    )
    from_: list[Mapping] = Field(
        [],
        alias="from",
        description="NetworkPolicyPeers that may call the endpoint; anyone when empty. Name "
        "Prometheus among them; the API server's proxy (`kubectl get --raw`) is not.",
    )
    api_server: ApiServer = part(ApiServer)
    extra_egress: list[Mapping] = Field(
        [],
        description="More NetworkPolicyEgressRules: to the instances, where spec.probe or the "
        "annotation modelinstance.dev/discover-names is used.",
    )


SPREAD = [
    {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
    },
    {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
    },
]


class Values(Part):
    """All values of the chart."""

    image: Image = part(Image)
    image_pull_secrets: list[PullSecret] = Field(
        [], description="Secrets with which the image is pulled: `- name: NAME`."
    )
    fullname_override: str = Field(
        "",
        max_length=53,
        pattern=LABEL_NAME,
        description="The name of what the chart makes; that of the release when empty.",
    )
    crds: Crds = part(Crds)
    namespaces: list[Namespace] = Field(
        [],
        json_schema_extra={"uniqueItems": True},
        description="The namespaces whose instances are mirrored; all of them when empty. With "
        "some, which must be there already, the operator gets rights in these and its own alone.",
    )
    default_namespace: Namespace | Literal[""] = Field(
        "",
        description="Where workers are enrolled that name no namespace: one of namespaces, if "
        "there are some. When empty: the first of them, or else 'default'.",
    )
    host: str = Field(
        "0.0.0.0",  # noqa: S104 - of the pod, which is to be reached
        pattern=r"^[0-9a-fA-F.:]+$",
        description="The IP address that the pod serves on: 0.0.0.0 for IPv4, :: where pods have "
        "IPv6 addresses as well or alone.",
    )
    heartbeat_timeout_seconds: Seconds = Field(
        None,
        le=86400,
        description="Seconds of silence after which an instance is Unhealthy that does not say "
        "itself. Unset leaves it to the InstanceRegistry object.",
    )
    resync_interval_seconds: Seconds = Field(
        None,
        le=3600,
        description="Seconds between two full LISTs. Unset leaves it to the InstanceRegistry "
        "object.",
    )
    remove_after_seconds: Seconds = Field(
        None,
        le=31536000,
        description="Seconds without a sign of life after which a worker's own registration is "
        "removed. Unset leaves it to the InstanceRegistry object.",
    )
    status_writes_per_second: Annotated[int | None, Field(ge=1)] = Field(
        None,
        le=10000,
        description="How many statuses are written in a second at the most. Unset leaves it to the "
        "InstanceRegistry object.",
    )
    pods: Pods = part(Pods)
    allowed_networks: list[Cidr] = Field(
        [],
        json_schema_extra={"uniqueItems": True},
        description="The networks, as 10.0.0.0/8, to which the operator connects where a resource "
        "names an address in them: for spec.probe and modelinstance.dev/discover-names. When "
        "empty: all but loopback, link-local and the API server.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="The least level that is logged: debug, info, warning or error.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="How it is logged: as text, or as JSON, in either case an entry a line."
    )
    access_tokens: AccessTokens = part(AccessTokens)
    service: Service = part(Service)
    rbac: Rbac = part(Rbac)
    service_account: ServiceAccount = part(ServiceAccount)
    pod_disruption_budget: PodDisruptionBudget = part(PodDisruptionBudget)
    service_monitor: ServiceMonitor = part(ServiceMonitor)
    network_policy: NetworkPolicy = part(NetworkPolicy)
    resources: Mapping = Field(
        {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        description="What the container asks for. Helm merges mappings: a default goes away only "
        "when it is set to null. So it is with the security contexts.",
    )
    pod_security_context: Mapping = Field(
        {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        description="The pod's security context: fit for the Pod Security Standard 'restricted'.",
    )
    security_context: Mapping = Field(
        {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        description="The container's security context, likewise.",
    )
    labels: Labels = Field({}, description="Labels for all that the chart makes.")
    pod_labels: Labels = Field({}, description="Labels for the pod alone.")
    pod_annotations: Strings = Field({}, description="Annotations for the pod.")
    priority_class_name: str = Field("", description="The pod's priority class.")
    node_selector: Strings = Field(
        {"kubernetes.io/os": "linux"}, description="Labels of the nodes that the pod may be on."
    )
    tolerations: list[Mapping] = Field([], description="Taints that the pod tolerates.")
    affinity: Mapping = Field({}, description="The pod's affinity.")
    topology_spread_constraints: list[Mapping] = Field(
        SPREAD,
        description="How pods spread over nodes and zones. The chart adds the labelSelector where "
        "there is none.",
    )
    termination_grace_period_seconds: int = Field(
        15, ge=0, description="Seconds to stop in. Open requests get two of them."
    )
    extra_env: list[Mapping] = Field(
        [], description="More environment variables of the container, as in a pod's spec."
    )
    extra_env_from: list[Mapping] = Field(
        [], description="ConfigMaps and Secrets with more of them, as in a pod's spec."
    )
    extra_volumes: list[Mapping] = Field(
        [], description="More volumes of the pod, as in a pod's spec."
    )
    extra_volume_mounts: list[Mapping] = Field(
        [], description="Where the container mounts them, as in a pod's spec."
    )


NOT_OURS = {
    "global": {
        "type": "object",
        "description": "Helm passes it to every chart that is part of another; not used here.",
    },
    "enabled": {
        "type": "boolean",
        "description": "Where this chart is part of another, its `condition` may stand here; not "
        "used here.",
    },
}
"""Keys that Helm, or a chart that holds this one, puts among the values."""


def files() -> dict[str, str]:
    """The generated files by path."""
    return {
        "Helm-chart/values.yaml": f"# {NOTE}\n" + "".join(_lines(Values.model_construct())),
        "Helm-chart/values.schema.json": json.dumps(_schema(), indent=2) + "\n",
        "docs/reference/values.md": _page(),
    }


def _fields(part: Part) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Each field's key, what is said of it, and its default."""
    for name, field in type(part).model_fields.items():
        yield field.alias or name, field, getattr(part, name)


def _lines(part: Part, depth: int = 0) -> Iterator[str]:
    """The YAML of a part, each key below its description."""
    margin = "  " * depth
    for position, (key, field, default) in enumerate(_fields(part)):
        if position or depth == 0:
            yield "\n" if depth == 0 else ""
        for line in textwrap.wrap(field.description or "", WIDTH - len(margin) - 2):
            yield f"{margin}# {line}\n"
        if isinstance(default, Part):
            yield f"{margin}{key}:\n"
            yield from _lines(default, depth + 1)
        else:
            text = yaml.safe_dump({key: default}, sort_keys=False, width=WIDTH)
            yield textwrap.indent(text.replace("''", '""'), margin)


def _schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that Helm checks values against."""
    schema = _untitled(Values.model_json_schema())
    schema["properties"] |= NOT_OURS
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _untitled(schema: Any) -> Any:
    """A schema without the titles that only repeat the keys."""
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _untitled(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _page() -> str:
    rows = "".join(
        f"| `{key}` | {f'`{default}`' if default else ''} | {description} |\n"
        for key, default, description in _rows(Values.model_construct())
    )
    return (
        f"<!-- {NOTE} -->\n# Values of the Helm chart\n\n"
        "An unknown key is refused. What Kubernetes itself describes is passed on as it is.\n\n"
        f"| value | default | meaning |\n|---|---|---|\n{rows}"
    )


def _rows(part: Part, above: str = "") -> Iterator[tuple[str, str, str]]:
    for key, field, default in _fields(part):
        if isinstance(default, Part):
            yield from _rows(default, f"{above}{key}.")
        else:
            shown = "" if default is None or default == "" else json.dumps(default)
            yield above + key, shown, field.description or ""
