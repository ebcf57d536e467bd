"""The sample company: one call makes its files and, apart from them, its truth.

Belongs here: the order of the work, the manifest, and what is left when the work is cut short. Does not
belong here: any feed (`crm.py`, `billing.py`, `shop.py`, `usage.py`, `gateway.py`, `support.py`,
`consent.py`, `forms.py`, `cloud_bill.py`). Everything follows from the arguments: the same ones give the
same bytes.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from segmentation.errors import StrataError
from segmentation.sample.billing import write_billing
from segmentation.sample.cloud_bill import write_cloud_bill
from segmentation.sample.consent import write_consent
from segmentation.sample.crm import write_crm
from segmentation.sample.dirt import install_dirt
from segmentation.sample.forms import write_forms
from segmentation.sample.gateway import write_requests
from segmentation.sample.people import draw_people
from segmentation.sample.shop import write_shop
from segmentation.sample.support import write_support
from segmentation.sample.truth import write_truth
from segmentation.sample.usage import write_events
from segmentation.sample.world import World, open_world
from segmentation.sample.writer import WRITING, Landing

#: Raised whenever the same arguments give other bytes than before.
GENERATOR_VERSION = 1

#: What the landing folder says of itself; files at its root are not feeds.
MANIFEST = "_sample.json"

#: What `make run` generates: enough for every segment of the catalog, and loaded in seconds.
DEFAULT_CUSTOMERS = 2_500
DEFAULT_DAYS = 240
DEFAULT_SEED = 42

_FEEDS: tuple[tuple[str, Callable[[World, Landing], None]], ...] = (
    ("customer records", write_crm),
    ("subscriptions and invoices", write_billing),
    ("orders", write_shop),
    ("events", write_events),
    ("API requests", write_requests),
    ("support tickets", write_support),
    ("consent", write_consent),
    ("lead forms", write_forms),
    ("cloud bills", write_cloud_bill),
)


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What a generation wrote.

    Attributes:
        as_of: The moment at which the sample's story ends, naive UTC.
        rows: Rows by feed folder, broken and duplicate ones included.
        files: Files below the landing folder, in the order they were written.
    """

    as_of: datetime
    rows: dict[str, int]
    files: tuple[str, ...]


def generate(
    landing: Path,
    truth: Path,
    *,
    customers: int,
    days: int,
    seed: int,
    end: date = date(2026, 11, 1),
    events_per_customer: float = 20,
    progress: Callable[[str], None] | None = None,
) -> SampleReport:
    """Write the sample company's files to ``landing`` and its truth to ``truth``.

    Files of an earlier sample in the folder are replaced; other files are left alone. The manifest is
    written last: a folder without one holds no whole sample, and generating again repairs it.

    Args:
        landing: Landing folder; made where missing.
        truth: Folder for what only tests and benchmarks may read; made where missing.
        customers: People the company knows, 1 to 20 million.
        days: Length of the period before ``end``.
        seed: Number that all draws follow from.
        end: First day after the period.
        events_per_customer: Events and API requests together, by customer.
        progress: Told what is being made, for people who wait.

    Raises:
        StrataError: An argument is out of bounds, or the truth would lie where the stages read.
    """
    if truth.resolve() == landing.resolve() or landing.resolve() in truth.resolve().parents:
        raise StrataError(
            "the truth of the sample company must not lie in the landing folder",
            where=str(truth),
            expected=f"a folder outside {landing}",
            repair="give another folder for the truth",
        )
    tell = progress or (lambda _: None)
    scratch = landing / WRITING
    shutil.rmtree(scratch.parent, ignore_errors=True)
    scratch.mkdir(parents=True)
    truth.mkdir(parents=True, exist_ok=True)
    try:
        with open_world(
            scratch, customers=customers, days=days, seed=seed, end=end, events_per_customer=events_per_customer
        ) as world:
            tell("people and companies")
            install_dirt(world)
            draw_people(world)
            files = Landing(landing, world)
            for name, write in _FEEDS:
                tell(name)
                write(world, files)
            tell("truth")
            write_truth(world, truth)
            report = SampleReport(world.as_of, dict(files.rows), tuple(files.files))
            (landing / MANIFEST).unlink(missing_ok=True)
            files.publish()
            _write_manifest(landing, world, report)
    finally:
        shutil.rmtree(scratch.parent, ignore_errors=True)
    return report


def _write_manifest(landing: Path, world: World, report: SampleReport) -> None:
    content = {
        "as_of": f"{report.as_of.isoformat()}Z",
        "customers": world.customers,
        "days": world.days,
        "events_per_customer": world.events_per_customer,
        "generator_version": GENERATOR_VERSION,
        "seed": world.seed,
    }
    draft = landing / WRITING / MANIFEST
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(landing / MANIFEST)
