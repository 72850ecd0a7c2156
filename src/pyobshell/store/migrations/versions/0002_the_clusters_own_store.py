"""The lease of the agent that runs the cluster's DAGs, and which stages are whose"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "maintainer",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("agent_ip", sa.String(length=64), nullable=False),
        sa.Column("agent_port", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("renewals", sa.BigInteger(), nullable=False),
        sa.Column(
            "expires", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql"), nullable=False
        ),
        sa.Column("members_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        if_not_exists=True,
    )
    if op.get_bind().dialect.name == "mysql":
        op.execute(
            "INSERT IGNORE INTO maintainer"
            " (id, agent_ip, agent_port, epoch, renewals, expires, members_version)"
            " VALUES (1, '', 0, 0, 0, UTC_TIMESTAMP(6), 0)"
        )
    # OceanBase commits each change of a table by itself: an earlier run may have made this one.
    columns = op.get_bind().execute(sa.text("SELECT * FROM node WHERE id = 0")).keys()
    if "parallel" not in columns:
        op.add_column(
            "node", sa.Column("parallel", sa.Integer(), server_default="0", nullable=False)
        )
