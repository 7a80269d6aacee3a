"""The kustomize bases in ``deploy/``: the chart as Helm renders it, without what is Helm's own.

``cluster-wide/`` has rights in the whole cluster, ``namespaced/`` in its own namespace alone. What
both share is in ``common/``.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import charttools

NAME = "modelinstance-operator"
NAMESPACE = "modelinstance-system"
HEADER = "# Generated from Helm-chart/ by `make generate`.\n"
VALUES = {
    "cluster-wide": ("service.name=modelinstance",),
    "namespaced": (
        "service.name=modelinstance",
        f"namespaces={{{NAMESPACE}}}",
        "rbac.aggregateRoles=false",
    ),
}
"""The bases, and the values that they are rendered with."""

COMMON = "common"
ELSEWHERE = ("crds/", "tests/")
"""Templates whose resources are in ``crds/``, or are hooks of Helm."""

_SOURCE = re.compile(r"^# Source: [^/]+/templates/(\S+)\n")
_HELMS_OWN = re.compile(
    r"^ +(app\.kubernetes\.io/(managed-by|instance)|helm\.sh/chart): .*\n", re.MULTILINE
)


def files(chart: Path) -> dict[str, str]:
    """The bases by path. Raises `subprocess.CalledProcessError` if the chart does not render."""
    helm = charttools.ensure().helm
    bases = {name: _render(helm, chart, values) for name, values in VALUES.items()}
    first, *others = bases.values()
    common = {
        name: text for name, text in first.items() if all(o.get(name) == text for o in others)
    }
    made = {f"deploy/{COMMON}/{name}": text for name, text in common.items()}
    made[f"deploy/{COMMON}/kustomization.yaml"] = _kustomization(common)
    for base, manifests in bases.items():
        own = {name: text for name, text in manifests.items() if name not in common}
        made |= {f"deploy/{base}/{name}": text for name, text in own.items()}
        made[f"deploy/{base}/kustomization.yaml"] = _kustomization(own, f"../{COMMON}")
    return made


def _render(helm: Path, chart: Path, values: tuple[str, ...]) -> dict[str, str]:
    """The manifests by the name of their template."""
    settings = [f"--set={value}" for value in values]
    rendered = subprocess.run(
        [helm, "template", NAME, chart, f"--namespace={NAMESPACE}", *settings],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    manifests: defaultdict[str, list[str]] = defaultdict(list)
    for manifest in re.split(r"^---\n", rendered, flags=re.MULTILINE):
        source = _SOURCE.match(manifest)
        if source is None or source[1].startswith(ELSEWHERE):
            continue
        text = _HELMS_OWN.sub("", manifest[source.end() :])
        manifests[source[1]].append(text.strip() + "\n")
    return {name: HEADER + "---\n".join(texts) for name, texts in sorted(manifests.items())}


def _kustomization(resources: dict[str, str], *others: str) -> str:
    listed = "".join(f"  - {name}\n" for name in (*others, *resources))
    return (
        f"{HEADER}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources:\n{listed}"
    )
