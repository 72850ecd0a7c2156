"""Agents to ask, in front of fake servers."""

from __future__ import annotations

from support.hosting import (
    cheap_proofs,
    hosts,
    keys,
    member,
    start_host,
    start_member,
    start_unchanged,
    unchanged_master,
    unchanged_member,
    unchanged_single,
)

__all__ = [
    "cheap_proofs",
    "hosts",
    "keys",
    "member",
    "start_host",
    "start_member",
    "start_unchanged",
    "unchanged_master",
    "unchanged_member",
    "unchanged_single",
]
