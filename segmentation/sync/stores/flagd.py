"""The flag file: one targeting rule and one three-state flag per segment, for flagd and OpenFeature.

Belongs here: what the file says and how it is replaced. Does not belong here: who is in a segment; callers
put the segments of a ``lookup`` into the evaluation context. The position stands in the file's own metadata,
so that renaming the file moves rules and position in one step; a lock file beside it serialises writers.

A flag ``segment-<key>`` is ``member``, ``not_member`` or ``unknown``: a context without ``segments`` (the
customer is unknown, or the lookup failed) must not read as "not a member".
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from segmentation.sync.faults import DestinationError, translated
from segmentation.sync.state import CrashPoint, Row
from segmentation.sync.stores.contract import SEGMENTS_KEY, Batch, Confirmation, Position, fenced, is_applied

GENERATOR = "strata"
_EMPTY = '{"segments":{}}'


def flag_key(segment_key: str) -> str:
    """Return the name of the segment's flag."""
    return f"segment-{segment_key}"


def render_flags(value: str) -> dict[str, Any]:
    """Return evaluators and flags for the segments of a view.

    Args:
        value: The view's ``#segments`` entry: ``{"segments": {key: {"version": 1, "group": "tier"}}}``;
            ``"groups": ["offer", "tier"]`` for one in several.
    """
    segments: dict[str, dict[str, Any]] = json.loads(value)["segments"]
    # Providers replace references once: an evaluator must not refer to another.
    known = {"!=": [{"var": "segments"}, None]}
    evaluators: dict[str, Any] = {"knows_segments": known}
    flags: dict[str, Any] = {}
    for key, facts in sorted(segments.items()):
        evaluators[f"in_{key}"] = {"and": [known, {"in": [key, {"var": "segments"}]}]}
        flags[flag_key(key)] = {
            "state": "ENABLED",
            "variants": {"member": "member", "not_member": "not_member", "unknown": "unknown"},
            "defaultVariant": "unknown",
            "targeting": {"if": [{"$ref": f"in_{key}"}, "member", {"$ref": "knows_segments"}, "not_member", "unknown"]},
            "metadata": {"segment": key, **facts},
        }
    return {"$evaluators": evaluators, "flags": flags}


