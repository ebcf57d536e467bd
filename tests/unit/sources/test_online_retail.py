"""Real transactions load through a mapping alone, and come out to the penny."""

import os
import shutil
from pathlib import Path

import pytest

from segmentation.run import Run
from segmentation.sources.candidate import build_candidate
from segmentation.sources.mapping import load_mappings
from segmentation.sources.publish import publish
from segmentation.warehouse import Connection

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("STRATA_TEST_DATA", ROOT.parent / "shared" / "data"))
FILE = DATA / "online_retail" / "online_retail.csv.gz"


@pytest.mark.real_data
@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is missing: set STRATA_TEST_DATA to the folder with test data")
def test_online_retail_adds_up(con: Connection, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "online_retail"
    folder.mkdir()
    shutil.copyfile(FILE, folder / FILE.name)
    mappings = tuple(m for m in load_mappings(ROOT / "catalog" / "sources") if m.source == "online_retail")
    build_candidate(con, run, landing=tmp_path, mappings=mappings)
    publish(con, run)
    assert con.execute(
        """
        select count(*), count(distinct order_id), count(distinct source_customer_id),
            round(sum(quantity * unit_price_micros) / 1e6, 2)
        from sources.order_lines join sources.orders using (source, order_id)
        where order_status = 'completed'
        """
    ).fetchall() == [(397_884, 18_532, 4_338, 8_911_407.90)]
    assert con.execute(
        "select min(quantity) > 0, min(unit_price_micros) > 0 from sources.order_lines where order_id not like 'C%'"
    ).fetchall() == [(True, True)]
    assert con.execute("select order_status, count(*) from sources.orders group by 1 order by 1").fetchall() == [
        ("cancelled", 3_654),
        ("completed", 18_532),
    ]
    assert con.execute(
        "select bool_and(source_customer_id similar to '[0-9]{5}'), min(ordered_at)::varchar, "
        "max(ordered_at)::varchar, any_value(currency), count(amount_micros) from sources.orders"
    ).fetchall() == [(True, "2010-12-01 08:26:00", "2011-12-09 12:50:00", "GBP", 0)]
    fates = con.execute(
        "select entity, rows_read, rows_loaded, rows_duplicate, rows_quarantined from sources.files order by entity"
    ).fetchall()
    assert fates == [("order_lines", 541_909, 406_789, 0, 135_120), ("orders", 541_909, 22_186, 384_603, 135_120)]
    counts = con.execute(
        """
        select sum(cast(contains(reason, 'customer id is missing') as int)),
            sum(cast(contains(reason, 'unit price is not positive') as int)),
            sum(cast(contains(reason, 'quantity is not positive outside a cancellation') as int))
        from sources.quarantine where entity = 'order_lines'
        """
    ).fetchall()[0]
    assert counts == (135_080, 2_517, 1_336)
