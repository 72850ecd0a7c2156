"""Look the locked dependencies up among known vulnerabilities: `make audit`.

pip-audit lives in an environment of its own, pinned with hashes in ``audit.lock``. It calls what
its service does not know, or cannot tell, "skipped", and ends well all the same; here that is no
success.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

_PATIENCE_S = 300
ROOT = Path(__file__).resolve().parents[1]
LOCKS = (ROOT / "requirements.lock", ROOT / "tools/audit.lock")


class Exit(IntEnum):
    """How an audit can end."""

    CLEAN = 0
    VULNERABLE = 1
    NOT_AUDITED = 3


def audit(program: Path, locks: Sequence[Path] = LOCKS) -> Exit:
    """Audit lock files with a pip-audit, and say how that went on stdout."""
    verdicts = [_audit(program, lock) for lock in locks]
    return Exit.VULNERABLE if Exit.VULNERABLE in verdicts else max(verdicts)


def _audit(program: Path, lock: Path) -> Exit:
    command = [program, "--requirement", lock, "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(  # noqa: S603 - a list of words
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
        found = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired) as error:
        return _not_audited(lock, str(error))
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        return _not_audited(lock, said[-1])
    vulnerable = [one for one in found if one.get("vulns")]
    skipped = [one for one in found if "skip_reason" in one]
    for one in vulnerable:
        for each in one["vulns"]:
            mended = ", ".join(each.get("fix_versions", [])) or "no release yet"
            print(f"{one['name']} {one['version']}: {each['id']}, mended in {mended}")
    if vulnerable:
        return Exit.VULNERABLE
    if skipped or not found:
        reason = skipped[0]["skip_reason"] if skipped else "nothing is in it"
        return _not_audited(lock, f"{len(skipped)} of {len(found)} are not known there: {reason}")
    print(f"{lock.name}: none of {len(found)} has a known vulnerability")
    return Exit.CLEAN


def _not_audited(lock: Path, why: str) -> Exit:
    print(f"{lock.name}: NOT AUDITED, for the service of vulnerabilities cannot be asked: {why}")
    return Exit.NOT_AUDITED


if __name__ == "__main__":
    sys.exit(audit(Path(sys.argv[1])))
