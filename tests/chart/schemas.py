"""JSON schemas for kubeconform, made of what an API server says of its own kinds.

An object is closed wherever its properties are given, so that a misspelled field is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

Schema = dict[str, Any]

LOCATION = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
"""The name of the file of a kind, for ``kubeconform -schema-location``."""

_CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
_PROPS = {"$ref": f"#/definitions/{_CRD}JSONSchemaProps"}
_STRINGS = {"type": "array", "items": {"type": "string"}}
_UNSAID: Mapping[str, Schema] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    f"{_CRD}JSONSchemaPropsOrArray": {"anyOf": [_PROPS, {"type": "array", "items": _PROPS}]},
    f"{_CRD}JSONSchemaPropsOrBool": {"anyOf": [_PROPS, {"type": "boolean"}]},
    f"{_CRD}JSONSchemaPropsOrStringArray": {"anyOf": [_PROPS, _STRINGS]},
}
"""Types of which OpenAPI v2 does not tell all that they take."""


def write(openapi: Mapping[str, Any], directory: Path) -> None:
    """The schemas of all kinds in an API server's OpenAPI v2 document, and the ServiceMonitor's."""
    definitions = openapi["definitions"] | _UNSAID
    _dump(
        directory / "definitions.json",
        {"definitions": {name: closed(each) for name, each in definitions.items()}},
    )
    for name, definition in definitions.items():
        reference = {"$ref": f"definitions.json#/definitions/{name}"}
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            path = directory / _file(kind["group"], kind["version"], kind["kind"])
            _dump(path, reference)
    monitor = ServiceMonitor.model_json_schema(by_alias=True)
    _dump(
        directory / _file("monitoring.coreos.com", "v1", "ServiceMonitor"),
        closed(monitor)
        | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        | {"$defs": {name: closed(each) for name, each in monitor["$defs"].items()}},
    )


def closed(schema: Schema) -> Schema:
    """A schema that takes no properties but its own, all the way down."""
    made = dict(schema)
    if "properties" in made:
        made["properties"] = {key: closed(each) for key, each in made["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = closed(made[key])
    for key in ("anyOf", "allOf", "oneOf"):
        if key in made:
            made[key] = [closed(each) for each in made[key]]
    return made


def leaves(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Each value that a values schema describes, but for the mappings that only hold others."""
    yield from _leaves(schema, schema["$defs"], path)


def _leaves(
    schema: Schema, definitions: Mapping[str, Schema], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Schema]]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "properties" not in schema:
        yield path, schema
    for key, each in schema.get("properties", {}).items():
        yield from _leaves(each, definitions, (*path, key))


def _file(group: str, version: str, kind: str) -> str:
    """The name that kubeconform has in `LOCATION`: of a group it takes the first label alone."""
    parts = [kind, *([group.split(".")[0]] if group else []), version]
    return "-".join(parts).lower() + ".json"


def _dump(path: Path, schema: Schema) -> None:
    path.write_text(json.dumps(schema), encoding="utf-8")
