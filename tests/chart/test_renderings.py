"""What the chart and ``deploy/`` render is valid by kubeconform and by a real API server."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable

import pytest

from chart.manifests import (
    CHART,
    NAMESPACE,
    OF_THE_CHART,
    RENDERINGS,
    Render,
    Run,
    documents,
    run,
    settings,
)
from charttools import ChartTools
from controlplane import ControlPlane

Check = Callable[[str], subprocess.CompletedProcess[str]]

MISSPELLED = [
    ("defaults", "enableServiceLinks:", "enableServiceLink:"),
    ("defaults", "fieldPath:", "fieldpath:"),
    ("defaults", "maxLength:", "maxLenght:"),
    ("strict", "namespaceSelector:", "namespaceselector:"),
    ("strict", "minAvailable:", "minAvailabel:"),
    ("deploy/samples", "modelName:", "modelname:"),
]
"""Fields of Kubernetes' own kinds, of a CRD's schema and of ours."""


@pytest.fixture
def kubeconform(tools: ChartTools, schema_location: str) -> Check:
    """Checks manifests by schemas."""
    return lambda manifests: run(
        tools.kubeconform, "-strict", "-summary", "-schema-location", schema_location,
        stdin=manifests,
    )  # fmt: skip


@pytest.fixture
def server_side(plane: ControlPlane) -> Check:
    """Has the API server check manifests, in namespaces where only restricted pods are let in.

    It knows no ServiceMonitor.
    """

    def check(manifests: str) -> subprocess.CompletedProcess[str]:
        known = [each for each in documents(manifests) if each["kind"] != "ServiceMonitor"]
        namespaces = {each["metadata"].get("namespace", "default") for each in known}
        before = [namespace(name) for name in sorted(namespaces)]
        before += [account(each) for each in known if each["kind"] == "Pod"]
        listed = {"apiVersion": "v1", "kind": "List", "items": before}
        plane.kubectl("apply", "-f", "-", input=json.dumps(listed))
        pieces = re.split(r"^---$", manifests, flags=re.MULTILINE)
        kept = (each for each in pieces if "\nkind: ServiceMonitor\n" not in each)
        return plane.kubectl(
            "apply", "--dry-run=server", "--validate=strict", "-f", "-",
            input="\n---\n".join(kept), check=False,
        )  # fmt: skip

    return check


def namespace(name: str) -> dict[str, object]:
    """A namespace whose pods have to be restricted; what makes others is warned of."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def account(pod: dict[str, dict[str, str]]) -> dict[str, object]:
    """The ServiceAccount that has to be there before a pod."""
    metadata = {
        "name": pod["spec"]["serviceAccountName"],
        "namespace": pod["metadata"]["namespace"],
    }
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


@pytest.mark.parametrize("values", OF_THE_CHART)
def test_helm_lints(helm: Run, values: str) -> None:
    done = helm("lint", "--strict", CHART, *settings(values))
    assert done.returncode == 0, done.stdout


def test_each_template_is_rendered_with_some_values(render: Render) -> None:
    folder = CHART / "templates"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*.yaml")}
    seen: set[str] = set()
    for name in OF_THE_CHART:
        seen |= set(re.findall(r"^# Source: [^/]+/templates/(.+)$", render(name), re.MULTILINE))
    assert seen == files


@pytest.mark.parametrize("name", RENDERINGS)
def test_is_valid_by_its_schemas(render: Render, kubeconform: Check, name: str) -> None:
    manifests = render(name)
    done = kubeconform(manifests)
    assert done.returncode == 0, done.stdout
    count = len(documents(manifests))
    assert f"Valid: {count}, Invalid: 0, Errors: 0, Skipped: 0" in done.stdout


@pytest.mark.parametrize("name", RENDERINGS)
def test_is_taken_by_an_api_server(render: Render, server_side: Check, name: str) -> None:
    done = server_side(render(name))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    kinds = [each["kind"] for each in documents(render(name))]
    assert len(done.stdout.splitlines()) == len(kinds) - kinds.count("ServiceMonitor")


@pytest.mark.parametrize(("name", "right", "wrong"), MISSPELLED)
def test_a_misspelled_field_is_refused(
    render: Render, kubeconform: Check, server_side: Check, name: str, right: str, wrong: str
) -> None:
    manifests = render(name).replace(right, wrong)
    assert wrong in manifests
    assert f"'{wrong[:-1]}' not allowed" in kubeconform(manifests).stdout
    refused = server_side(manifests)
    assert refused.returncode != 0
    assert wrong[:-1] in refused.stderr


@pytest.mark.parametrize("right", ["scrapeTimeout:", "matchExpressions:", "credentials:"])
def test_a_misspelled_field_of_a_service_monitor_is_refused(
    render: Render, kubeconform: Check, right: str
) -> None:
    manifests = render("strict").replace(right, "misspelled:")
    assert "'misspelled' not allowed" in kubeconform(manifests).stdout


def test_a_wrong_type_is_refused(render: Render, kubeconform: Check, server_side: Check) -> None:
    manifests = render("strict").replace("minAvailable: 1", "minAvailable: [1]")
    assert "/spec/minAvailable" in kubeconform(manifests).stdout
    assert "minAvailable" in server_side(manifests).stderr


def test_a_pod_that_is_not_restricted_is_refused(helm: Run, server_side: Check) -> None:
    setting = "--set=securityContext.allowPrivilegeEscalation=true"
    manifests = helm("template", "r", CHART, f"--namespace={NAMESPACE}", setting).stdout
    refused = server_side(manifests)
    assert 'pods "r-test" is forbidden: violates PodSecurity "restricted' in refused.stderr
    assert 'Warning: would violate PodSecurity "restricted' in refused.stderr
