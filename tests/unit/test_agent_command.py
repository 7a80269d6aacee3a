"""The command ``modelinstance agent``: its settings, and how little it needs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from modelinstance.agent.settings import AgentSettings, Target
from modelinstance.client import Pod
from modelinstance.commands import agent as command

REGISTRY = "--registry=http://registry.example"


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the agent would run with; raises `click.ClickException` for what it refuses."""
    seen: list[AgentSettings] = []

    async def work(settings: AgentSettings) -> None:
        await asyncio.sleep(0)
        seen.append(settings)

    monkeypatch.setattr(command, "_work", work)
    monkeypatch.setattr(command, "set_up_logging", lambda *_: None)

    def run(*flags: str, **env: str) -> AgentSettings:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            command.agent.main(list(flags), standalone_mode=False)
        return seen.pop()

    return run


def test_the_least(settings_of: Any) -> None:
    settings = settings_of(REGISTRY, "--host=10.0.0.5")
    assert settings == AgentSettings(
        registries=("http://registry.example",), target=Target("10.0.0.5", 8000)
    )


def test_all_by_flags(settings_of: Any) -> None:
    settings = settings_of(
        REGISTRY, "--registry=https://other.example:8443/prefix", REGISTRY, "--host=FD00::0:5",
        "--port=443", "--scheme=https", "--base-path=/a/v1", "--engine=tgi", "--model=org/m:8b",
        "--alias=a b", "--alias=c", "--weight=0.257", "--label=tier=gold",
        "--label=example.com/zone=", "--namespace=ns", "--heartbeat-timeout=30",
        "--health-path=/ping", "--period=0.5", "--timeout=2", "--failure-threshold=2",
        "--success-threshold=4", "--completion-interval=0", "--completion-timeout=7.5",
        "--drain-seconds=0", "--token-file=/t", "--engine-token-file=/e",
    )  # fmt: skip
    assert settings == AgentSettings(
        registries=("http://registry.example", "https://other.example:8443/prefix"),
        target=Target("fd00::5", 443, "https", "/a/v1"),
        engine="tgi",
        model="org/m:8b",
        aliases=("a b", "c"),
        weight=0.26,
        labels={"tier": "gold", "example.com/zone": ""},
        namespace="ns",
        heartbeat_timeout=30,
        health_path="/ping",
        period=0.5,
        timeout=2,
        failure_threshold=2,
        success_threshold=4,
        completion_interval=0,
        completion_timeout=7.5,
        drain_seconds=0,
        token_file=Path("/t"),
        engine_token_file=Path("/e"),
    )


def test_a_pod_needs_its_environment_alone(settings_of: Any) -> None:
    pod = {
        "MODELINSTANCE_POD_IP": "fd00::5",
        "MODELINSTANCE_POD_NAMESPACE": "models",
        "MODELINSTANCE_POD_NAME": "vicuna-0",
        "MODELINSTANCE_POD_UID": "uid-0",
    }
    several = {
        "MODELINSTANCE_REGISTRY": "http://a.example http://b.example:81",
        "MODELINSTANCE_AGENT_LABEL": "a=1 b=2",
        "MODELINSTANCE_AGENT_PORT": "30000",
        "MODELINSTANCE_PORT": "tcp://10.0.0.1:80",  # Kubernetes' own, for a Service modelinstance
    }
    settings = settings_of(**pod, **several)
    assert settings.registries == ("http://a.example", "http://b.example:81")
    assert settings.target == Target("fd00::5", 30000)
    assert settings.labels == {"a": "1", "b": "2"}
    assert (settings.namespace, settings.pod) == ("models", Pod("vicuna-0", "uid-0"))
    elsewhere = settings_of("--namespace=other", **pod, **several)
    assert elsewhere.pod is None, "an owner is of the same namespace"
    assert settings_of("--host=h.example", **pod, **several).target.host == "h.example"


