"""What is written wrong is refused at once, in a sentence that says what to write instead."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from modelinstance.cli import main
from modelinstance.commands.serving import run
from support.cluster import HOME, Cluster

ACCEPTED: list[dict[str, Any]] = [
    {"port": 1}, {"port": 65535}, {"weight": 0}, {"weight": 2147483647},
    {"host": "10.0.0.5"}, {"host": "fd00::5"}, {"host": "localhost"}, {"host": "a.b.svc."},
    {"host": "GPU-1.Example"}, {"modelName": "meta-llama/Llama-3.1-8B@v1:lora"},
    {"aliases": [f"alias-{number}" for number in range(16)]},
    {"basePath": ""}, {"basePath": "/v1"}, {"basePath": "/a/b-c"},
    {"heartbeat": {"timeoutSeconds": 1}}, {"heartbeat": {"timeoutSeconds": 86400}},
]  # fmt: skip

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"port": 0}, "spec.port in body should be greater than or equal to 1"),
    ({"port": 70000}, "spec.port in body should be less than or equal to 65535"),
    ({"host": "http://a"}, "host must not hold a scheme: write only the IP address or DNS name"),
    ({"host": "a b"}, "host must not hold a space: write one IP address or DNS name"),
    ({"host": "[fd00::5]"}, "host must not hold brackets: write an IPv6 address bare"),
    ({"host": "a:8000"}, "host must be an IP address or a DNS name, for example 10.0.0.5"),
    ({"host": "a/path"}, "host must be an IP address or a DNS name, for example 10.0.0.5"),
    ({"host": "fd00::5%eth0"}, "host must be an IP address or a DNS name"),
    ({"host": ""}, "host must not be empty: write an IP address or a DNS name"),
    ({"modelName": ""}, "a model name must not be empty"),
    ({"modelName": " m"}, "must not begin or end with a space"),
    ({"modelName": "a\tb"}, "must hold no control characters: write the name that routers ask for"),
    ({"modelName": "m\n"}, "must not begin or end with a space"),
    ({"modelName": "x" * 254}, "spec.modelName: Too long: may not be more than 253"),
    ({"weight": -1}, "spec.weight in body should be greater than or equal to 0"),
    ({"weight": 0.5}, "spec.weight in body must be of type int32"),
    ({"heartbeat": {"timeoutSeconds": 0}}, "spec.heartbeat.timeoutSeconds in body should be"),
    ({"heartbeat": {"timeoutSeconds": 86401}}, "should be less than or equal to 86400"),
    ({"scheme": "grpc"}, 'spec.scheme: Unsupported value: "grpc": supported values: "http"'),
    ({"rotation": "active"}, 'supported values: "Active", "Draining", "Disabled"'),
    ({"basePath": "v1"}, "a base path must begin with '/', must not end with '/'"),
    ({"basePath": "/v1/"}, "a base path must begin with '/', must not end with '/'"),
    ({"basePath": "/v1?x=1"}, "must hold no space, '?' or '#': write for example /v1"),
    ({"aliases": ["a", "a"]}, 'spec.aliases[1]: Duplicate value: "a"'),
    ({"aliases": [f"a{n}" for n in range(17)]}, "spec.aliases: Too many: 17: must have at most 16"),
    ({"aliases": [""]}, "a model name must not be empty"),
    ({"wieght": 1}, 'unknown field "spec.wieght"'),
]


def short(value: object) -> str:
    """An id for a case."""
    return str(value)[:40]


def test_what_is_right_is_accepted(cluster: Cluster) -> None:
    for spec in ACCEPTED:
        manifest = cluster.manifest("a", **spec)
        assert "created" in cluster.apply(manifest, "--dry-run=server"), spec


@pytest.mark.parametrize(("spec", "sentence"), REFUSED, ids=short)
def test_a_bad_instance_is_refused_at_kubectl_apply(
    spec: dict[str, Any], sentence: str, cluster: Cluster
) -> None:
    answer = refusal(cluster, cluster.manifest("a", **spec))
    assert sentence in answer
    assert "pattern" not in answer, "a regular expression is no answer"


@pytest.mark.parametrize("field", ["modelName", "host", "port"])
def test_an_instance_without_a_required_field_is_refused(field: str, cluster: Cluster) -> None:
    manifest = cluster.manifest("a")
    del manifest["spec"][field]
    assert f"spec.{field}: Required value" in refusal(cluster, manifest)


@pytest.mark.parametrize(
    ("name", "spec", "sentence"),
    [
        ("default", {"heartbeat": {"timeoutSeconds": 0}}, "should be greater than or equal to 1"),
        ("default", {"resyncIntervalSeconds": 3601}, "should be less than or equal to 3600"),
        ("default", {"statusWritesPerSecond": 0}, "should be greater than or equal to 1"),
        ("other", {}, "only the InstanceRegistry named default is read: use that name"),
    ],
    ids=short,
)
def test_a_bad_instance_registry_is_refused(
    name: str, spec: dict[str, Any], sentence: str, cluster: Cluster
) -> None:
    manifest = {
        "apiVersion": "modelinstance.dev/v1alpha1",
        "kind": "InstanceRegistry",
        "metadata": {"name": name, "namespace": HOME},
        "spec": spec,
    }
    assert sentence in refusal(cluster, manifest)


def refusal(cluster: Cluster, manifest: dict[str, Any]) -> str:
    """What kubectl says to a manifest that must not be taken."""
    done = cluster.plane.kubectl(
        "apply", "--dry-run=server", "-f", "-", input=yaml.safe_dump(manifest), check=False
    )
    assert done.returncode != 0
    return done.stderr


# -- the command ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How the command ended: its exit status, and what it wrote to its streams."""

    status: int
    output: str
    error: str


