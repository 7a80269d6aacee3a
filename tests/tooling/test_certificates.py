"""What the throwaway authority signs is accepted where it should be, and nowhere else."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from controlplane.certificates import Authority, KeyPair


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Complete a TLS handshake in memory, or raise what the client objects to."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    open_ends = [near, far]
    while open_ends:
        for end in list(open_ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_ends.remove(end)


def server_context(pair: KeyPair, folder: Path) -> ssl.SSLContext:
    certificate, key = folder / "server.crt", folder / "server.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def trusting(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::1"])
def test_a_server_is_trusted_on_loopback(tmp_path: Path, name: str) -> None:
    authority = Authority.create("ours")
    server = server_context(authority.issue_server(), tmp_path)
    handshake(trusting(authority), server, name)


def test_a_server_is_not_trusted_by_another_name(tmp_path: Path) -> None:
    authority = Authority.create("ours")
    server = server_context(authority.issue_server(), tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"192\.0\.2\.1"):
        handshake(trusting(authority), server, "192.0.2.1")


def test_a_server_is_not_trusted_by_another_authority(tmp_path: Path) -> None:
    server = server_context(Authority.create("same").issue_server(), tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(trusting(Authority.create("same")), server, "127.0.0.1")


def test_a_client_is_named_as_kubernetes_reads_it() -> None:
    pair = Authority.create("ours").issue_client("jo", ["devs", "ops"])
    subject = x509.load_pem_x509_certificate(pair.certificate).subject
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["jo"]
    groups = [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert groups == ["devs", "ops"]
