"""A control plane of etcd and kube-apiserver, with the faults that tests need.

Both servers listen on loopback only and end with this process, even when it is killed. There are
no controllers: see `commands.apiserver_command` for what that leaves out.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from controlplane import commands
from controlplane.access import ADMIN, Access
from controlplane.binaries import Binaries
from controlplane.errors import KubectlError
from controlplane.server import Server

START_TIMEOUT = 90.0
"""Seconds for one server to become ready; two to four are usual."""

STOP_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL: with open watches kube-apiserver takes ten to go."""


class ControlPlane:
    """One cluster's control plane; as a context manager it starts on entry and stops on exit.

    `directory` keeps etcd's data, the audit log, both servers' logs and all credentials. A new
    `ControlPlane` on a used directory finds the objects again, with new keys and ports. The
    ports of one `ControlPlane` stay the same over all its restarts. `token_users` maps the name
    of each bearer-token user to its groups.
    """

    def __init__(
        self,
        binaries: Binaries,
        directory: Path,
        *,
        extra_apiserver_args: Sequence[str] = (),
        token_users: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory = directory = directory.resolve()
        self._binaries = binaries
        self._extra = tuple(extra_apiserver_args)
        self._access = Access(directory, {"operator": ()} if token_users is None else token_users)
        self._trust = self._access.trust()
        self._backups = 0
        policy = json.dumps(commands.AUDIT_POLICY)
        (directory / "audit-policy.json").write_text(policy, encoding="utf-8")
        self._etcd = Server(
            "etcd",
            directory / "etcd.log",
            lambda port: commands.etcd_command(binaries.etcd, self._data_dir, port),
            commands.etcd_ready,
        )
        self._apiserver = Server(
            "kube-apiserver",
            directory / "kube-apiserver.log",
            self._apiserver_command,
            lambda port: commands.apiserver_ready(port, self._trust),
        )

    def start(self) -> None:
        """Start what does not run, and wait until the API server is ready."""
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            self._etcd.start(START_TIMEOUT)
            self._apiserver.start(START_TIMEOUT)
            on_failure.pop_all()

    def stop(self) -> None:
        """End both servers; the directory and the ports remain for another start."""
        self._apiserver.stop(STOP_GRACE)
        self._etcd.stop(STOP_GRACE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def wait(self) -> int | None:
        """Wait for the API server's end, however it comes; its exit code."""
        return self._apiserver.wait()

    # What clients need

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://{commands.HOST}:{self._apiserver.port}"

    @property
    def port(self) -> int:
        """The API server's port on 127.0.0.1."""
        return self._apiserver.port

    @property
    def etcd_url(self) -> str:
        """Etcd's client address; it takes no credentials."""
        return f"http://{commands.HOST}:{self._etcd.port}"

    @property
    def audit_log(self) -> Path:
        """One JSON event a line for each request, complete as soon as it is answered."""
        return self.directory / "audit.log"

    @property
    def ca_data(self) -> bytes:
        """The certificate of the authority that signed the API server's, in PEM."""
        return self._access.ca_data

    @property
    def ca_file(self) -> Path:
        """The same in a file."""
        return self._access.ca_file

    def issue_server_cert(self) -> tuple[Path, Path]:
        """A certificate and key for another server on loopback: (cert path, key path)."""
        return self._access.issue_server_cert()

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """A kubeconfig with a certificate for `admin` or a user that was added."""
        return self._access.kubeconfig(user, self.url)

    def kubeconfig_for(self, server: str, user: str = ADMIN) -> Path:
        """The same for another address of this API server, such as a proxy's on loopback."""
        return self._access.kubeconfig(user, server)

    def add_user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a new user, known to the running API server at once, bound to nothing.

        The name may be a service account's: `system:serviceaccount:NAMESPACE:NAME`.
        """
        self._access.add_user(name, groups)
        return self.kubeconfig(name)

    def token_user(self, name: str = "operator") -> str:
        """The bearer token of one of `token_users`."""
        return self._access.token(name)

    def set_token(self, name: str, token: str) -> None:
        """Change a token user's token from the API server's next start on.

        Clients that still send the old one get a 401 until it is set back in the same way.
        """
        self._access.set_token(name, token)

    def token_kubeconfig(
        self, user: str = "operator", *, server: str | None = None, token: str | None = None
    ) -> Path:
        """A kubeconfig with a bearer token: the given one, else the current one of `user`."""
        return self._access.token_kubeconfig(
            user, server or self.url, token or self._access.token(user)
        )

    def kubectl(
        self,
        *args: str,
        user: str = ADMIN,
        input: str | None = None,  # noqa: A002 - as subprocess.run names it
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as `user`; with `check` a failure is a `KubectlError`."""
        environ = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig(user)),
            "KUBECACHEDIR": str(self.directory / "kubectl-cache"),
        }
        done = subprocess.run(
            [self._binaries.kubectl, *args],
            env=environ,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise KubectlError(args, done.returncode, done.stderr)
        return done

    # Faults

    @property
    def apiserver_pid(self) -> int:
        """The pid of kube-apiserver itself."""
        return self._apiserver.pid

    @property
    def etcd_pid(self) -> int:
        """The pid of etcd itself."""
        return self._etcd.pid

    def start_apiserver(self) -> None:
        """Start the API server, on the same port and etcd, and wait until it is ready."""
        self._apiserver.start(START_TIMEOUT)

    def stop_apiserver(self, grace: float = STOP_GRACE) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds."""
        self._apiserver.stop(grace)

    def restart_apiserver(self) -> None:
        """Kill and start the API server; it reads its token file anew."""
        self._apiserver.kill()
        self.start_apiserver()

    def kill_apiserver(self) -> None:
        """SIGKILL: its connections are reset and new ones refused."""
        self._apiserver.kill()

    def pause_apiserver(self) -> None:
        """SIGSTOP: connections are still accepted, and nothing is answered."""
        self._apiserver.pause()

    def resume_apiserver(self) -> None:
        """SIGCONT."""
        self._apiserver.resume()

    def start_etcd(self) -> None:
        """Start etcd, on the same port and data, and wait until it is ready."""
        self._etcd.start(START_TIMEOUT)

    def kill_etcd(self) -> None:
        """SIGKILL."""
        self._etcd.kill()

    def stop_etcd(self, grace: float = STOP_GRACE) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds."""
        self._etcd.stop(grace)

    def pause_etcd(self) -> None:
        """SIGSTOP: the API server's requests to it hang."""
        self._etcd.pause()

    def resume_etcd(self) -> None:
        """SIGCONT."""
        self._etcd.resume()

    def compact_etcd(self) -> int:
        """Drop etcd's history; tells the revision that is left.

        The API server still knows the history that it has in memory. After `restart_apiserver`
        older continue tokens get a 410.
        """
        return commands.compact_etcd(self._etcd.port)

    def backup_etcd(self) -> Path:
        """Copy etcd's data; both servers are stopped meanwhile and run afterwards."""
        self.stop()
        self._backups += 1
        backup = self.directory / f"etcd-backup-{self._backups}"
        shutil.rmtree(backup, ignore_errors=True)
        shutil.copytree(self._data_dir, backup)
        self.start()
        return backup

    def restore_etcd(self, backup: Path) -> None:
        """Put a backup back: objects and resource versions are those of its time again."""
        self.stop()
        shutil.rmtree(self._data_dir)
        shutil.copytree(backup, self._data_dir)
        self.start()

    @property
    def _data_dir(self) -> Path:
        return self.directory / "etcd"

    def _apiserver_command(self, port: int) -> list[str]:
        return commands.apiserver_command(
            self._binaries.kube_apiserver, self.directory, self._etcd.port, port, self._extra
        )
