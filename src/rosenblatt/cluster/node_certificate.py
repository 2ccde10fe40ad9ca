"""Make the certificate of a machine on the machine itself, where its addresses are not known before it starts.

python -m rosenblatt.cluster.node_certificate AUTHORITY FOLDER [ADDRESS]...
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from rosenblatt.cluster.security import CA_FILE, CERTIFICATE_FILE, KEY_FILE, CertificateAuthority


def write_certificate(authority: Path, folder: Path, addresses: Sequence[str] = ()) -> None:
    """Write the certificate of the authority of a cluster, and certificate and key of this machine.

    Args:
        authority: Folder with the files of `CertificateAuthority.shared_files`.
        folder: The folder to write to, which may be the same.
        addresses: More names or addresses of this machine, besides those of its network interfaces.
    """
    credentials = CertificateAuthority.from_files(authority).issue([*own_addresses(), *addresses])
    for name in (CA_FILE, CERTIFICATE_FILE, KEY_FILE):
        path = folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(credentials.files()[name])


def own_addresses() -> list[str]:
    """Names and addresses of this machine."""
    families = (socket.AF_INET, socket.AF_INET6)
    interfaces = psutil.net_if_addrs().values()
    addresses = [entry.address for entries in interfaces for entry in entries if entry.family in families]
    return [socket.gethostname(), *(address.partition("%")[0] for address in addresses)]


if __name__ == "__main__":
    write_certificate(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
