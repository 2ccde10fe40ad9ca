"""Certificates for tests of TLS."""

import subprocess


def make_certificates(folder):
    """A certificate authority, and a certificate of localhost that it signed, with its key."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Tests", "-days", "2")
    openssl("req", *new_key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    signer = "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2"
    openssl("x509", "-req", "-in", "request.pem", *signer, "-out", "cert.pem")
    return folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
