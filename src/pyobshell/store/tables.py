"""What is kept on disk, one table each; times are nanoseconds since the Unix epoch (UTC)."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql

metadata = MetaData()

# SQLite counts a row id up only for INTEGER keys; OceanBase wants 64 bits.
_Id = BigInteger().with_variant(Integer, "sqlite")
# In OceanBase a TEXT ends after 64 KiB.
_Long = Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
_Moment = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")

dag = Table(
    "dag",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("name", String(128), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("max_stage", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("operator", String(16), nullable=False),
    Column("maintenance_type", Integer, nullable=False),
    Column("maintenance_key", String(128), nullable=False),
    Column("params", _Long, nullable=False),
    Column("data", _Long, nullable=False),
    Column("signals", Text, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False),
    # When it was recorded, or RETRY was asked for; ``start_time`` is when it was taken into work.
    Column("ordered_at", BigInteger, nullable=False, server_default="0"),
    Index("dag_state", "state"),
    sqlite_autoincrement=True,
)

node = Table(
    "node",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("dag_id", ForeignKey("dag.id", ondelete="CASCADE"), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("name", String(128), nullable=False),
    Column("stage_key", String(128), nullable=False),
    # Whether its agents were named when the DAG was made; if not, whoever runs the DAG does it.
    Column("parallel", Integer, nullable=False, server_default="0"),
    Column("state", String(16), nullable=False),
    Column("operator", String(16), nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False),
    Index("node_dag_stage", "dag_id", "stage", unique=True),
    sqlite_autoincrement=True,
)

sub_task = Table(
    "sub_task",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("node_id", ForeignKey("node.id", ondelete="CASCADE"), nullable=False),
    Column("dag_id", BigInteger, nullable=False),
    Column("name", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("operator", String(16), nullable=False),
    Column("agent_ip", String(64), nullable=False),
    Column("agent_port", Integer, nullable=False),
    Column("execute_times", Integer, nullable=False),
    Column("abilities", Integer, nullable=False),
    Column("data", _Long, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False),
    Index("sub_task_node", "node_id", "state"),
    Index("sub_task_dag", "dag_id"),
    sqlite_autoincrement=True,
)

sub_task_log = Table(
    "sub_task_log",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("sub_task_id", ForeignKey("sub_task.id", ondelete="CASCADE"), nullable=False),
    Column("execute_times", Integer, nullable=False),
    Column("content", _Long, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Index("sub_task_log_sub_task", "sub_task_id"),
    sqlite_autoincrement=True,
)

# A lock is a row that names the DAG it belongs to; it cannot outlive that DAG.
maintenance = Table(
    "maintenance",
    metadata,
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("lock_key", String(128), primary_key=True),
    Column("dag_id", ForeignKey("dag.id", ondelete="CASCADE"), nullable=False),
    Column("locked_at", BigInteger, nullable=False),
)

member = Table(
    "member",
    metadata,
    Column("ip", String(64), primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, nullable=False),
    Column("identity", String(32), nullable=False),
    Column("zone", String(128), nullable=False),
    Column("version", String(64), nullable=False),
    Column("server_version", String(128), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("mysql_port", Integer, nullable=False),
    Column("rpc_port", Integer, nullable=False),
    Column("home_path", Text, nullable=False),
    Column("architecture", String(32), nullable=False),
)

setting = Table(
    "setting",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("value", Text, nullable=False),
)

server_setting = Table(
    "server_setting",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("scope", String(16), nullable=False),
    Column("target", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("value", Text, nullable=False),
    sqlite_autoincrement=True,
)

# The lease of the agent that runs the cluster's DAGs: one row, and only in the database `ocs`.
# Its moments are those of the database's clock, in UTC.
maintainer = Table(
    "maintainer",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("agent_ip", String(64), nullable=False),
    Column("agent_port", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("renewals", BigInteger, nullable=False),
    Column("expires", _Moment, nullable=False),
    Column("members_version", BigInteger, nullable=False),
)

# The audit trail of this agent, only in its own database: who asked it for a change. ``status`` and
# what follows it are null until the request is answered; the DAG is named by its generic id, and
# may be gone.
audit_record = Table(
    "audit_record",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("moment", BigInteger, nullable=False),
    Column("trace_id", String(64), nullable=False),
    Column("who", String(128), nullable=False),
    Column("uid", BigInteger, nullable=True),
    Column("pid", BigInteger, nullable=True),
    Column("client", String(64), nullable=False),
    Column("method", String(16), nullable=False),
    Column("path", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("dag_id", String(64), nullable=True),
    Column("status", Integer, nullable=True),
    Column("error_code", String(128), nullable=True),
    Column("duration_ms", BigInteger, nullable=True),
    Index("audit_record_moment", "moment"),
    sqlite_autoincrement=True,
)
