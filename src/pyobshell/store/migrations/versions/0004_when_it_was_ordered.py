"""When each DAG was ordered, whenever it is taken into work"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # OceanBase commits each change of a table by itself: an earlier run may have made this one.
    columns = op.get_bind().execute(sa.text("SELECT * FROM dag WHERE id = 0")).keys()
    if "ordered_at" not in columns:
        op.add_column(
            "dag", sa.Column("ordered_at", sa.BigInteger(), server_default="0", nullable=False)
        )
    op.execute("UPDATE dag SET ordered_at = start_time WHERE ordered_at = 0")
