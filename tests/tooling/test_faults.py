"""What tests do to a control plane, each time to one of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from controlplane import Binaries, ControlPlane
from support.waiting import eventually
from tooling.processes import Exit

OWNER = """
import sys
from pathlib import Path
from controlplane import ControlPlane, ensure
plane = ControlPlane(ensure(), Path(sys.argv[1]))
plane.start()
print(plane.etcd_pid, plane.apiserver_pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def frail(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that each test leaves running, though perhaps not as it found it."""
    with ControlPlane(binaries, tmp_path_factory.mktemp("frail")) as running:
        yield running


def namespaces(plane: ControlPlane) -> set[str]:
    return set(plane.kubectl("get", "namespaces", "-o", "name").stdout.split())


def test_a_killed_api_server_comes_back_with_its_data(
    frail: ControlPlane, exit_of: Callable[[int], Exit]
) -> None:
    frail.kubectl("create", "namespace", "survivor")
    url, ended = frail.url, exit_of(frail.apiserver_pid)
    frail.kill_apiserver()
    assert ended.wait(0)
    assert "refused" in frail.kubectl("get", "namespaces", check=False).stderr
    frail.start_apiserver()
    assert frail.url == url
    assert "namespace/survivor" in namespaces(frail)


def test_a_paused_api_server_is_silent_until_resumed(frail: ControlPlane) -> None:
    frail.pause_apiserver()
    silent = frail.kubectl("get", "namespaces", "--request-timeout=500ms", check=False)
    frail.resume_apiserver()
    assert silent.returncode != 0
    assert namespaces(frail)


def test_a_killed_etcd_comes_back_with_its_data(
    frail: ControlPlane, exit_of: Callable[[int], Exit]
) -> None:
    frail.kubectl("create", "namespace", "kept")
    url, ended = frail.etcd_url, exit_of(frail.etcd_pid)
    frail.kill_etcd()
    assert ended.wait(0)
    frail.start_etcd()
    assert frail.etcd_url == url
    get = ("get", "namespace", "kept")  # it may be a moment before the API server connects again
    eventually(lambda: frail.kubectl(*get, check=False).returncode == 0)
    assert "namespace/kept" in namespaces(frail)


def test_writes_hang_while_etcd_is_paused(frail: ControlPlane) -> None:
    create = ("create", "namespace", "held", "--request-timeout=500ms")
    frail.pause_etcd()
    silent = frail.kubectl(*create, check=False)
    frail.resume_etcd()
    assert silent.returncode != 0
    assert namespaces(frail)


def test_a_restored_backup_goes_back_in_time(frail: ControlPlane) -> None:
    frail.kubectl("create", "namespace", "before")
    backup = frail.backup_etcd()
    frail.kubectl("create", "namespace", "after")
    frail.kubectl("delete", "namespace", "before", "--wait=false")
    frail.restore_etcd(backup)
    assert "namespace/before" in namespaces(frail)
    assert "namespace/after" not in namespaces(frail)


def test_after_compaction_a_continue_token_is_gone(frail: ControlPlane) -> None:
    page = json.loads(frail.kubectl("get", "--raw", "/api/v1/namespaces?limit=1").stdout)
    token = page["metadata"]["continue"]
    following = f"/api/v1/namespaces?limit=1&continue={token}"
    frail.kubectl("get", "--raw", following)
    frail.kubectl("create", "namespace", "newer")
    frail.compact_etcd()
    frail.restart_apiserver()
    gone = frail.kubectl("get", "--raw", following, check=False)
    assert "too old" in gone.stderr


def test_a_token_can_be_taken_away_and_given_back(frail: ControlPlane) -> None:
    token = frail.token_user()

    def whoami() -> subprocess.CompletedProcess[str]:
        kubeconfig = f"--kubeconfig={frail.token_kubeconfig(token=token)}"
        return frail.kubectl("auth", "whoami", kubeconfig, check=False)

    assert "operator" in whoami().stdout
    frail.set_token("operator", "another")
    frail.restart_apiserver()
    assert "Unauthorized" in whoami().stderr
    frail.set_token("operator", token)
    frail.restart_apiserver()
    assert "operator" in whoami().stdout


def test_both_servers_end_with_a_killed_parent(
    binaries: Binaries,
    tmp_path: Path,
    tool_environ: Mapping[str, str],
    exit_of: Callable[[int], Exit],
) -> None:
    environ = {**tool_environ, "KUBEBUILDER_ASSETS": str(binaries.etcd.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 2
        exits = [exit_of(pid) for pid in pids]
        owner.kill()
    assert all(each.wait() for each in exits)
