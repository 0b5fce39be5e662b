"""The data of the load benches: the same every time, the same in all its forms, and shaped as it says."""

from pathlib import Path

import msgspec
import pytest
import zstandard
from bench import records
from bench.records import COLUMNS, PACK_RECORDS, TABLES, Dataset

from catchment import pack, record
from catchment.warehouses.shape import Column, Shape, record_type

COUNT = 3_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "CACHE", tmp_path_factory.mktemp("cache"))
        return records.dataset(COUNT)


def stamped(messages: list[bytes]) -> list[record.Record]:
    found = [each for message in messages for each in pack.read(message)]
    return [record.decode(line) for each in found for line in each.plain().splitlines()]


def flat_ids(data: Dataset, table: str) -> list[str]:
    return [msgspec.json.decode(line)["_id"] for line in data.flat(table).read_bytes().splitlines()]


def test_every_form_holds_the_same_records(data: Dataset) -> None:
    packed = stamped(list(data.packs()))
    plain = [record.decode(message) for message in data.plain()]
    ids = {each.id for each in packed}
    assert len(packed) == len(plain) == len(ids) == COUNT
    assert {(each.id, each.table, bytes(each.data)) for each in plain} == {
        (each.id, each.table, bytes(each.data)) for each in packed
    }
    for table in TABLES:
        assert sorted(flat_ids(data, table)) == sorted(each.id or "" for each in packed if each.table == table)


def test_compressed_and_plain_rows_are_the_same(data: Dataset) -> None:
    for table in TABLES:
        with data.flat_zst(table).open("rb") as file:
            text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
        assert text == data.flat(table).read_bytes()


def test_plain_messages_are_not_stamped(data: Dataset) -> None:
    assert all(record.decode(message).received_at is None for message in data.plain())


def test_packs_are_of_one_table_and_bounded(data: Dataset) -> None:
    counts = [each.header.count for message in data.packs() for each in pack.read(message)]
    assert max(counts) <= PACK_RECORDS
    assert sum(counts) == COUNT


def test_tables_are_zipf_like(data: Dataset) -> None:
    sizes = [len(flat_ids(data, table)) for table in TABLES]
    assert sizes[0] > 4 * sizes[-1] > 0


def test_every_record_fits_its_columns(data: Dataset) -> None:
    """Else the fast path is not what is measured."""
    decoders = {
        table: msgspec.json.Decoder(
            record_type(Shape(table, 1, tuple(Column(name, name, kind) for name, kind in COLUMNS[table].items())))
        )
        for table in TABLES
    }
    for message in data.packs():
        for found in pack.read(message):
            assert len(decoders[found.header.table].decode_lines(found.plain())) == found.header.count


def test_fields_are_present_null_and_absent(data: Dataset) -> None:
    rows = [msgspec.json.decode(line) for table in TABLES for line in data.flat(table).read_bytes().splitlines()]
    with_campaign = [row for row in rows if "campaign" in row]
    assert any(row["campaign"] is None for row in with_campaign)
    assert any(row["campaign"] is not None for row in with_campaign)
    assert all(10 <= len(columns) <= 12 for columns in COLUMNS.values())


def test_made_again_it_is_the_same(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CACHE", tmp_path)
    assert list(records.dataset(COUNT).packs()) == list(data.packs())
    assert list(records.dataset(200, seed=8).packs()) != list(records.dataset(200).packs())


def test_made_once_it_is_not_made_again(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CACHE", data.folder.parent)
    monkeypatch.setattr(records, "_make", pytest.fail)
    assert records.dataset(COUNT).folder == data.folder


def test_repeated_records_are_others(data: Dataset) -> None:
    first, second = (stamped(list(records.repeated(data.packs(), hour))) for hour in (10, 3))
    assert len(second) == COUNT
    assert not {each.id for each in first} & {each.id for each in second}
    for before, after in zip(first, second, strict=True):
        assert before.received_at is not None
        assert after.received_at == before.received_at.replace(hour=3)
        assert after.not_before is not None
        assert after.not_before.hour == 3


def test_headers_of_repeated_packs_are_true(data: Dataset) -> None:
    for message in records.repeated(data.packs(), 3):
        (found,) = pack.read(message)
        lines = [record.decode(line) for line in found.plain().splitlines()]
        assert found.header.count == len(lines)
        assert found.header.first_received_at == min(line.received_at for line in lines if line.received_at)
        assert found.header.last_received_at == max(line.received_at for line in lines if line.received_at)
        assert found.header.not_before == min(line.not_before for line in lines if line.not_before)
