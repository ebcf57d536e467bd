"""A landing folder, a catalog and a warehouse to try them in."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pytest

from segmentation.run import Run, StageReport
from segmentation.sources.candidate import build_candidate
from segmentation.sources.feeds import SourceMapping
from segmentation.sources.mapping import load_mappings
from segmentation.sources.publish import publish
from segmentation.warehouse import Connection

TICKETS = """\
source: desk
description: Tickets.
owner: team:support
feeds:
  - folder: tickets
    entities:
      - entity: tickets
        columns:
          ticket_id: id
          ticket_status: status
          opened_at: opened
          updated_at: updated
          csat_score: score
          email: mail
"""


@dataclass
class Yard:
    """Where files land in a test, and what is done with them."""

    con: Connection
    run: Run
    landing: Path
    catalog: Path

    def map(self, text: str = TICKETS, name: str = "desk.yml") -> tuple[SourceMapping, ...]:
        """Write a catalog file and read the catalog."""
        self.catalog.mkdir(exist_ok=True)
        (self.catalog / name).write_text(text, encoding="utf-8")
        return self.mappings()

    def mappings(self) -> tuple[SourceMapping, ...]:
        return load_mappings(self.catalog)

    def land(self, name: str, content: str | bytes) -> Path:
        """Put a file into the landing folder; its name ends with .gz: compressed."""
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path

    def land_parquet(self, name: str, select: str) -> Path:
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        duckdb.execute(f"copy ({select}) to '{path}' (format parquet)")
        return path

    def next_run(self) -> None:
        """Let the next run begin."""
        number = int(self.run.run_id.split("-")[1]) + 1
        self.run = replace(self.run, run_id=f"run-{number}")

    def build(self) -> StageReport:
        return build_candidate(self.con, self.run, landing=self.landing, mappings=self.mappings())

    def load(self) -> StageReport:
        """A whole run of the stage: candidate, then publish."""
        self.build()
        report = publish(self.con, self.run)
        self.next_run()
        return report

    def rows(self, sql: str) -> list[tuple]:
        return self.con.execute(sql).fetchall()

    def quarantine(self) -> list[tuple]:
        """Line and reason of the candidate's quarantined rows."""
        return self.rows("select line, reason from sources.candidate_quarantine order by entity, line")

    def fates(self) -> dict[str, tuple]:
        """Per file: status, rows read, loaded, duplicate, quarantined."""
        found = self.rows(
            "select path, status, rows_read, rows_loaded, rows_duplicate, rows_quarantined "
            "from sources.candidate where grain = 'file' order by path, entity"
        )
        return {row[0]: row[1:] for row in found}


@pytest.fixture
def yard(con: Connection, run: Run, tmp_path: Path) -> Yard:
    yard = Yard(con, run, tmp_path / "landing", tmp_path / "catalog")
    yard.map()
    return yard


@pytest.fixture
def tickets_csv() -> Callable[..., str]:
    """CSV text with the tickets' header and the given lines."""

    def write(*lines: str) -> str:
        return "\n".join(("id,status,opened,updated,score,mail", *lines)) + "\n"

    return write


def ticket(number: int, *, status: str = "open", day: int = 1, score: str = "") -> str:
    return f"t{number},{status},2026-01-{day:02} 10:00:00,2026-01-{day:02} 10:00:00,{score},a{number}@example.com"


@pytest.fixture(name="ticket")
def ticket_fixture() -> Callable[..., str]:
    """One line of the tickets' CSV."""
    return ticket
