"""The real control plane as every test finds it."""

import json
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from controlplane import Binaries, ControlPlane, KubectlError, StartError
from support.waiting import eventually

LISTEN = "0A"
LOOPBACK = "0100007F"


def events(plane: ControlPlane) -> list[Any]:
    *lines, _unfinished = plane.audit_log.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines]


def listening(pid: int) -> set[str]:
    """The addresses that a process listens on, in the kernel's notation."""
    sockets, found = set(), set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it is closed already
            sockets.add(str(fd.readlink()))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text("ascii").splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTEN and f"socket:[{inode}]" in sockets:
                found.add(local.partition(":")[0])
    return found


def test_admin_may_everything(plane: ControlPlane) -> None:
    assert plane.kubectl("auth", "can-i", "*", "*").stdout.strip() == "yes"
    assert "default" in plane.kubectl("get", "namespaces", "-o", "name").stdout


def test_the_programs_tell_their_real_version(plane: ControlPlane) -> None:
    told = json.loads(plane.kubectl("version", "-o", "json").stdout)
    assert told["clientVersion"]["gitVersion"] == told["serverVersion"]["gitVersion"]
    assert told["serverVersion"]["gitVersion"] != "v0.0.0"


def test_a_new_user_is_known_at_once_and_may_nothing(plane: ControlPlane) -> None:
    plane.add_user("jo", groups=["devs"])
    who = json.loads(plane.kubectl("auth", "whoami", "-o", "json", user="jo").stdout)
    assert who["status"]["userInfo"]["username"] == "jo"
    assert "devs" in who["status"]["userInfo"]["groups"]
    with pytest.raises(
        KubectlError, match=r'User "jo" cannot list resource "namespaces"'
    ) as caught:
        plane.kubectl("get", "namespaces", user="jo")
    assert caught.value.returncode == 1


def test_a_bound_user_may_what_its_role_allows(plane: ControlPlane) -> None:
    plane.add_user("reader")
    plane.kubectl("create", "clusterrole", "ns-reader", "--verb=list", "--resource=namespaces")
    plane.kubectl("create", "clusterrolebinding", "r", "--clusterrole=ns-reader", "--user=reader")
    may = ("auth", "can-i", "list", "namespaces")
    eventually(lambda: plane.kubectl(*may, user="reader", check=False).returncode == 0)
    assert plane.kubectl("get", "namespaces", user="reader").returncode == 0
    refused = plane.kubectl("create", "namespace", "never", user="reader", check=False)
    assert "Forbidden" in refused.stderr


def test_kubectl_takes_input(plane: ControlPlane) -> None:
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "from-input"}}
    plane.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    assert plane.kubectl("get", "namespace", "from-input").returncode == 0


def test_every_request_is_audited_once_it_is_answered(plane: ControlPlane) -> None:
    plane.add_user("watched")
    uri = "/api/v1/namespaces/audited/pods"
    plane.kubectl("get", "--raw", uri, user="watched", check=False)
    (event,) = (event for event in events(plane) if event["user"]["username"] == "watched")
    assert (event["verb"], event["requestURI"], event["level"]) == ("list", uri, "Metadata")
    assert event["responseStatus"]["code"] == 403


def test_credentials_are_private(plane: ControlPlane) -> None:
    kubeconfig = plane.kubeconfig()
    secret = [kubeconfig, *kubeconfig.parent.glob("*"), *(plane.directory / "pki").glob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}


def test_an_unknown_user_has_no_kubeconfig(plane: ControlPlane) -> None:
    with pytest.raises(KeyError, match="nobody"):
        plane.kubeconfig("nobody")


def test_nothing_listens_beyond_loopback(plane: ControlPlane) -> None:
    for pid in (plane.etcd_pid, plane.apiserver_pid):
        assert listening(pid) == {LOOPBACK}


def test_a_server_that_cannot_start_shows_its_log(binaries: Binaries, tmp_path: Path) -> None:
    broken = ControlPlane(binaries, tmp_path, extra_apiserver_args=["--no-such-flag"])
    with pytest.raises(StartError, match="unknown flag: --no-such-flag"):
        broken.start()
    with pytest.raises(StartError, match="etcd is not running"):
        _ = broken.etcd_pid


def test_a_plane_has_no_address_before_its_first_start(binaries: Binaries, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="kube-apiserver has not been started yet"):
        _ = ControlPlane(binaries, tmp_path).url
