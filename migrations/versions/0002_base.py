"""Where the journal begins: the last record that was compacted away

Every migration keeps these rules:

- The previous release must still be able to read and append while this one is in place: nodes are upgraded
  one after another. Add; drop only what the previous release no longer names.
- Tables only. A journaled payload is never rewritten; a changed event gets a new version and an upcaster.
- It imports nothing from `esdfs`: it must mean the same in ten years.
- `downgrade` undoes it. Raise REVISION in `esdfs/journal/tables.py`.

Revision: 0002, after 0001. A release that knows only 0001 reads and appends as before, as long as nothing
was compacted: do not turn compaction on before every node has this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    base = op.create_table(
        "journal_base",
        sa.Column("one", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("last_txid", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("ts_us", sa.BigInteger, nullable=False),
        sa.CheckConstraint("one = 1", name=op.f("ck_journal_base_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_journal_base")),
    )
    op.bulk_insert(base, [{"one": 1, "epoch": 0, "last_txid": 0, "chain": bytes(32), "ts_us": 0}])


def downgrade() -> None:
    # What was compacted away cannot come back: 0001 has no words for a journal that begins later.
    op.drop_table("journal_base")
