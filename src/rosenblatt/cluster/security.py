"""A token and a certificate authority for each cluster, with a certificate for each of its machines."""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rosenblatt.errors import ClusterError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

TOKEN_BYTES = 32
VALIDITY = timedelta(days=365)
CLOCK_TOLERANCE = timedelta(days=1)  # certificates are valid from that long ago
TOKEN_FILE, CA_FILE, CERTIFICATE_FILE, KEY_FILE = "token", "ca.pem", "node.pem", "node.key"
AUTHORITY_KEY_FILE = "ca.key"  # of clusters whose machines are not known before they start


@dataclass(frozen=True)
class Credentials:
    """What one machine needs to be part of a cluster; the certificates and the key as PEM."""

    token: str
    ca: bytes
    certificate: bytes
    key: bytes

    @classmethod
    def read(cls, folder: Path) -> Credentials:
        """Read the files of a folder."""
        ca, certificate, key = ((folder / name).read_bytes() for name in (CA_FILE, CERTIFICATE_FILE, KEY_FILE))
        return cls((folder / TOKEN_FILE).read_text(), ca, certificate, key)

    def files(self) -> dict[str, bytes]:
        """Contents by file name; nobody else may read them."""
        return {
            TOKEN_FILE: self.token.encode(),
            CA_FILE: self.ca,
            CERTIFICATE_FILE: self.certificate,
            KEY_FILE: self.key,
        }


class CertificateAuthority:
    """The authority of one cluster, with its token. Its key is only written for clusters whose machines make
    their certificates themselves (`shared_files`); others get no further machines.

    credentials = CertificateAuthority("lab").issue(["10.0.0.1"])
    """

    def __init__(self, cluster: str, folder: Path | None = None) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            raise ClusterError("cryptography is not installed. Run: pip install 'rosenblatt[cluster]'") from None
        if folder is not None:
            self._read(folder)
            return
        self._token = secrets.token_hex(TOKEN_BYTES)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"Rosenblatt cluster {cluster}")
        self._certificate = self._sign(self._name, self._key, addresses=())

    @classmethod
    def from_files(cls, folder: Path) -> Self:
        """Read an authority from the files of `shared_files`. Raises ClusterError."""
        return cls("", folder)

    def _read(self, folder: Path) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            key = serialization.load_pem_private_key((folder / AUTHORITY_KEY_FILE).read_bytes(), None)
            self._certificate = x509.load_pem_x509_certificate((folder / CA_FILE).read_bytes())
            token = folder / TOKEN_FILE  # of Kubernetes, KubeRay makes it
            self._token = token.read_text() if token.exists() else ""
        except (OSError, ValueError) as error:
            raise ClusterError(f"The authority of the cluster in {str(folder)!r} cannot be read: {error}.") from error
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - of `shared_files`
        self._key, self._name = key, self._certificate.subject

    def shared_files(self) -> dict[str, bytes]:
        """The authority by file name, for machines that make their certificates when they start.

        Each of them can then issue certificates, so this is only for clusters whose machines are not known before.
        """
        from cryptography.hazmat.primitives import serialization

        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return {
            TOKEN_FILE: self._token.encode(),
            CA_FILE: self._certificate.public_bytes(pem),
            AUTHORITY_KEY_FILE: self._key.private_bytes(pem, pkcs8, serialization.NoEncryption()),
        }

    def write(self, folder: Path) -> None:
        """Write the files of `shared_files` to a folder, for this user only."""
        for name, content in self.shared_files().items():
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)

    def issue(self, addresses: Iterable[str]) -> Credentials:
        """Issue the credentials of a machine that is known under names or addresses."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        names = tuple(dict.fromkeys([*addresses, "127.0.0.1", "localhost"]))
        certificate = self._sign(_name(names[0]), key, names)
        pem = serialization.Encoding.PEM
        return Credentials(
            self._token,
            self._certificate.public_bytes(pem),
            certificate.public_bytes(pem),
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        )

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, addresses: tuple[str, ...]
    ) -> x509.Certificate:
        """Sign a certificate, of the authority itself if there are no addresses."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import ExtendedKeyUsageOID

        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_TOLERANCE)
            .not_valid_after(now + VALIDITY)
            .add_extension(x509.BasicConstraints(ca=not addresses, path_length=None), critical=True)
            .add_extension(_key_usage(is_authority=not addresses), critical=True)  # Python 3.13 and later need it
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if addresses:
            usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            names = x509.SubjectAlternativeName([_general_name(address) for address in addresses])
            builder = builder.add_extension(names, critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # 64: its limit in X.509


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(address: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)
