"""Agents that speak with each other, in front of fake servers."""

from __future__ import annotations

from support.hosting import hosts, keys, start_host

__all__ = ["hosts", "keys", "start_host"]
