"""A CA for tests, files of agents and clients it has certified, and doors to such agents."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pyobshell.address import Address
from pyobshell.security import certificates
from pyobshell.security.certificates import Authority, Pair
from pyobshell.security.tls import calling_context
from support.agents import Host
from support.asking import Api


class Certified:
    """A CA and what it has certified, as files below a directory."""

    def __init__(self, directory: Path, name: str = "CA of tests") -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.authority = Authority.make(name)
        self.ca = directory / "ca.crt"
        self.ca.write_bytes(self.authority.pair.certificate)
        self.client = self.keep("client", self.authority.for_client("client"))

    def keep(self, name: str, pair: Pair) -> tuple[Path, Path]:
        """Certificate and key as files, in the place of those of that name."""
        cert, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        cert.write_bytes(pair.certificate)
        key.touch(mode=0o600)
        key.write_bytes(pair.key)
        return cert, key

    def files(self, address: Address, days: float = 30) -> dict[str, Any]:
        """Settings of an agent that has a certificate."""
        pair = self.authority.for_agent([address.ip], days)
        cert, key = self.keep(f"{address.ip}-{address.port}", pair)
        return {"tls_cert": cert, "tls_key": key}

    def mutual(self, address: Address) -> dict[str, Any]:
        """Settings of an agent that speaks mutual TLS and nothing else."""
        return {**self.files(address), "tls_ca": self.ca, "tls": "required"}

    def context(self, *shown: Path) -> ssl.SSLContext:
        """A client's, which shows a certificate (and its key) if any is given."""
        return calling_context(self.ca, *shown)


def signed_by_himself() -> Pair:
    """The certificate of somebody who is no CA, and has signed it himself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), certificates._named("himself")
    builder = certificates._unsigned(name, name, key.public_key(), 30)
    none = x509.BasicConstraints(ca=False, path_length=None)
    signed = builder.add_extension(none, critical=True).sign(key, hashes.SHA256())
    return certificates._pair(signed, key)


@contextlib.asynccontextmanager
async def secured(host: Host, context: ssl.SSLContext) -> AsyncIterator[Api]:
    """A door to an agent over TLS."""
    api = Api(httpx.AsyncHTTPTransport(verify=context), host.address, trusted=False)
    api.http.base_url = httpx.URL(f"https://{host.address}")
    api.password = host.api.password
    try:
        yield api
    finally:
        await api.close()
