"""Proves to another agent that one knows a password, without telling it the password.

A proof is bound to the keys of both sides, who have shown in the session they speak in that these
are theirs: nobody can use it for somebody else, and none of the two can send it back as its own.
Whoever has received one can only try passwords against it, which costs much for each.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re

_COST, _BLOCK, _LANES = 1 << 14, 8, 1  # some hundredths of a second, 16 MiB
_LABEL = b"pyobshell proof 1"
_PROOF = re.compile(r"[0-9a-f]{128}")


async def prove(password: str, prover: str, verifier: str) -> str:
    """The proof, in hexadecimal; ``prover`` and ``verifier`` are the texts of public keys."""
    return await asyncio.to_thread(_prove, password, prover, verifier)


async def is_proved(proof: str, password: str, prover: str, verifier: str) -> bool:
    """Whether a proof is that of somebody who knows the password."""
    if not _PROOF.fullmatch(proof):  # known without the cost
        return False
    expected = await prove(password, prover, verifier)
    return hmac.compare_digest(proof.encode(), expected.encode())


def _prove(password: str, prover: str, verifier: str) -> str:
    salt = hashlib.sha256(b"\n".join((_LABEL, prover.encode(), verifier.encode()))).digest()
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=_COST, r=_BLOCK, p=_LANES).hex()
