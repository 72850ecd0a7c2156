"""A typed client of the API, for the command line and for users' own Python."""

from pyobshell.client.client import Client
from pyobshell.client.failures import ApiError, Unreachable

__all__ = ["ApiError", "Client", "Unreachable"]
