"""Which program a profile is of: a pid or a port may be another's by the next run."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("profiles", sa.Column("program_digest", sa.String(40), nullable=False, server_default=""))
