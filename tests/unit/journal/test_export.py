"""An exported journal: whatever is done to the file, or to its records under a new seal, is found."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from esdfs.checksum import crc32c
from esdfs.cli.journal_offline import OfflineProof, prove
from esdfs.errors import InvalidRequest, JournalCorrupt, NewerRelease
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import canonical, link, seal
from esdfs.journal.entry import NO_CHAIN, Draft, Head
from esdfs.journal.export import FORMAT, UNSIGNED, Export, ExportHeader, Sealed, encode
from esdfs.journal.segments import Row
from esdfs.journal.statements import SignedStatement, Statement, encode_line
from esdfs.namenode.events import Kind
from esdfs.namenode.signing import PublicKey, SigningKey, load_key, parse_public_key

RECORDS = 10_000
BYTES_TRIED = 2_000


def rows_of(count: int) -> list[Row]:
    drafts = [
        Draft(1_000 + n // 3, 10, 1, f"payload {n}".encode(), bytes(16), n, "ann", "192.0.2.1")
        for n in range(count)
    ]
    entries = seal(Head(Epoch(1), Txid(0), NO_CHAIN), Epoch(1), drafts)
    return [tuple(getattr(entry, name) for name in entry.__struct_fields__) for entry in entries]


def header(first: int, last: int, *, redacted: bool = False, before: bytes = NO_CHAIN) -> ExportHeader:
    return ExportHeader(FORMAT, "c-1", first, last, 1, before, 0, redacted, "test")


def about(key: SigningKey, row: Row, **other: Any) -> SignedStatement:
    told: dict[str, Any] = {
        "cluster_id": "c-1",
        "txid": row[0],
        "epoch": row[1],
        "chain": row[11].hex(),
        "ts_us": 5,
        "key_id": key.public.key_id,
    }
    return key.vouch(Statement(**told | other))


def file_of(
    rows: Sequence[Row],
    statements: Sequence[SignedStatement] = (),
    sealed: Sealed = UNSIGNED,
    **other: Any,
) -> bytes:
    return b"".join(encode(header(1, len(rows), **other), [rows], statements, sealed))


def read(data: bytes) -> list[Row]:
    export = Export(BytesIO(data))
    return [row for page in export.pages() for row in page]


def proof(path: Path, data: bytes, key: PublicKey | None, **options: Any) -> OfflineProof:
    file = path / "journal.esdfsj"
    file.write_bytes(data)
    return prove(file, [key] if key else [], **{"replay": False} | options)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(RECORDS)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return load_key(tmp_path)


# --- the file --------------------------------------------------------------------------------------


def test_what_was_written_is_read_and_proven(rows: list[Row], tmp_path: Path, key: SigningKey) -> None:
    told = proof(tmp_path, file_of(rows, [about(key, rows[99]), about(key, rows[-1])]), key.public)
    assert (told.first_txid, told.last_txid, told.records) == (1, RECORDS, RECORDS)
    assert (told.chain, told.key_id, told.statements) == (rows[-1][11].hex(), key.public.key_id, 2)
    assert read(file_of(rows)) == rows


def require_found(path: Path, data: bytes, places: Iterable[int], key: SigningKey) -> None:
    chance = Random(7)
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        with pytest.raises((JournalCorrupt, NewerRelease)):
            proof(path, bytes(changed), key.public)


def test_any_changed_byte_is_found(rows: list[Row], tmp_path: Path, key: SigningKey) -> None:
    data = file_of(rows, [about(key, rows[-1])], Sealed(key.public.key_id, key.sign))
    chance = Random(7)
    require_found(tmp_path, data, (chance.randrange(len(data)) for _ in range(BYTES_TRIED)), key)


def test_any_changed_byte_of_the_frame_is_found(tmp_path: Path, key: SigningKey) -> None:
    rows = rows_of(100)
    data = file_of(rows, [about(key, rows[-1])], Sealed(key.public.key_id, key.sign))
    require_found(tmp_path, data, [*range(600), *range(len(data) - 260, len(data))], key)


def test_any_changed_byte_of_a_long_file_is_found(rows: list[Row], tmp_path: Path, key: SigningKey) -> None:
    data = file_of(rows, [about(key, rows[-1])])
    chance = Random(11)
    for _ in range(BYTES_TRIED // 25):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        with pytest.raises((JournalCorrupt, NewerRelease)):
            proof(tmp_path, bytes(changed), key.public)


def test_any_cut_and_anything_added_is_found() -> None:
    data = file_of(rows_of(50))
    for end in range(len(data)):
        with pytest.raises(JournalCorrupt):
            read(data[:end])
    with pytest.raises(JournalCorrupt, match="follows the file's end"):
        read(data + b"\x00")


# --- records, under a new seal: as somebody would who can write files but has no key -----------------


def forged(rows: Sequence[Row], statements: Sequence[SignedStatement]) -> bytes:
    """A file in perfect order around whatever records."""
    # The writer's own check stands in the forger's way.
    with patch("esdfs.journal.export.verify_rows", lambda _chain, _txid, page: page[-1][11]):
        return b"".join(encode(header(1, len(rows)), [rows], statements))


def swapped(rows: list[Row], at: int) -> list[Row]:
    return [*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]


def renumbered(rows: Sequence[Row]) -> list[Row]:
    return [(number, *row[1:]) for number, row in enumerate(rows, 1)]


MUTATIONS: dict[str, Callable[[list[Row], int], list[Row]]] = {
    "removed": lambda rows, at: [*rows[:at], *rows[at + 1 :]],
    "removed and renumbered": lambda rows, at: renumbered([*rows[:at], *rows[at + 1 :]]),
    "repeated": lambda rows, at: [*rows[: at + 1], rows[at], *rows[at + 1 :]],
    "repeated and renumbered": lambda rows, at: renumbered([*rows[: at + 1], rows[at], *rows[at + 1 :]]),
    "swapped": swapped,
    "swapped and renumbered": lambda rows, at: renumbered(swapped(rows, at)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_row_that_is_removed_repeated_or_swapped_is_found(rows: list[Row], mutation: str) -> None:
    """Exhaustively: each record in turn, in the window where it could be missed."""
    change = MUTATIONS[mutation]
    for at in range(RECORDS - 2):
        first = max(0, at - 2)
        window = change(rows[first : at + 4], at - first)
        if "renumbered" in mutation:
            window = [(first + number, *row[1:]) for number, row in enumerate(window, 1)]
        with pytest.raises(JournalCorrupt):
            read_window(rows, first, window)


def read_window(rows: list[Row], first: int, window: list[Row]) -> None:
    """The reader's own proof of some records, after those before them."""
    export = Export.__new__(Export)
    export.header = header(1, RECORDS)
    before = rows[first - 1][11] if first else NO_CHAIN
    export._proven(before, Txid(first), window)  # what `pages` does with each page


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_same_through_whole_files(
    rows: list[Row], mutation: str, tmp_path: Path, key: SigningKey
) -> None:
    chance = Random(3)
    statements = [about(key, rows[-1])]
    for at in [0, 1, RECORDS - 3, *(chance.randrange(RECORDS - 2) for _ in range(5))]:
        with pytest.raises(JournalCorrupt):
            proof(tmp_path, forged(MUTATIONS[mutation](rows, at), statements), key.public)


