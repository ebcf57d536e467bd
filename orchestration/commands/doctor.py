"""`strata gates`, `strata doctor` and `strata restore`: the state of an installation, and putting it right."""

import fcntl
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import duckdb
import typer
from rich.text import Text

from orchestration.commands.console import Json, out, print_json, table
from orchestration.settings import Settings, now
from segmentation.errors import StrataError, WarehouseBusyError

_SPACE_NEEDED = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the doctor looked at: ``state`` is ``ok``, ``note`` or ``wrong``."""

    subject: str
    state: str
    fact: str
    repair: str = ""


def gates(as_json: Json = False) -> None:
    """Show where every gate stands. Exit code 3: one is closed."""
    from expectations.ledger import gate_states

    settings = Settings.load()
    if not settings.warehouse.path.exists():
        raise StrataError("no run has been made yet", where=str(settings.warehouse.path), repair="strata run")
    with settings.warehouse.write() as con:
        states = gate_states(con)
    if as_json:
        print_json(states)
    else:
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
    if any(state.state in {"closed", "not judged"} for state in states):
        raise typer.Exit(3)


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
            return Finding("runs", "note", f"a run is at work ({lock.read().strip()})", "wait for it to end")
    return Finding("runs", "ok", "no run is at work")


def _warehouse(settings: Settings) -> Finding:
    from expectations.ledger import gate_states

    path = settings.warehouse.path
    if not path.exists():
        return Finding("warehouse", "note", "no run has been made yet", "strata run")
    try:
        with replace(settings.warehouse, lock_wait_seconds=1).write() as con:
            closed = [state.stage for state in gate_states(con) if state.state in {"closed", "not judged"}]
    except WarehouseBusyError as error:
        return Finding("warehouse", "note", error.what, error.repair)
    except (StrataError, duckdb.Error, OSError) as error:
        return Finding("warehouse", "wrong", *_told(error))
    size = f"{path.stat().st_size / 2**20:.0f} MiB"
    if closed:
        return Finding("warehouse", "wrong", f"{size}; closed gates: {', '.join(closed)}", "strata gates")
    return Finding("warehouse", "ok", f"{size}; no gate is closed")


def _told(error: Exception) -> tuple[str, str]:
    if isinstance(error, StrataError):
        return error.what, error.repair
    return str(error).splitlines()[0], "put a backup of the warehouse in its place"


def _readers_copy(settings: Settings) -> Finding:
    path = settings.warehouse.published_path
    if not path.exists():
        return Finding("readers' copy", "note", "nothing has been published yet", "strata run")
    age = now().timestamp() - path.stat().st_mtime
    return Finding("readers' copy", "ok", f"{path.stat().st_size / 2**20:.0f} MiB, {max(age, 0) / 3600:.1f} h old")


def restore(
    what: Annotated[str, typer.Argument(help="`identity` or `audit`: what can't be rebuilt from sources.")],
    folder: Annotated[Path | None, typer.Option(help="Export to restore; default: the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Bring back what no source can rebuild: customer ids with their history, or the audit log."""
    from segmentation import audit
    from segmentation.contracts import ensure_schema
    from segmentation.identity.state import restore_state
    from segmentation.warehouse import transaction

    if what not in {"identity", "audit"}:
        raise StrataError(
            f"there is nothing to restore called {what!r}",
            expected="identity or audit",
            repair="strata restore identity",
        )
    settings = Settings.load()
    with settings.warehouse.write() as con:
        if what == "identity":
            rows = restore_state(con, folder or settings.identity_state_folder)
        else:
            ensure_schema(con, "identity")
            with transaction(con):
                rows = {"audit_log": audit.restore_log(con, folder or settings.audit_folder)}
    if as_json:
        print_json(rows)
        return
    out.print(table(["table", "rows"], sorted(rows.items())))
    out.print("Next: strata run" if what == "identity" else "Next: strata audit verify")
