"""`strata gates`, `strata doctor` and `strata restore`: the state of an installation, and putting it right.

Looking never waits for a run: while one is writing, the gates are shown as the readers' copy has them, and it is said.
"""

import fcntl
import shutil
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import duckdb
import typer
from rich.text import Text

from orchestration.commands.console import Json, out, print_json, table
from orchestration.commands.looking import looking
from orchestration.settings import Settings, now
from segmentation.errors import GateClosedError, StrataError, WarehouseBusyError
from segmentation.warehouse import Warehouse

if TYPE_CHECKING:
    from expectations.ledger import GateState

_SPACE_NEEDED = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the doctor looked at: ``state`` is ``ok``, ``note`` or ``wrong``."""

    subject: str
    state: str
    fact: str
    repair: str = ""


@dataclass(frozen=True, slots=True)
class _SeenGates:
    """Where the gates stand; ``copied_at`` is set where that is what the readers' copy says, ``note`` says why."""

    states: "tuple[GateState, ...]"
    copied_at: datetime | None = None
    note: str = ""

    @property
    def closed(self) -> list[str]:
        """Stages that nothing may be built on."""
        return [state.stage for state in self.states if state.state in {"closed", "not judged"}]


def _see_gates(warehouse: Warehouse) -> _SeenGates:
    """Ask the warehouse, or the readers' copy while somebody writes.

    Raises:
        WarehouseBusyError: Somebody writes, and no copy knows of gates.
    """
    from expectations.ledger import gate_states

    with looking(warehouse, "the gates", ("ops", "candidates")) as sight:
        return _SeenGates(gate_states(sight.con), sight.copied_at, sight.note)


def gates(as_json: Json = False) -> None:
    """Show where every gate stands, without waiting for a run. Exit code 3: one is closed."""
    settings = Settings.load()
    if not settings.warehouse.path.exists():
        raise StrataError("no run has been made yet", where=str(settings.warehouse.path), repair="strata run")
    seen = _see_gates(settings.warehouse)
    states = seen.states
    if as_json:
        print_json([asdict(state) | {"copied_at": seen.copied_at} for state in states])
    else:
        if seen.note:
            out.print(Text(seen.note, style="yellow"))
        rows = [
            (
                state.stage,
                Text(state.state, style="green" if state.state == "open" else "red"),
                f"{len(state.truths) - len(state.failures) - len(state.warnings)}/{len(state.truths)}",
                state.judged_at,
                f"run {state.served.run_id[:8]}, as of {state.served.as_of}" if state.served else "nothing",
            )
            for state in states
        ]
        out.print(table(["stage", "gate", "truths", "judged", "served"], rows))
        for state in states:
            for truth in (*state.failures, *state.warnings):
                out.print(f"\n{state.stage}: {truth.sentence}\n  repair: {truth.repair}", markup=False)
    if seen.closed:
        raise typer.Exit(GateClosedError.exit_code)


def doctor(as_json: Json = False) -> None:
    """Check the installation: versions, folders, disk, locks, catalog, gates. Exit code 1: something is wrong."""
    settings = Settings.load()
    findings = [
        _python(),
        *(_folder(name, path) for name, path in (("data", settings.data), ("landing", settings.landing_folder))),
        _disk(settings.data),
        _catalog(settings),
        _run_lock(settings.data / "run.lock"),
        _warehouse(settings),
        _readers_copy(settings),
        *_places_left(settings),
    ]
    if as_json:
        print_json(findings)
    else:
        styles = {"ok": "green", "note": "yellow", "wrong": "red"}
        rows = [(f.subject, Text(f.state, style=styles[f.state]), f.fact, f.repair) for f in findings]
        out.print(table(["checked", "state", "found", "repair"], rows))
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok" if sys.version_info >= (3, 11) else "wrong", version, "")


def _folder(name: str, path: Path) -> Finding:
    if not path.exists():
        return Finding(name, "note", f"{path} does not exist yet", "strata sample, or strata run")
    probe = path / ".strata-probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Finding(name, "wrong", f"{path} can't be written: {error.strerror}", f"chown or remount {path}")
    return Finding(name, "ok", str(path))


