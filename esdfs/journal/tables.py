"""The journal's tables. Changed only together with a migration; ``migrations/`` is what runs."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

REVISION: Final = "0002"
"""The newest migration: the tables this program reads and writes."""

FORMAT_VERSION: Final = 1
"""Of the canonical form of a record (``esdfs.journal.chain``)."""

# SQLite cannot alter a constraint that has no name.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite keys a table by rowid only when the column is exactly INTEGER.
TXID: Final = BigInteger().with_variant(Integer, "sqlite")

node_meta = Table(
    "node_meta",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("cluster_id", String(64), nullable=False),
    Column("cluster_generation", BigInteger, nullable=False),
    Column("node_id", String(255), nullable=False),
    Column("storage_id", String(64), nullable=False),
    Column("format_version", Integer, nullable=False),
    CheckConstraint("one = 1", name="one_row"),
)

vote = Table(
    "vote",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("voted_for_id", String(255), nullable=False),
    Column("voted_for_storage_id", String(64), nullable=False),
    CheckConstraint("one = 1", name="one_row"),
)

# Moved by compare-and-set in the transaction of every append: that is order, density and fencing.
journal_head = Table(
    "journal_head",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("last_txid", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    CheckConstraint("one = 1", name="one_row"),
)

# The last record compacted away; row 0 with ``NO_CHAIN`` before anything was.
journal_base = Table(
    "journal_base",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("last_txid", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("ts_us", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="one_row"),
)

journal = Table(
    "journal",
    metadata,
    # The leader chose the txid. A sequence would leave gaps and commit out of order.
    Column("txid", TXID, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("ts_us", BigInteger, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("client_id", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("principal", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("crc32c", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("txid", TXID, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("state_digest", LargeBinary, nullable=False),
    Column("path", Text, nullable=False),
)