def test_every_field_of_a_record_is_covered(rows: list[Row]) -> None:
    other: dict[type, Callable[[Any], Any]] = {
        int: lambda v: v + 1,
        str: lambda v: v + "x",
        bytes: lambda v: v[:-1] + bytes([v[-1] ^ 1]),
    }
    for at in (0, 17, RECORDS - 1):
        for field in range(12):
            row = list(rows[at])
            row[field] = other[type(row[field])](row[field])
            with pytest.raises(JournalCorrupt):
                read_window(rows, at, [tuple(row)])


def test_a_cut_tail_is_found_by_what_was_signed(rows: list[Row], tmp_path: Path, key: SigningKey) -> None:
    """Cut anywhere, and sealed again: the last record is then one that nobody signed."""
    signed = [about(key, rows[99]), about(key, rows[299])]
    for last in [n for n in range(1, 300) if n != 100]:
        kept = [each for each in signed if each.statement.txid <= last]
        with pytest.raises(JournalCorrupt, match=r"may have been cut|is cut off"):
            proof(tmp_path, file_of(rows[:last], kept), key.public)
        with pytest.raises(JournalCorrupt, match="tail is cut off"):
            proof(tmp_path, file_of(rows[:last], signed), key.public)
    # At a signed record only who holds a later statement can tell.
    cut = file_of(rows[:100], signed[:1])
    assert proof(tmp_path, cut, key.public).last_txid == 100
    anchors = tmp_path / "anchors"
    anchors.write_bytes(encode_line(signed[1]))
    with pytest.raises(JournalCorrupt, match="tail is cut off"):
        proof(tmp_path, cut, key.public, anchors=anchors)


# --- signatures -------------------------------------------------------------------------------------


def test_a_history_written_anew_from_some_record_on_is_found(
    rows: list[Row], tmp_path: Path, key: SigningKey
) -> None:
    drafts = [Draft(5_000, 10, 1, b"other", bytes(16), n, "mallory") for n in range(20)]
    anew = seal(Head(Epoch(1), Txid(80), rows[79][11]), Epoch(1), drafts)
    other = [*rows[:80], *(tuple(getattr(e, n) for n in e.__struct_fields__) for e in anew)]
    with pytest.raises(JournalCorrupt, match="another hash than was signed"):
        proof(tmp_path, file_of(other, [about(key, rows[99])]), key.public)
    mine = SigningKey(bytes(range(32)))
    with pytest.raises(JournalCorrupt, match="nothing signed with key"):
        proof(tmp_path, file_of(other, [about(mine, other[-1])]), key.public)