WRONG: list[tuple[str, str]] = [
    ("--registry=registry.example", r"'registry.example' is not the URL of a registry: write http"),
    ("--registry=ftp://a", r"'ftp://a' is not the URL of a registry"),
    ("--registry=http://", r"'http://' is not the URL of a registry"),
    ("--registry=http://a:port", r"'http://a:port' is not the URL of a registry"),
    ("--registry=http://u:p@a", r"is not the URL of a registry"),
    ("--registry=http://a?b=c", r"is not the URL of a registry"),
    ("--registry=http://a b", r"'http://a b' is not the URL of a registry"),
    ("--registry=http://a..b", r"'http://a..b' is not the URL of a registry"),
    (f"--registry=http://{'a' * 64}.svc", r"is not the URL of a registry"),
    ("--registry=http://a:0", r"'http://a:0' is not the URL of a registry"),
    ("--host=http://a", r"'http://a' is no IP address and no DNS name: write for example 10.0.0.5"),
    ("--host=[fd00::5]", r"no IP address and no DNS name.*no brackets"),
    ("--host=10.0.0.300", r"'10.0.0.300' is no IP address"),
    ("--host=fe80::1%eth0", r"is no IP address"),
    ("--port=0", r"0 is not in the range 1<=x<=65535"),
    ("--scheme=ftp", r"'ftp' is not one of 'http', 'https'"),
    ("--base-path=/v1/", r"'/v1/' is not a path: .* without '/' at its end"),
    ("--base-path=v1", r"'v1' is not a path: write '/' first"),
    ("--health-path=", r"'' is not a path: .* for example /health"),
    ("--health-path=/a?b", r"'/a\?b' is not a path"),
    ("--engine=ollama", r"'ollama' is not one of 'auto', 'vllm', 'sglang', 'llamacpp', 'tgi'"),
    ("--model= m", r"' m' is not the name of a model: write 1 to 253 characters"),
    ("--alias=", r"'' is not the name of a model"),
    ("--weight=0.001", r"--weight=0.001: the least weight above 0 is 0.01"),
    ("--weight=nan", r"--weight=nan: the least weight above 0 is 0.01"),
    ("--label=tier", r"'tier' is no label: write KEY=VALUE"),
    ("--label=a=b c", r"'a=b c' is no label"),
    ("--label=app.kubernetes.io/managed-by=me", r"is set by the registry: leave it out"),
    ("--namespace=No", r"'No' is not the name of a namespace"),
    ("--heartbeat-timeout=10", r"=10 is less than three times --period=5: .*; write at least 15"),
    ("--period=0", r"'0' is not a number of seconds from 0.1 to 300"),
    ("--period=nan", r"'nan' is not a number of seconds"),
    ("--timeout=inf", r"'inf' is not a number of seconds"),
    ("--completion-interval=-1", r"'-1' is not a number of seconds from 0 to 86400"),
    ("--failure-threshold=0", r"0 is not in the range 1<=x<=100"),
    ("--log-level=loud", r"'loud' is not one of 'debug'"),
    ("--log-format=yaml", r"'yaml' is not one of 'text', 'json'"),
]
"""A wrong flag, and what its error has to say."""


@pytest.mark.parametrize(("flag", "sentence"), WRONG, ids=[flag for flag, _ in WRONG])
def test_a_wrong_flag_is_refused(flag: str, sentence: str, settings_of: Any) -> None:
    given = [REGISTRY, "--host=10.0.0.5", flag]
    with pytest.raises(click.UsageError) as refused:
        settings_of(*given)
    assert refused.value.exit_code == 2
    message = refused.value.format_message()
    assert re.search(sentence, message), message
    assert flag.partition("=")[0] in message, message


@pytest.mark.parametrize("url", ["http://me:hush@a", "ftp://me:hush@a", "http://a?token=hush"])
def test_what_may_be_secret_is_not_repeated(url: str, settings_of: Any) -> None:
    with pytest.raises(click.UsageError, match="not shown, it may hold a secret") as refused:
        settings_of(f"--registry={url}", "--host=10.0.0.5")
    assert "hush" not in refused.value.format_message()


