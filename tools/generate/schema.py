"""Makes CustomResourceDefinitions from the models of the resources.

The library makes the bulk; what it leaves out is completed here in one step: defaults of spec
fields, field descriptions, selectable fields, formats, and no schema words that the API server
does not take.
"""

from __future__ import annotations

from typing import Any

import yaml
from kube_custom_resource.registry import CustomResourceRegistry
from pydantic import BaseModel

from modelinstance import api
from modelinstance.api import v1alpha1

CATEGORY = "model-serving"

SELECTABLE_FIELDS = {
    "ModelInstance": (
        ".spec.modelName", ".spec.host", ".spec.rotation", ".status.phase",
    ),
}  # fmt: skip
"""Fields for ``kubectl get --field-selector`` (Kubernetes 1.31 or later). Scalars only."""


def generate() -> dict[str, str]:
    """The CRDs as YAML texts by file name."""
    registry = CustomResourceRegistry(api.GROUP, [CATEGORY])
    registry.discover_models(v1alpha1)
    files = {}
    for definition in registry:
        crd = definition.kubernetes_resource(include_defaults=True)
        model = definition.versions[api.VERSION].model
        _complete(crd, model)
        name = f"{definition.plural_name}.{api.GROUP}.yaml"
        text = yaml.safe_dump(crd, sort_keys=False, width=100)
        files[name] = "# Generated from operator/modelinstance/api by `make generate`.\n" + text
    return files


def _complete(crd: dict[str, Any], model: type[BaseModel]) -> None:
    version = crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    _describe(schema, model)
    _fill_defaults(schema["properties"]["spec"])
    _plain(schema)
    if not schema["required"]:
        del schema["required"]
    spec = schema["properties"]["spec"]
    if "default" in spec:
        spec["default"] = {}
    _drop_defaults(schema["properties"]["status"])
    if fields := SELECTABLE_FIELDS.get(crd["spec"]["names"]["kind"]):
        version["selectableFields"] = [{"jsonPath": path} for path in fields]


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put back the descriptions of fields, which the library replaces by their class's."""
    for name, field in model.model_fields.items():
        properties = schema.get("properties", {})
        sub = properties.get(field.alias or name)
        if sub is None:
            continue
        if field.description:
            sub["description"] = field.description
        for nested in _models_in(field.annotation):
            target = sub.get("items", sub) if sub.get("type") == "array" else sub
            _describe(target, nested)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = []
    for argument in getattr(annotation, "__args__", ()):
        found += _models_in(argument)
    return found


def _plain(schema: dict[str, Any]) -> None:
    """Say integers as Kubernetes does, and nothing of nullability: unset means absent."""
    schema.pop("nullable", None)
    if schema.get("type") == "integer":
        bits = 32 if schema.get("maximum", 2**63) < 2**31 else 64
        schema["format"] = f"int{bits}"
    if schema.get("default", ...) is None:
        del schema["default"]
    for child in (*schema.get("properties", {}).values(), schema.get("items")):
        if isinstance(child, dict):
            _plain(child)


def _fill_defaults(schema: dict[str, Any]) -> None:
    """Give an object that has fields with defaults a default, or theirs would never come.

    Not one whose own default is ``None``: that it is there at all says something.
    """
    for child in schema.get("properties", {}).values():
        if child.get("type") == "object":
            _fill_defaults(child)
            fields = child.get("properties", {}).values()
            there = child.get("default", ...) is not None
            if there and any(field.get("default") is not None for field in fields):
                child["default"] = {}


def _drop_defaults(schema: dict[str, Any]) -> None:
    schema.pop("default", None)
    for child in (*schema.get("properties", {}).values(), schema.get("items")):
        if isinstance(child, dict):
            _drop_defaults(child)
