"""Every data row of a text file is found, numbered and accounted for, whatever stands around it."""

import codecs
import csv
import gzip
import io
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.errors import SourceError
from segmentation.sources.feeds import FeedMapping
from segmentation.sources.landing import LandedFile
from segmentation.sources.reader import MAX_ROW_BYTES, open_rows
from segmentation.sources.text import TextFile, open_text, read_header, unzip

FEED = FeedMapping.model_validate(
    {"folder": "f", "entities": [{"entity": "accounts", "columns": {"account_id": "a", "updated_at": "b"}}]}
)


ENGINE = duckdb.connect()


def read(path: Path, kind: str = "csv", feed: FeedMapping = FEED) -> tuple[dict[int, tuple], dict[int, str], int]:
    """Rows by number, refusals by number, and the count."""
    file = LandedFile(path, path.name, "s", feed, kind)
    con = ENGINE.cursor()
    with open_rows(con, file, path.parent / "scratch") as rows:
        names = ", ".join(f'"{name}"' for name in feed.reads)
        whole = con.execute(f"select _line, {names} from {rows.relation} order by 1").fetchall()
        bad = con.execute(f"select line, reason from {rows.malformed} order by 1").fetchall() if rows.malformed else []
        assert len({line for line, *_ in whole} | {line for line, _ in bad}) == len(whole) + len(bad) == rows.rows_read
        return {row[0]: row[1:] for row in whole}, dict(bad), rows.rows_read


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0"), max_size=12)
ROWS = st.lists(
    st.one_of(
        st.tuples(st.just("whole"), TEXT, TEXT),
        st.sampled_from([("few", "", ""), ("many", "", ""), ("blank", "", ""), ("bytes", "", ""), ("quote", "", "")]),
    ),
    max_size=30,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, line_end=st.sampled_from(["\n", "\r\n"]), is_compressed=st.booleans(), has_mark=st.booleans())
def test_every_csv_row_is_found_and_numbered(tmp_path, rows, line_end, is_compressed, has_mark) -> None:
    damage = {"few": "x", "many": "1,2,3,4", "quote": '1,"a"b,2', "blank": ""}
    text = io.BytesIO(codecs.BOM_UTF8 if has_mark else b"")
    text.seek(0, io.SEEK_END)
    text.write(f"a,b,c{line_end}".encode())
    expected: dict[int, tuple] = {}
    refused: set[int] = set()
    number = 0
    for kind, left, right in rows:
        number += kind != "blank"
        if kind == "whole":
            line = io.StringIO()
            csv.writer(line, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerow([left, right, "z"])
            text.write(line.getvalue().encode())
            expected[number] = (left or None, right or None)
        elif kind == "bytes":
            text.write(b"1,\xff\xfe,3" + line_end.encode())
        else:
            text.write((damage[kind] + line_end).encode())
        if kind not in {"whole", "blank"}:
            refused.add(number)
    path = tmp_path / ("x.csv.gz" if is_compressed else "x.csv")
    path.write_bytes(gzip.compress(text.getvalue()) if is_compressed else text.getvalue())
    found, bad, count = read(path)
    assert count == number
    assert set(bad) == refused
    assert found == expected


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.one_of(
            st.dictionaries(st.sampled_from(["a", "b", "c"]), TEXT, max_size=3),
            st.sampled_from(["", "{", "null", "[1]", '{"a": }', "7", '"a"', "\x01", "\udcff", '{"a": "\udcff"}']),
        ),
        max_size=25,
    )
)
def test_every_ndjson_row_is_found_and_numbered(tmp_path, lines) -> None:
    import json

    path = tmp_path / "x.ndjson"
    path.write_text(
        "".join((json.dumps(x) if isinstance(x, dict) else x) + "\n" for x in lines) + "\n", "utf-8", "surrogateescape"
    )
    found, bad, count = read(path, "ndjson")
    assert count == sum(line != "" for line in lines)
    assert found == {n: (x.get("a"), x.get("b")) for n, x in enumerate(lines, 1) if isinstance(x, dict)}
    assert set(bad) == {n for n, x in enumerate(lines, 1) if isinstance(x, str) and x}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("has_blanks", [False, True])
def test_row_numbers_hold_over_many_blocks(tmp_path: Path, monkeypatch, line_end: str, has_blanks: bool) -> None:
    # The engine reads blocks of eight times the longest row, in parallel: about two hundred of them here.
    monkeypatch.setattr("segmentation.sources.reader.MAX_ROW_BYTES", 8 * 1024)
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file:
        file.write(f"a,b,c{line_end}")
        for n in range(1, 100_001):
            text = f'"{"y" * 60}{line_end}""{"z" * 50}"' if n % 3 == 0 else "x" * 120
            file.write(("broken" if n % 7_000 == 0 else f"{n},{text},z") + line_end)
            file.write(line_end if has_blanks and n % 999 == 0 else "")
    found, bad, count = read(path)
    assert count == 100_000
    assert set(bad) == set(range(7_000, 100_001, 7_000))
    assert all(values[0] == str(line) for line, values in found.items())