@pytest.mark.parametrize(
    "url", ["http://[fd00::5]:8080", "https://a_b.example./path", "http://bücher.example"]
)
def test_what_is_a_registry(url: str, settings_of: Any) -> None:
    assert settings_of(f"--registry={url}", "--host=10.0.0.5").registries == (url,)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--host=h"], "--registry is missing: write the URL of a registry"),
        ([REGISTRY], "--host is missing: .* or set MODELINSTANCE_POD_IP to the pod's IP"),
        (
            [REGISTRY, "--host=h", *["--alias=a"] * 17],
            "--alias is given 17 times: write at most 16",
        ),
        (
            [REGISTRY, "--host=h", *(f"--label=a{number}=b" for number in range(33))],
            "--label is given 33 times: write at most 32",
        ),
    ],
)
def test_what_is_missing_or_too_much(flags: list[str], sentence: str, settings_of: Any) -> None:
    with pytest.raises(click.UsageError, match=sentence):
        settings_of(*flags)


MISTAKES: list[tuple[list[str], str]] = [
    ([REGISTRY, "--host=h", "--port=0"], "Invalid value for '--port'"),
    ([REGISTRY, "--host=h", "--prot=1"], "No such option '--prot'"),
    ([REGISTRY], "--host is missing: write the address"),
    ([REGISTRY, "--host=h", "--heartbeat-timeout=3"], "--heartbeat-timeout=3 is less than three"),
]


def started(flags: list[str], **env: str) -> subprocess.Popen[str]:
    """The command as a process of its own, with nothing of this pod in its environment."""
    clean = {name: value for name, value in os.environ.items() if "MODELINSTANCE_" not in name}
    command = [sys.executable, "-m", "modelinstance", "agent", *flags]
    return subprocess.Popen(command, env=clean | env, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("flags", "sentence"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_wrong_settings_end_it_but_not_in_a_pod(flags: list[str], sentence: str) -> None:
    """A container that ends again and again makes its pod unready, engine and all."""
    with started(flags) as outside:
        _, said = outside.communicate(timeout=60)
    assert (outside.returncode, said.count("\n")) == (2, 1)
    assert said.startswith(f"modelinstance: {sentence}")
    with started([*flags, "--log-format=json"], MODELINSTANCE_POD_UID="uid-0") as inside:
        try:
            assert inside.stderr is not None
            line = inside.stderr.readline()
            if "No such option" not in sentence:  # then no option has been read yet
                entry = json.loads(line)
                line = f"{entry['level']}: {entry['message']}\n"
            assert " ERROR " in f" {line.replace(':', ' ')}"
            assert line.endswith(said.removeprefix("modelinstance: "))
            with pytest.raises(subprocess.TimeoutExpired):
                inside.wait(0.5)
            inside.send_signal(signal.SIGTERM)
            assert inside.wait(60) == 0
            assert not inside.stderr.read(), "the one line is all"
        finally:
            inside.kill()


def test_every_option_tells_its_variable() -> None:
    for option in command.agent.params:
        assert isinstance(option, click.Option)
        assert option.show_envvar, option.name
        assert str(option.envvar or "").startswith("MODELINSTANCE_") or option.envvar, option.name
        assert option.help, option.name
    shown = CliRunner().invoke(command.agent, ["--help"]).output
    assert "MODELINSTANCE_POD_IP" in shown


HEAVY = (
    "kopf", "kubernetes_asyncio", "kube_custom_resource", "fastapi", "starlette", "uvicorn",
    "pydantic", "modelinstance.app", "modelinstance.cluster", "modelinstance.http",
    "modelinstance.api", "modelinstance.metrics",
)  # fmt: skip


def test_it_loads_none_of_the_operators_libraries() -> None:
    code = (
        "import sys; from modelinstance.cli import main; sys.argv[1:] = ['agent', '--help']\n"
        "try: main()\nexcept SystemExit: print('\\n'.join(['modules:', *sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.partition("modules:\n")[2].split())
    assert "modelinstance.agent.run" in loaded
    assert not loaded & set(HEAVY)
