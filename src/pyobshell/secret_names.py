"""Which names are those of secrets: what they name is neither logged nor recorded."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"
"""What stands in the place of a secret."""

# Those that OBShell masks, and whatever else is named like a secret.
_NAMES = frozenset(
    {
        "context",
        "data_base_uri",
        "backup_base_uri",
        "archive_base_uri",
        "data_backup_uri",
        "archive_log_uri",
        "decryption",
        "encryption",
        "aes_key",
        "ssl_external_kms_info",
        "pass",
        "pswd",
        "pw",
        "auth",
        "keys",
        "rp",
    }
)
WORDS: Final = (
    r"passw|passphrase|pwd|secret|token|credential|kms|access_?key|access_?id|aes_?key|private_?key"
    r"|api_?key|authorization|ocs_?auth|cookie"
)
"""In a regular expression: whatever has one of them in its name is taken for a secret."""

_LIKE = re.compile(WORDS)


def is_secret(name: str) -> bool:
    """Whether what has this name is not to be seen."""
    plain = name.casefold().replace("-", "_")
    return plain in _NAMES or _LIKE.search(plain) is not None
