"""Each cluster has its own token and authority, whose certificates are valid for its machines only."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

from cryptography import x509

from rosenblatt.cluster.security import CertificateAuthority, Credentials


def test_machines_of_a_cluster_share_token_and_authority_and_no_key():
    authority = CertificateAuthority("lab")
    a, b = authority.issue(["10.0.0.1"]), authority.issue(["10.0.0.2", "lab2"])
    assert (a.token, a.ca) == (b.token, b.ca)
    assert a.key != b.key
    other = CertificateAuthority("lab").issue(["10.0.0.1"])
    assert other.token != a.token
    assert other.ca != a.ca
    assert len(a.token) == 64


def test_a_certificate_names_its_machine_and_this_one():
    credentials = CertificateAuthority("lab").issue(["10.0.0.2", "lab2"])
    certificate = x509.load_pem_x509_certificate(credentials.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["lab2", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(a) for a in ("10.0.0.2", "127.0.0.1")]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(credentials.ca))
    assert ssl.create_default_context(cadata=credentials.ca.decode()).get_ca_certs()


def test_credentials_are_read_back(tmp_path):
    credentials = CertificateAuthority("lab").issue(["10.0.0.1"])
    for name, content in credentials.files().items():
        (tmp_path / name).write_bytes(content)
    assert Credentials.read(tmp_path) == credentials


def test_certificates_pass_the_strict_checks_of_python_3_13(tmp_path):
    credentials = CertificateAuthority("lab").issue(["127.0.0.1"])
    for name, content in credentials.files().items():
        (tmp_path / name).write_bytes(content)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=credentials.ca.decode())
    server.load_verify_locations(cadata=credentials.ca.decode())
    server.verify_mode = ssl.CERT_REQUIRED
    for context in (server, client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(tmp_path / "node.pem", tmp_path / "node.key")
    a, b = socket.socketpair()
    with a, b, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(server.wrap_socket, a, server_side=True)
        client.wrap_socket(b, server_hostname="127.0.0.1").close()
        accepted.result().close()