class FlagdStore:
    """A destination of kind ``flagd``; see ``contract.Store`` for what its methods promise."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.where = str(path)

    def forget(self, customer_ids: Sequence[str]) -> int:  # noqa: ARG002 - what every store is asked
        """Nothing to remove: the file says what segments there are, and names no customer."""
        return 0

    def close(self) -> None:
        """Nothing is held open between calls."""

    def position(self) -> Position | None:
        """Return how far the file got, or ``None`` where there is no file."""
        document = self._read()
        return None if document is None else self._position(document)

    def acquire(self, epoch: int) -> Position:
        """Take the file over; return where it stands."""
        with self._locked():
            document = self._read() or self._document(_EMPTY, {"epoch": 0})
            held = self._position(document)
            if held.epoch >= epoch:
                raise fenced(self, held.epoch, epoch)
            document["metadata"]["epoch"] = epoch
            self._replace_file(document)
            return self._position(document)

    def apply(self, epoch: int, batch: Batch) -> None:
        """Write the file with the batch's segments and its position."""
        with self._locked():
            document = self._fence(epoch)
            if is_applied(self, self._position(document).seq, batch):
                return
            self._write(document, batch.upserts, batch.deletes, {"seq": batch.seq_to, "ref": batch.ref})

    def replace(self, epoch: int, chunks: Iterable[list[Row]], end: Position, crash_point: CrashPoint) -> int:
        """Write the whole file anew."""
        rows: list[Row] = []
        for chunk in chunks:
            rows += [row for row in chunk if row[0] == SEGMENTS_KEY]
            crash_point("mid_snapshot")
        crash_point("before_flip")
        with self._locked():
            self._fence(epoch)
            facts = {"view": end.view_id, "seq": end.seq, "ref": end.ref}
            fresh = self._document(_EMPTY, {"epoch": epoch, **facts, **_moments(end.as_of, end.delivered_at)})
            self._write(fresh, rows, [], {})
        crash_point("after_flip")
        return len(rows)

    def confirm(self, epoch: int, confirmation: Confirmation) -> None:
        """Note that the file is in step with the source."""
        with self._locked():
            document = self._fence(epoch)
            moments = _moments(confirmation.as_of, confirmation.delivered_at)
            facts = {**moments, "max_staleness_seconds": confirmation.max_staleness_seconds}
            self._write(document, [], [], facts)

    def read_back(self) -> Iterator[list[Row]]:
        """Yield the one entry the file was made from, or what someone made of it."""
        document = self._read()
        if document is None:
            return
        facts = {
            key: {name: fact for name, fact in flag.get("metadata", {}).items() if name != "segment"}
            for key, flag in ((key.removeprefix("segment-"), flag) for key, flag in document["flags"].items())
        }
        value = _canonical({"segments": facts})
        served = {part: document.get(part) for part in ("$evaluators", "flags")}
        if served != render_flags(value):
            value = _canonical(served)
        yield [(SEGMENTS_KEY, value)]

    def repair(self, epoch: int, upserts: list[Row], deletes: list[str]) -> None:
        """Write the rules anew; the position stays."""
        with self._locked():
            self._write(self._fence(epoch), upserts, deletes, {})

    def _write(
        self, document: dict[str, Any], upserts: list[Row], deletes: list[str], facts: dict[str, object]
    ) -> None:
        value = dict(upserts).get(SEGMENTS_KEY, _EMPTY if SEGMENTS_KEY in deletes else None)
        if value is not None:
            document.update(render_flags(value))
        document["metadata"].update(facts)
        self._replace_file(document)

    def _document(self, value: str, facts: dict[str, object]) -> dict[str, Any]:
        metadata = {"generator": GENERATOR, "destination": self.name, **facts}
        return {"$schema": "https://flagd.dev/schema/v0/flags.json", "metadata": metadata, **render_flags(value)}

    def _position(self, document: dict[str, Any]) -> Position:
        facts = document["metadata"]
        as_of, delivered_at = facts.get("as_of"), facts.get("delivered_at")
        return Position(
            view_id=facts.get("view", ""),
            epoch=facts["epoch"],
            seq=facts.get("seq"),
            ref=facts.get("ref", ""),
            as_of=datetime.fromisoformat(as_of) if as_of else None,
            delivered_at=datetime.fromisoformat(delivered_at) if delivered_at else None,
        )

    def _fence(self, epoch: int) -> dict[str, Any]:
        document = self._read()
        if document is None or document["metadata"]["epoch"] != epoch:
            raise fenced(self, document["metadata"]["epoch"] if document else None, epoch)
        return document

    def _read(self) -> dict[str, Any] | None:
        with self._usable():
            if not self.path.exists():
                return None
            text = self.path.read_bytes()
        try:
            document = json.loads(text)
            ours = document["metadata"]["generator"] == GENERATOR and document["metadata"]["destination"] == self.name
            int(document["metadata"]["epoch"])
            dict(document["flags"])
        except (ValueError, KeyError, TypeError):
            ours = False
        if not ours:
            # Overwriting it could destroy flags that people wrote.
            raise DestinationError(
                f"destination {self.name}: the file is broken, or is not one that this destination wrote",
                where=self.where,
                expected="a flag file written by sync, or none",
                repair="move the file away, then `strata run --from sync`: it is written anew from the state",
            )
        found: dict[str, Any] = document
        return found

    def _replace_file(self, document: dict[str, Any]) -> None:
        draft = self.path.with_name(self.path.name + ".draft")
        with self._usable():
            with draft.open("w", encoding="utf-8") as file:
                json.dump(document, file, indent=2, ensure_ascii=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._usable():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        with translated(
            DestinationError, f"destination {self.name} can't be used", self.where, "a file that can be written"
        ):
            yield


def _moments(as_of: datetime | None, delivered_at: datetime | None) -> dict[str, object]:
    found = {"as_of": as_of, "delivered_at": delivered_at}
    return {name: moment.isoformat() for name, moment in found.items() if moment is not None}


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
