"""Agents that operate fake servers."""

from __future__ import annotations

from support.hosting import hosts, keys, member, start_host, start_member, unchanged_member

__all__ = ["hosts", "keys", "member", "start_host", "start_member", "unchanged_member"]
