"""What recorded a profile, of which runtime, and what its threads used meanwhile."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("profiles", sa.Column("tool", sa.String(40), nullable=False, server_default=""))
    op.add_column("profiles", sa.Column("runtime", sa.String(40), nullable=False, server_default=""))
    op.add_column("profiles", sa.Column("usage", sa.JSON))