def _disk(data: Path) -> Finding:
    existing = next(path for path in (data, *data.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    state = "ok" if free >= _SPACE_NEEDED else "wrong"
    return Finding("disk", state, f"{free / 2**30:.1f} GiB free", "" if state == "ok" else "free at least 1 GiB")


def _catalog(settings: Settings) -> Finding:
    from orchestration.commands.catalog import find_problems

    problems = [problem for problem in find_problems(settings) if problem.severity == "error"]
    if problems:
        return Finding("catalog", "wrong", f"{len(problems)} problems", "strata validate")
    return Finding("catalog", "ok", str(settings.catalog))


def _run_lock(path: Path) -> Finding:
    if not path.exists():
        return Finding("runs", "ok", "no run is at work")
    with path.open("r+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            told = f"a run is at work ({lock.read().strip()}) since {since:%Y-%m-%d %H:%M:%S}"
            return Finding("runs", "note", told, "wait for it to end")
    return Finding("runs", "ok", "no run is at work")


def _warehouse(settings: Settings) -> Finding:
    path = settings.warehouse.path
    if not path.exists():
        return Finding("warehouse", "note", "no run has been made yet", "strata run")
    try:
        seen = _see_gates(settings.warehouse)
    except WarehouseBusyError as error:
        return Finding("warehouse", "note", error.what, error.repair)
    except (StrataError, duckdb.Error, OSError) as error:
        return Finding("warehouse", "wrong", *_told(error))
    size = f"{path.stat().st_size / 2**20:.0f} MiB"
    told = f"{size}; {seen.note}" if seen.note else size
    if seen.closed:
        return Finding("warehouse", "wrong", f"{told}; closed gates: {', '.join(seen.closed)}", "strata gates")
    return Finding("warehouse", "note" if seen.note else "ok", f"{told}; no gate is closed")


def _told(error: Exception) -> tuple[str, str]:
    if isinstance(error, StrataError):
        return error.what, error.repair
    return str(error).splitlines()[0], "put a backup of the warehouse in its place"


def _places_left(settings: Settings) -> list[Finding]:
    """Name the places that destinations have left with customers in them; a catalog with mistakes is told before."""
    from assets.sync import read_destinations
    from segmentation.errors import CatalogError, CatalogProblems
    from segmentation.sync.left_places import find_left

    try:
        left = find_left(settings.sync_state, read_destinations(settings))
    except (CatalogError, CatalogProblems):
        return [Finding("destinations", "note", "not looked at: the catalog has mistakes", "strata validate")]
    except StrataError as error:
        return [Finding("destinations", "wrong", error.what, error.repair)]
    return [Finding("destinations", "note", one.fact, one.repair) for one in left]


def _readers_copy(settings: Settings) -> Finding:
    path = settings.warehouse.published_path
    if not path.exists():
        return Finding("readers' copy", "note", "nothing has been published yet", "strata run")
    age = now().timestamp() - path.stat().st_mtime
    return Finding("readers' copy", "ok", f"{path.stat().st_size / 2**20:.0f} MiB, {max(age, 0) / 3600:.1f} h old")


def restore(
    what: Annotated[str, typer.Argument(help="`identity`, `segments` or `audit`: what can't be rebuilt.")],
    folder: Annotated[Path | None, typer.Option(help="Export to restore; default: the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Bring back what no source can rebuild: customer ids, or membership, with their history; or the audit log."""
    from segmentation import audit
    from segmentation.contracts import ensure_schema
    from segmentation.identity import state as identity_state
    from segmentation.segments import state as segments_state
    from segmentation.warehouse import transaction

    if what not in {"identity", "segments", "audit"}:
        raise StrataError(
            f"there is nothing to restore called {what!r}",
            expected="identity, segments or audit",
            repair="strata restore identity",
        )
    settings = Settings.load()
    with settings.warehouse.write() as con:
        if what == "identity":
            rows = identity_state.restore_state(con, folder or settings.identity_state_folder)
        elif what == "segments":
            rows = segments_state.restore_state(con, folder or settings.segments_state_folder)
        else:
            ensure_schema(con, "identity")
            with transaction(con):
                rows = {"audit_log": audit.restore_log(con, folder or settings.audit_folder)}
    if as_json:
        print_json(rows)
        return
    out.print(table(["table", "rows"], sorted(rows.items())))
    out.print("Next: strata audit verify" if what == "audit" else "Next: strata run")
