"""Keyed hashes: the standard's digits, the same in SQL, under a key that is drawn once and kept."""

import hashlib
import hmac
import stat
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.errors import StrataError
from segmentation.pseudonyms import PseudonymKey, load_key


def test_known_digits():
    assert PseudonymKey("test-key-v1", b"test-key-v1").hash("user-42")[:32] == "f892132062231ce74fa3cabad025c51d"


@given(st.binary(min_size=1, max_size=100), st.lists(st.text(max_size=60), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_the_engine_gives_the_same_digits(secret, texts):
    key = PseudonymKey("k", secret)
    # The engine's texts hold neither null bytes nor halves of a character.
    texts = [text.replace("\x00", "").encode("utf-8", "ignore").decode() for text in texts]
    with duckdb.connect() as con:
        con.execute("create table texts (place integer, content varchar)")
        con.executemany("insert into texts values (?, ?)", list(enumerate(texts)))
        found = con.execute(f"select {key.expression('content')} from texts order by place").fetchall()
    assert [digits for (digits,) in found] == [key.hash(text) for text in texts]
    assert key.hash(texts[0]) == hmac.new(secret, texts[0].encode(), hashlib.sha256).hexdigest()


def test_nothing_has_no_hash():
    with duckdb.connect() as con:
        assert con.execute(f"select {PseudonymKey('k', b'k').expression('null::varchar')}").fetchall() == [(None,)]


def test_a_key_is_drawn_once_and_is_its_owners(tmp_path):
    drawn = load_key(tmp_path / "keys", "suppression")
    assert load_key(tmp_path / "keys", "suppression") == drawn
    assert load_key(tmp_path / "keys", "receipts").secret != drawn.secret
    assert load_key(tmp_path / "keys", "suppression", version=2).secret != drawn.secret
    (file,) = (tmp_path / "keys").glob("suppression-v1.key*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert drawn.secret.hex() not in repr(drawn)
    assert repr(drawn.secret) not in repr(drawn)


def test_two_who_draw_at_once_get_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_key(tmp_path, "suppression"), range(8)))
    assert len({key.secret for key in keys}) == 1


def test_a_damaged_key_is_told(tmp_path):
    (tmp_path / "suppression-v1.key").write_bytes(b"short")
    with pytest.raises(StrataError, match="damaged") as told:
        load_key(tmp_path, "suppression")
    assert "backup" in told.value.repair
    with pytest.raises(ValueError, match="purpose"):
        load_key(tmp_path, "../etc")
