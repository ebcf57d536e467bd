"""New or changed files in the landing folder start a run.

Belongs here: noticing. Whether a file is really new is decided by content in `segmentation/sources`; this
only compares names, sizes and times, which costs nothing.
"""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from orchestration.settings import Settings


def list_landed(landing: Path) -> list[tuple[str, int, int]]:
    """Return path, size and modification time (nanoseconds) of every landed file, sorted by path.

    Hidden files and those whose name starts with ``_`` or ends in ``.tmp`` or ``.part`` have not landed.
    """
    found = []
    for path in sorted(landing.glob("*/*")):
        if path.name.startswith((".", "_")) or path.parent.name.startswith((".", "_")):
            continue
        if path.suffix in {".tmp", ".part"} or not path.is_file():
            continue
        status = path.stat()
        found.append((str(path.relative_to(landing)), status.st_size, status.st_mtime_ns))
    return found


def build_arrival_sensor(settings: Settings, job_name: str) -> dg.SensorDefinition:
    """Return the sensor that starts ``job_name`` when files have landed and are quiet."""

    @dg.sensor(
        name="arrival_sensor",
        job_name=job_name,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED,
        description="Starts the whole chain when files land, once they have been quiet for a moment.",
    )
    def arrival_sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        landed = list_landed(settings.landing_folder)
        if not landed:
            yield dg.SkipReason(f"nothing has landed in {settings.landing_folder}")
            return
        fingerprint = hashlib.sha256(repr(landed).encode()).hexdigest()[:16]
        if fingerprint == context.cursor:
            yield dg.SkipReason("nothing new has landed")
            return
        quiet = time.time() - max(modified for _, _, modified in landed) / 1e9
        # A clock that jumped back gives a negative age; such a file counts as quiet, or it would wait for ever.
        if 0 <= quiet < settings.arrival_settle_seconds:
            yield dg.SkipReason("files are still arriving")
            return
        context.update_cursor(fingerprint)
        yield dg.RunRequest(run_key=f"arrival-{fingerprint}", tags={"strata/trigger": "arrival"})

    return arrival_sensor
