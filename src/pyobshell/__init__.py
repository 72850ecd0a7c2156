"""An agent that operates OceanBase clusters, compatible with OBShell's HTTP API."""

__version__ = "0.1.0"
