"""Values are checked by a schema that knows all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from chart.manifests import CHART, VALUES, Run
from chart.schemas import leaves

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

WRONG = [
    ("{imag: {}}", "additional properties 'imag' not allowed"),
    ("{networkPolicy: {apiServer: {ports: []}}}", "at '/networkPolicy/apiServer/ports': minItems"),
    ("{image: {repository: ''}}", "at '/image/repository': minLength"),
    ("{image: {tag: a b}}", "at '/image/tag': 'a b' does not match pattern"),
    ("{host: localhost}", "at '/host': 'localhost' does not match pattern"),
    ("{replicas: 2}", "additional properties 'replicas' not allowed"),
    ("{image: {tagg: v1}}", "at '/image': additional properties 'tagg' not allowed"),
    (
        "{networkPolicy: {apiServer: {port: 443}}}",
        "at '/networkPolicy/apiServer': additional properties 'port' not allowed",
    ),
    (
        "{serviceMonitor: {tokenSecret: {secretName: a}}}",
        "at '/serviceMonitor/tokenSecret': additional properties 'secretName' not allowed",
    ),
    ("{imagePullSecrets: [pull]}", "at '/imagePullSecrets/0': got string, want object"),
    ("{imagePullSecrets: [{names: pull}]}", "at '/imagePullSecrets/0'"),
    ("{image: {digest: 'sha256:abc'}}", "at '/image/digest': 'sha256:abc' does not match pattern"),
    ("{image: {pullPolicy: Sometimes}}", "at '/image/pullPolicy': value must be one of"),
    ("{image: {tag: 1.2}}", "at '/image/tag': got number, want string"),
    ("{crds: {install: 'no'}}", "at '/crds/install': got string, want boolean"),
    ("{namespaces: models}", "at '/namespaces': got string, want array"),
    ("{namespaces: [Models]}", "at '/namespaces/0': 'Models' does not match pattern"),
    ("{namespaces: [models_a]}", "at '/namespaces/0': 'models_a' does not match pattern"),
    ("{namespaces: [a, b, a]}", "at '/namespaces': items at 0 and 2 are equal"),
    ("{namespaces: ['']}", "at '/namespaces/0': '' does not match pattern"),
    ("{defaultNamespace: -a}", "at '/defaultNamespace': '-a' does not match pattern"),
    ("{heartbeatTimeoutSeconds: 0}", "at '/heartbeatTimeoutSeconds': minimum: got 0, want 1"),
    ("{heartbeatTimeoutSeconds: 86401}", "at '/heartbeatTimeoutSeconds': maximum"),
    ("{heartbeatTimeoutSeconds: 1.5}", "at '/heartbeatTimeoutSeconds': got number, want integer"),
    ("{heartbeatTimeoutSeconds: 60s}", "at '/heartbeatTimeoutSeconds': got string"),
    ("{resyncIntervalSeconds: 3601}", "at '/resyncIntervalSeconds': maximum"),
    ("{removeAfterSeconds: 31536001}", "at '/removeAfterSeconds': maximum"),
    ("{statusWritesPerSecond: 0}", "at '/statusWritesPerSecond': minimum: got 0, want 1"),
    ("{statusWritesPerSecond: 10001}", "at '/statusWritesPerSecond': maximum"),
    ("{terminationGracePeriodSeconds: -1}", "at '/terminationGracePeriodSeconds': minimum"),
    ("{allowedNetworks: [10.0.0.1]}", "at '/allowedNetworks/0': '10.0.0.1' does not match pattern"),
    ("{pods: {enable: true}}", "at '/pods': additional properties 'enable' not allowed"),
    ("{logLevel: trace}", "at '/logLevel': value must be one of"),
    ("{logFormat: yaml}", "at '/logFormat': value must be one of"),
    ("{accessTokens: {key: ''}}", "at '/accessTokens/key': minLength"),
    ("{service: {port: 65536}}", "at '/service/port': maximum"),
    ("{service: {port: http}}", "at '/service/port': got string, want integer"),
    (f"{{service: {{name: {'a' * 55}}}}}", "at '/service/name': maxLength"),
    (f"{{fullnameOverride: {'a' * 54}}}", "at '/fullnameOverride': maxLength"),
    ("{podDisruptionBudget: {maxUnavailable: half}}", "'half' does not match pattern"),
    (
        "{podDisruptionBudget: {minAvailable: -1}}",
        "at '/podDisruptionBudget/minAvailable': minimum",
    ),
    ("{networkPolicy: {from: {podSelector: {}}}}", "at '/networkPolicy/from': got object"),
    (
        "{networkPolicy: {apiServer: {ports: [0]}}}",
        "at '/networkPolicy/apiServer/ports/0': minimum",
    ),
    ("{labels: {a: 1}}", "at '/labels/a': got number, want string"),
    ("{extraEnv: {A: b}}", "at '/extraEnv': got object, want array"),
]


@pytest.mark.parametrize(("values", "message"), WRONG)
def test_wrong_values_are_refused_by_name(helm: Run, values: str, message: str) -> None:
    refused = helm("template", "r", CHART, "--values=-", stdin=values)
    assert refused.returncode != 0
    assert message in refused.stdout


def test_what_helm_and_other_charts_put_in_is_let_through(helm: Run) -> None:
    values = "{global: {imageRegistry: example.com}, enabled: true}"
    done = helm("template", "r", CHART, "--values=-", stdin=values)
    assert done.returncode == 0, done.stdout
    assert done.stdout == helm("template", "r", CHART).stdout


@pytest.mark.parametrize(
    "part", [SCHEMA, *SCHEMA["$defs"].values()], ids=["values", *SCHEMA["$defs"]]
)
def test_each_value_is_described(part: dict[str, Any]) -> None:
    for key, value in part["properties"].items():
        referred = SCHEMA["$defs"].get(value.get("$ref", "").rpartition("/")[2], {})
        assert value.get("description") or referred.get("description"), key
    assert part["additionalProperties"] is False


def value_at(values: Any, path: tuple[str, ...]) -> Any:
    """What stands there, or None."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def test_everything_yaml_sets_each_value_to_another_than_its_default() -> None:
    values = yaml.safe_load(VALUES["everything"].read_text(encoding="utf-8"))
    forgotten = [
        ".".join(path)
        for path, schema in leaves(SCHEMA)
        if value_at(values, path) in (None, schema.get("default"))
    ]
    assert not forgotten


def test_the_defaults_in_the_schema_are_those_of_the_values() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for path, schema in leaves(SCHEMA):
        assert value_at(values, path) == schema.get("default"), path