def test_lines_may_end_in_different_ways(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for first in (b"\r\n", b"\n"):
        path.write_bytes(b"a,b,c" + first + b"1,2,3\n4,5,6\r\nbad\n\n7,8,9\r10,11,12\r\n")
        found, bad, count = read(path)
        assert found == {1: ("1", "2"), 2: ("4", "5"), 4: ("7", "8"), 5: ("10", "11")}
        assert (set(bad), count) == ({3}, 5)


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_one_way_of_ending_lines_is_read_like_another(tmp_path: Path, line_end: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(f'a,b{line_end}"1{line_end}x",2{line_end}{line_end}bad{line_end}3,4{line_end}'.encode())
    assert read(path) == ({1: ("1\nx", "2"), 3: ("3", "4")}, {2: "the row has too few columns"}, 3)


def test_a_carriage_return_at_the_end_of_a_block_is_not_doubled(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("segmentation.sources.text._CHUNK", 3)
    path = tmp_path / "x"
    path.write_bytes(b"ab\r\ncd\refg\r\n\r\nh\r")
    assert TextFile(path, tmp_path).with_plain_line_ends().read_bytes() == b"ab\ncd\nefg\n\nh\n"
    path.write_bytes(b"ab\n\ncd\n\n\nx\r\n\r\n")
    assert TextFile(path, tmp_path).blank_runs() == [(3, 1), (7, 3), (12, 4)]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig"])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_other_encodings_are_read_as_the_feed_says(tmp_path: Path, encoding: str, is_compressed: bool) -> None:
    feed = FeedMapping.model_validate({**FEED.model_dump(), "encoding": encoding})
    data = "a,b\nGröße,é\n".encode(encoding)
    path = tmp_path / ("x.csv.gz" if is_compressed else "x.csv")
    path.write_bytes(gzip.compress(data) if is_compressed else data)
    assert read(path, feed=feed)[0] == {1: ("Größe", "é")}


def test_a_file_in_another_encoding_than_the_feed_says_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("a,b\nx,y\n".encode("utf-16"))
    with pytest.raises(SourceError, match="the file is in UTF-16"):
        read(path)
    path.write_bytes(b"a,b\n1,2\nx,\x81\n")
    feed = FeedMapping.model_validate({**FEED.model_dump(), "encoding": "cp1252"})
    with pytest.raises(SourceError, match=r"the file is not in cp1252: .* at byte 10"):
        read(path, feed=feed)


def test_gzip_is_checked_to_its_last_byte(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f"{n},{n * 7919 % 100_003}\n" for n in range(50_000))
    whole = gzip.compress(text.encode())
    path = tmp_path / "x.csv.gz"
    path.write_bytes(whole + gzip.compress(b"last,row\n") + b"\0\0")
    assert read(path)[2] == 50_001
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for damaged, says in [
        (whole[: len(whole) // 2], "cut off"),
        (whole[:-4], "cut off"),
        (bytes(flipped), "damaged"),
        (whole[:-8] + b"\1\2\3\4" + whole[-4:], "damaged"),
        (b"not gzip at all", "damaged"),
        (whole + b"garbage", "damaged"),
    ]:
        path.write_bytes(damaged)
        with pytest.raises(SourceError, match=says):
            read(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"\n1,2\n", "begins with a blank line"),
        (b"a,a\n1,2\n", "'a' twice"),
        (b"a,A\n1,2\n", "'A' twice"),
        (b"a,_line\n1,2\n", "reserved name"),
        (b"a,,b\n1,2,3\n", "without a name"),
        (b'a,"b\n1,2\n', "the header can't be read"),
        (b"a,\xff\xfe\n1,2\n", "not text in the file's encoding"),
        (b"a,b\0\n1,2\n", "not text in the file's encoding"),
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=says) as caught:
        read(path)
    assert caught.value.where == str(path)


def test_a_header_alone_is_a_file_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b")
    assert read(path) == ({}, {}, 0)


def test_bad_bytes_in_a_row_leave_the_header_readable(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n\xff,1\n")
    assert read_header(path, path, ",") == ["a", "b"]


def test_fields_may_be_large_and_rows_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"a,b\n1,{'x' * 1_000_000}\n2,{'y' * (MAX_ROW_BYTES + 10)}\n3,z\n")
    found, bad, count = read(path)
    assert count == 3
    assert (len(found[1][1]), found[3]) == (1_000_000, ("3", "z"))
    assert bad == {2: f"the row is longer than {MAX_ROW_BYTES} bytes"}


def test_a_file_that_goes_away_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(SourceError, match="vanished"),
        open_text(tmp_path / "none.csv", "utf-8", is_compressed=False, scratch=tmp_path),
    ):
        pass


def test_a_small_file_that_unzips_to_a_large_one_goes_through_in_pieces(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("segmentation.sources.text._CHUNK", 64 * 1024)
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1_000_000) + gzip.compress(b"3,4\n"))
    pieces = list(unzip(path))
    assert max(map(len, pieces)) <= 64 * 1024
    assert b"".join(pieces) == b"a,b\n" + b"1,2\n" * 1_000_000 + b"3,4\n"
