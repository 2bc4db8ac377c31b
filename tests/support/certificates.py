"""Certificates that the tests make for themselves, with the `openssl` program.

They are EC, which takes milliseconds, unless RSA is asked for. Each is its own file, as is
its key; an `Authority` vouches for what it has issued.
"""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.stopping import stop

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("-newkey", "rsa:2048")
WEAK_RSA = ("-newkey", "rsa:1024")

SETTINGS = """\
[ca]
default_ca = here
[here]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:FALSE
subjectAltName = {names}
"""
LOOPBACK = "IP:127.0.0.1, DNS:localhost"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key."""

    path: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.path.read_text())).hexdigest()


@dataclass(frozen=True, slots=True)
class Authority:
    """A certification authority in a folder of its own."""

    folder: Path
    certificate: Certificate

    @property
    def path(self) -> Path:
        """The file to believe in."""
        return self.certificate.path

    def issue(
        self,
        name: str,
        *,
        names: str = LOOPBACK,
        days: tuple[float, float] = (-1, 365),
        algorithm: tuple[str, ...] = EC,
        passphrase: str = "",
    ) -> Certificate:
        """Make a key and vouch for it.

        Args:
            name: its common name, and that of its files.
            names: its Subject Alternative Name.
            days: from when to when it is valid, counted from now.
            algorithm: options of `openssl req`.
            passphrase: encrypts the key; without it, the key is open.
        """
        request = self.folder / f"{name}.csr"
        issued = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        secret = ("-passout", f"pass:{passphrase}") if passphrase else ("-nodes",)
        _openssl("req", "-new", *algorithm, *secret, "-subj", f"/CN={name}",
                 "-keyout", str(issued.key), "-out", str(request))  # fmt: skip
        by = ("-cert", str(self.path), "-keyfile", str(self.certificate.key))
        _sign(
            self.folder,
            request,
            issued.path,
            days=days,
            names=names,
            by=(*by, "-extensions", "leaf"),
        )
        return issued


def make_authority(folder: Path, name: str = "Test CA") -> Authority:
    """Make an authority; skip where there is no `openssl`."""
    if shutil.which("openssl") is None:
        stop("not installed: openssl")
    folder.mkdir(parents=True)
    (folder / "index.txt").touch()
    request = folder / "ca.csr"
    made = Certificate(folder / "ca.pem", folder / "ca.key")
    _openssl("req", "-new", *EC, "-nodes", "-subj", f"/CN={name}",
             "-keyout", str(made.key), "-out", str(request))  # fmt: skip
    by = ("-selfsign", "-keyfile", str(made.key), "-extensions", "authority")
    _sign(folder, request, made.path, days=(-2, 3650), names=LOOPBACK, by=by)
    return Authority(folder, made)


def _sign(
    folder: Path,
    request: Path,
    out: Path,
    *,
    days: tuple[float, float],
    names: str,
    by: tuple[str, ...],
) -> None:
    """Sign a request, valid for a time that may lie in the past."""
    settings = folder / "openssl.cnf"
    settings.write_text(SETTINGS.format(folder=folder, names=names))
    first, last = (
        (datetime.now(UTC) + timedelta(days=each)).strftime("%Y%m%d%H%M%SZ") for each in days
    )
    _openssl("ca", "-batch", "-notext", "-config", str(settings), *by, "-startdate", first,
             "-enddate", last, "-in", str(request), "-out", str(out))  # fmt: skip


def _openssl(*arguments: str) -> None:
    result = subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {result.stderr}")
