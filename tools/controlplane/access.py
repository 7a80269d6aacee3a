"""Who may speak to the API server: its keys, certificates, tokens and kubeconfigs on disk.

Everything is written below one directory, readable by its owner alone. The keys are new with
every `Access`, so nothing that an earlier one issued is valid any more.
"""

import base64
import hashlib
import re
import secrets
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from controlplane.certificates import Authority, KeyPair, key_pem, new_key

ADMIN = "admin"


class Access:
    """Issues credentials for one API server. Certificate users need no restart of it."""

    def __init__(self, directory: Path, token_users: Mapping[str, Sequence[str]]) -> None:
        self._pki = directory / "pki"
        self._kubeconfigs = directory / "kubeconfigs"
        for folder in (self._pki, self._kubeconfigs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._authority = Authority.create("modelinstance-controlplane")
        self._clients = {ADMIN: self._authority.issue_client(ADMIN, ["system:masters"])}
        self._groups = {user: tuple(groups) for user, groups in token_users.items()}
        self._tokens = {user: secrets.token_urlsafe(24) for user in token_users}
        self._servers = 0
        self.ca_file = _write(self._pki / "ca.crt", self._authority.pem)
        self._write_pair("apiserver", self._authority.issue_server())
        _write(self._pki / "service-accounts.key", key_pem(new_key()))
        self._write_tokens()

    @property
    def ca_data(self) -> bytes:
        """The authority's certificate in PEM."""
        return self._authority.pem

    def trust(self) -> ssl.SSLContext:
        """For a client that trusts this authority and nobody else."""
        return ssl.create_default_context(cadata=self.ca_data.decode())

    def issue_server_cert(self) -> tuple[Path, Path]:
        """A certificate and key for another TLS server on loopback, as paths of PEM files."""
        self._servers += 1
        return self._write_pair(f"server-{self._servers}", self._authority.issue_server())

    def add_user(self, name: str, groups: Sequence[str]) -> None:
        """Issue a client certificate; a second one for the same name replaces the first."""
        self._clients[name] = self._authority.issue_client(name, groups)

    def token(self, user: str) -> str:
        """The bearer token of a token user; `KeyError` for any other name."""
        return self._tokens[user]

    def set_token(self, user: str, token: str) -> None:
        """Give a token user, new or known, this token; valid once the API server restarts."""
        self._tokens[user] = token
        self._groups.setdefault(user, ())
        self._write_tokens()

    def kubeconfig(self, user: str, server: str) -> Path:
        """A kubeconfig file with the user's client certificate; `KeyError` for no such user."""
        pair = self._clients[user]
        identity = {
            "client-certificate-data": _base64(pair.certificate),
            "client-key-data": _base64(pair.key),
        }
        return self._write_kubeconfig(user, server, identity, "certificate")

    def token_kubeconfig(self, user: str, server: str, token: str) -> Path:
        """A kubeconfig file with a bearer token."""
        return self._write_kubeconfig(user, server, {"token": token}, "token")

    def _write_kubeconfig(
        self, user: str, server: str, identity: Mapping[str, str], kind: str
    ) -> Path:
        cluster = {"server": server, "certificate-authority-data": _base64(self.ca_data)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": dict(identity)}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }
        text = yaml.safe_dump(content, sort_keys=False)
        readable = re.sub(r"[^A-Za-z0-9.-]+", "-", user)
        unique = hashlib.sha256(text.encode()).hexdigest()[:8]
        return _write(self._kubeconfigs / f"{readable}-{kind}-{unique}.yaml", text.encode())

    def _write_pair(self, name: str, pair: KeyPair) -> tuple[Path, Path]:
        certificate = _write(self._pki / f"{name}.crt", pair.certificate)
        return certificate, _write(self._pki / f"{name}.key", pair.key)

    def _write_tokens(self) -> None:
        lines = [
            f'"{token}","{user}","{user}","{",".join(self._groups[user])}"\n'
            for user, token in self._tokens.items()
        ]
        _write(self._pki / "tokens.csv", "".join(lines).encode())


def _write(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
