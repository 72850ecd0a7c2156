"""Names of files in the directory that a cluster's members share."""

from __future__ import annotations

HUB_SOCKET = "hub.sock"
HUB_LOCK = "hub.lock"
HUB_LOG = "hub.log"
JOURNAL = "journal.jsonl"
KNOBS = "standin.json"
BOOTSTRAPPED = "bootstrapped"
SEEKDB = "seekdb"
SEEKDB_SOCKET = "seekdb/run/sql.sock"