def test_a_statement_cannot_be_bent(rows: list[Row], tmp_path: Path, key: SigningKey) -> None:
    good = about(key, rows[9])
    bent = SignedStatement(about(key, rows[9], ts_us=6).statement, good.signature)
    with pytest.raises(JournalCorrupt, match="does not fit"):
        proof(tmp_path, file_of(rows[:10], [bent]), key.public)
    with pytest.raises(JournalCorrupt, match="about cluster other"):
        proof(tmp_path, file_of(rows[:10], [about(key, rows[9], cluster_id="other")]), key.public)


def test_a_signature_that_is_no_signature_is_refused(
    rows: list[Row], tmp_path: Path, key: SigningKey
) -> None:
    good = about(key, rows[9])
    for bad in ("", "no hex", good.signature[:-2], "00" * 64):
        with pytest.raises(JournalCorrupt, match="does not fit"):
            proof(tmp_path, file_of(rows[:10], [SignedStatement(good.statement, bad)]), key.public)


def test_what_other_keys_signed_is_held_against_the_records_and_not_counted(
    rows: list[Row], tmp_path: Path, key: SigningKey
) -> None:
    other = SigningKey(bytes(range(32)))
    both = [about(other, rows[4]), about(key, rows[9])]
    told = proof(tmp_path, file_of(rows[:10], both), key.public)
    assert told.statements == 1
    assert any(other.public.key_id in what for what in told.not_proven)
    file = tmp_path / "journal.esdfsj"
    assert prove(file, [key.public, other.public], replay=False).statements == 2
    with pytest.raises(JournalCorrupt, match="another hash"):
        proof(tmp_path, file_of(rows[:10], [about(other, rows[4], chain="00"), both[1]]), key.public)


def test_epochs_and_times_that_go_back_are_found_under_any_seal() -> None:
    drafts = [Draft(1_000 + n, 10, 1, b"", bytes(16), n) for n in range(4)]
    for epochs, times, damage in (
        ((1, 1, 0, 1), (1, 2, 3, 4), "epoch"),
        ((1, 1, 1, 1), (1, 3, 2, 4), "time"),
    ):
        sealed: list[Row] = []
        chain = NO_CHAIN
        for number, (epoch, ts_us) in enumerate(zip(epochs, times, strict=True), 1):
            told = drafts[number - 1]
            body = canonical(number, epoch, ts_us, 10, 1, told.client_id, told.seq, "", "", b"")
            chain = link(chain, body, crc32c(body))
            columns = (told.client_id, told.seq, "", "", b"", crc32c(body), chain)
            sealed.append((number, epoch, ts_us, 10, 1, *columns))
        with pytest.raises(JournalCorrupt) as raised:
            read(file_of(sealed))
        assert raised.value.details == {"txid": 3, "damage": damage}


def test_payloads_that_nothing_wrote_are_told_apart_by_record(tmp_path: Path) -> None:
    """Perfectly sealed nonsense is refused as a record that cannot follow, whatever it would break."""
    chance = Random(11)
    kinds = [int(kind) for kind in Kind]
    for _ in range(400):
        payload = chance.randbytes(chance.randrange(40))
        draft = Draft(1_000, chance.choice(kinds), 1, payload, bytes(16), 1)
        entries = seal(Head(Epoch(1), Txid(0), NO_CHAIN), Epoch(1), [draft, draft])
        data = file_of([tuple(getattr(e, name) for name in e.__struct_fields__) for e in entries])
        with suppress(JournalCorrupt, NewerRelease):
            proof(tmp_path, data, None, replay=True)


def test_without_a_key_it_says_that_nobody_is_proven(rows: list[Row], tmp_path: Path) -> None:
    told = proof(tmp_path, file_of(rows[:10]), None)
    assert told.key_id == ""
    assert any("who wrote it" in what for what in told.not_proven)


def test_a_redacted_file_is_vouched_for_by_its_seal_alone(
    rows: list[Row], tmp_path: Path, key: SigningKey
) -> None:
    hidden = [(*row[:7], "u1", "a1", *row[9:]) for row in rows[:10]]
    sealed = Sealed(key.public.key_id, key.sign)
    told = proof(tmp_path, file_of(hidden, [about(key, rows[9])], sealed, redacted=True), key.public)
    assert told.key_id == key.public.key_id
    assert any("names are hidden" in what for what in told.not_proven)
    with pytest.raises(JournalCorrupt, match="nothing signed"):
        proof(tmp_path, file_of(hidden, [about(key, rows[9])], redacted=True), key.public)


def test_a_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    made = load_key(tmp_path)
    assert load_key(tmp_path).public.raw == made.public.raw
    assert (tmp_path / "signing.key").stat().st_mode & 0o777 == 0o600
    assert parse_public_key(str(made.public)).raw == made.public.raw
    assert parse_public_key(str(tmp_path / "signing.pub")).raw == made.public.raw
    for bad in ("esdfs-ed25519 12", "nonsense", str(tmp_path / "signing.key.none")):
        with pytest.raises(InvalidRequest, match="no public key"):
            parse_public_key(bad)
