"""The journal, its head, the vote, whose it is, and the catalogue of checkpoints

Every migration keeps these rules:

- The previous release must still be able to read and append while this one is in place: nodes are upgraded
  one after another. Add; drop only what the previous release no longer names.
- Tables only. A journaled payload is never rewritten; a changed event gets a new version and an upcaster.
- It imports nothing from `esdfs`: it must mean the same in ten years.
- `downgrade` undoes it. Raise REVISION in `esdfs/journal/tables.py`.

Revision: 0001, the first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TXID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "node_meta",
        sa.Column("one", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("cluster_id", sa.String(64), nullable=False),
        sa.Column("cluster_generation", sa.BigInteger, nullable=False),
        sa.Column("node_id", sa.String(255), nullable=False),
        sa.Column("storage_id", sa.String(64), nullable=False),
        sa.Column("format_version", sa.Integer, nullable=False),
        sa.CheckConstraint("one = 1", name=op.f("ck_node_meta_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_node_meta")),
    )
    vote = op.create_table(
        "vote",
        sa.Column("one", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("voted_for_id", sa.String(255), nullable=False),
        sa.Column("voted_for_storage_id", sa.String(64), nullable=False),
        sa.CheckConstraint("one = 1", name=op.f("ck_vote_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_vote")),
    )
    head = op.create_table(
        "journal_head",
        sa.Column("one", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("last_txid", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("one = 1", name=op.f("ck_journal_head_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_journal_head")),
    )
    op.create_table(
        "journal",
        sa.Column("txid", TXID, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("ts_us", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("client_id", sa.LargeBinary, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("crc32c", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("txid", name=op.f("pk_journal")),
    )
    op.create_table(
        "checkpoint",
        sa.Column("txid", TXID, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("state_digest", sa.LargeBinary, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("txid", name=op.f("pk_checkpoint")),
    )
    # The two rows that are only ever updated.
    op.bulk_insert(vote, [{"one": 1, "epoch": 0, "voted_for_id": "", "voted_for_storage_id": ""}])
    op.bulk_insert(head, [{"one": 1, "epoch": 0, "last_txid": 0, "chain": bytes(32)}])


def downgrade() -> None:
    for table in ("checkpoint", "journal", "journal_head", "vote", "node_meta"):
        op.drop_table(table)