Run = Callable[..., Ended]


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """``modelinstance run`` with arguments and variables, in this process, which is quicker."""

    def call(*arguments: str, **variables: str) -> Ended:
        with monkeypatch.context() as patch:
            for name in os.environ:
                if name.startswith(("MODELINSTANCE_", "KUBE")):
                    patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["modelinstance", "run", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        return Ended(int(ended.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


USAGE = 2
SETTINGS: list[tuple[str, str, int, str]] = [
    ("--port", "70000", USAGE, r"'--port'.*70000 is not in the range 0<=x<=65535"),
    ("--port", "http", USAGE, r"'--port'.*'http' is not a valid integer"),
    ("--namespace", "Not_One", USAGE, r"'Not_One' is not the name of a namespace: write lower"),
    ("--operator-namespace", "a/b", USAGE, r"'a/b' is not the name of a namespace: write lower"),
    ("--heartbeat-timeout", "0", USAGE, r"'0' is not a whole number of seconds from 1 to 86400"),
    ("--heartbeat-timeout", "soon", USAGE, r"'soon' is not a whole number of seconds from 1 to"),
    ("--resync-interval", "3601", USAGE, r"'3601' is not a whole number of seconds from 1 to 3600"),
    ("--status-writes-per-second", "0", USAGE, r"0 is not in the range 1<=x<=10000"),
    ("--log-level", "loud", USAGE, r"'loud' is not one of 'debug', 'info', 'warning', 'error'"),
    ("--log-format", "yaml", USAGE, r"'yaml' is not one of 'text', 'json'"),
    ("--host", "no such host", 1, r"--host=no such host .*; choose an address of this machine"),
    ("--port", "{taken}", 1, r"cannot serve on .*--port={taken}: .*in use.*; .*a free port"),
    ("--kubeconfig", "/does/not/exist", 1, r"'/does/not/exist' does not exist: set KUBECONFIG or"),
    ("--kubeconfig", "{garbage}", 1, r"cannot use the .* credentials: .*garbage\.yaml is no kube"),
    ("--kubeconfig", "{binary}", 1, r"cannot use the .* credentials: .*binary\.yaml is no kube"),
    ("--kubeconfig", "{empty}", 1, r"cannot use the .* credentials: .*empty\.yaml is no kubeconf"),
    ("--kubeconfig", "{other}", 1, r"cannot use the .* credentials: .*current-context in .*other"),
]
"""A flag, a bad value for it, the exit status, and what the one line has to say."""
FILES = {
    "garbage": b"][ no kubeconfig", "empty": b"", "binary": b"\xff\x00\x01", "other": b"a: 1",
}  # fmt: skip
"""What may stand in a file that is no kubeconfig."""


@pytest.mark.parametrize("setting", SETTINGS, ids=short)
def test_a_bad_setting_stops_the_start_with_one_line(
    setting: tuple[str, str, int, str], tmp_path: Path, taken_port: int, run_here: Run
) -> None:
    flag, value, status, sentence = setting
    for name, content in FILES.items():
        (tmp_path / f"{name}.yaml").write_bytes(content)
    files = {name: tmp_path / f"{name}.yaml" for name in FILES}
    value = value.format(taken=taken_port, **files)
    sentence = sentence.replace("{taken}", str(taken_port))
    variable = "MODELINSTANCE_" + flag.removeprefix("--").replace("-", "_").upper()
    elsewhere = [] if flag == "--port" else ["--port=0"]
    if flag != "--kubeconfig":
        elsewhere.append("--kubeconfig=/does/not/matter")
    for ended in (
        run_here(f"{flag}={value}", *elsewhere),
        run_here(*elsewhere, **{variable: value}),
    ):
        assert ended.output == ""
        assert ended.error.count("\n") == 1, ended.error
        assert ended.error.startswith("modelinstance: ")
        assert re.search(sentence, ended.error)
        assert ended.status == status


@pytest.mark.parametrize(
    ("flag", "status"), [("--port=70000", USAGE), ("--kubeconfig=/does/not/exist", 1)]
)
def test_the_process_ends_with_that_line_and_status(flag: str, status: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "modelinstance", "run", "--port=0", flag],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == status
    assert ended.stdout == ""
    assert re.fullmatch(r"modelinstance: .*\n", ended.stderr)


def test_a_flag_goes_before_its_variable(run_here: Run) -> None:
    ended = run_here("--port=0", "--kubeconfig=/flag", MODELINSTANCE_KUBECONFIG="/variable")
    assert ended.status == 1
    assert "'/flag'" in ended.error


def test_kubeconfig_is_read_unless_the_operators_own_variable_is_set(run_here: Run) -> None:
    assert "'/usual'" in run_here("--port=0", KUBECONFIG="/usual").error
    both = run_here("--port=0", KUBECONFIG="/usual", MODELINSTANCE_KUBECONFIG="/own")
    assert "'/own'" in both.error


def test_help_lists_every_flag_with_its_variable_and_default(run_here: Run) -> None:
    ended = run_here("--help")
    assert (ended.status, ended.error) == (0, "")
    text = " ".join(ended.output.split())
    for option in run.params:
        assert isinstance(option, click.Option)
        flag = option.opts[0]
        flags = " / ".join([flag, *option.secondary_opts])
        entry = text.partition(f"{flags} ")[2].partition(" --")[0]
        assert f"MODELINSTANCE_{flag.removeprefix('--').replace('-', '_').upper()}" in entry, flag
        assert re.search(r"[dD]efault: \S+", entry), flag
