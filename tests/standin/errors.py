"""The errors of OceanBase that the stand-in gives by itself."""

from __future__ import annotations


class SqlError(Exception):
    """An error that goes to the client with this number."""

    def __init__(self, errno: int, message: str, state: str = "HY000") -> None:
        super().__init__(message)
        self.errno = errno
        self.message = message
        self.state = state


def access_denied(user: str) -> SqlError:
    """A wrong user or password."""
    message = f"Access denied for user '{user}'@'xxx.xxx.xxx.xxx' (using password: YES)"
    return SqlError(1045, message, "42000")


def syntax(near: str) -> SqlError:
    """A statement that is not understood."""
    message = f"You have an error in your SQL syntax near '{near[:80]}'"
    return SqlError(1064, message, "42000")


def privilege_needed() -> SqlError:
    """A statement that is root's alone."""
    message = "Access denied; you need (at least one of) the ALTER SYSTEM privilege(s)"
    return SqlError(1227, message, "42501")


def timeout(microseconds: int) -> SqlError:
    """The end of the query timeout."""
    return SqlError(
        4012,
        f"Timeout, query has reached the maximum query timeout: {microseconds}(us), maybe you can"
        " adjust the session variable ob_query_timeout or query_timeout hint, and try again.",
    )


def invalid(what: str) -> SqlError:
    """A bad value."""
    return SqlError(4002, f"Incorrect arguments to {what}")


def initialized_twice() -> SqlError:
    """A second BOOTSTRAP."""
    return SqlError(4006, "Initialized twice")


def initializing() -> SqlError:
    """A server that does not serve yet."""
    return SqlError(8001, "Server is initializing")


def entry_exists(what: str) -> SqlError:
    """What should be added is there."""
    return SqlError(4017, f"Entry already exist: {what}")


def not_allowed(what: str) -> SqlError:
    """An operation that the state of the cluster forbids."""
    return SqlError(4179, f"{what} not allowed")


def unreachable(server: str) -> SqlError:
    """No process listens on an RPC port."""
    return SqlError(4121, f"RPC send error: {server}")


def no_table(name: str) -> SqlError:
    """A table that does not exist."""
    return SqlError(1146, f"Table '{name}' doesn't exist", "42S02")


def zone_exists() -> SqlError:
    """ADD ZONE of a zone that is there."""
    return SqlError(4531, "Zone entry exists")


def zone_unknown() -> SqlError:
    """No zone of that name."""
    return SqlError(4530, "Zone entry not exist")


def server_is_deleted() -> SqlError:
    """DELETE SERVER of one that is being deleted."""
    return SqlError(4628, "Server already deleted")


def server_not_deleting() -> SqlError:
    """CANCEL DELETE SERVER of one that is not being deleted."""
    return SqlError(4629, "Server is not deleting")


def server_unknown() -> SqlError:
    """No member with that address."""
    return SqlError(4630, "Server is not in the list")


def server_zone_mismatch() -> SqlError:
    """A server that belongs to another zone."""
    return SqlError(4631, "Server and zone do not match")


def zone_status() -> SqlError:
    """A zone that is in the wrong state for a statement."""
    return SqlError(4633, "zone status not match")


def zone_not_active() -> SqlError:
    """A server is added to a stopped zone."""
    return SqlError(4655, "zone not active")


def stopped_elsewhere() -> SqlError:
    """Something in another zone is stopped."""
    return SqlError(
        4660,
        "there are already servers stopped in another zone: cannot stop server or stop zone in"
        " multiple zones",
    )


def zone_not_empty() -> SqlError:
    """DELETE ZONE with servers left in it."""
    return SqlError(4668, "The zone is not empty")


def delete_not_allowed(why: str) -> SqlError:
    """DELETE SERVER that would leave units without a place."""
    return SqlError(4745, f"Delete server not allowed: {why}")


def unknown_parameter() -> SqlError:
    """ALTER SYSTEM SET of a name that is no parameter."""
    return SqlError(5099, "System config unknown")
