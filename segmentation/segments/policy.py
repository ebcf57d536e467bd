"""The policy: what stands above every single definition, in a file of its own.

Belongs here: reading ``catalog/policy.yml``, and what of it gives way when it changes. Does not belong here: limits
themselves (``limits.py``), and which changes wait (``in_force.py``). Guards that are written here hold beside those
of a definition, the stricter of both: deleting a block of a definition deletes no guard.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from segmentation.documents import read_document
from segmentation.errors import CatalogProblem, did_you_mean
from segmentation.segments.definitions import Key
from segmentation.segments.limits import Limits, loosened, stricter

POLICY_FILE = "policy.yml"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Approvals(_Model):
    """Which changes of definitions wait for a person."""

    breaking: bool = Field(True, description="Whether a breaking change goes live by strata apply alone.")
    expire_after_days: int = Field(90, ge=1, description="How long an approval whose run never came still counts.")


class PolicyGuards(_Model):
    """Limits that no definition can take away."""

    default: Limits = Field(default_factory=Limits, description="For every segment.")
    segments: dict[Key, Limits] = Field(default_factory=dict, description="By segment, beside the default.")


class Quota(_Model):
    """How much there may be, so that somebody cleans up before something is added."""

    live_segments: int | None = Field(None, ge=1, description="Most segments that may be active or deprecated at once.")


class Policy(_Model):
    """The file ``policy.yml``."""

    approvals: Approvals = Field(default_factory=Approvals)
    guards: PolicyGuards = Field(default_factory=PolicyGuards)
    quota: Quota = Field(default_factory=Quota)

    def limits(self, key: str) -> Limits:
        """Return the limits of a segment, those of every segment included."""
        return stricter(self.guards.default, self.guards.segments.get(key, Limits()))

    def facts(self) -> dict[str, Any]:
        """Return the policy as JSON-ready facts, the same however the file is written."""
        return self.model_dump(mode="json", exclude_none=True)


def load_policy(folder: Path) -> Policy:
    """Read ``policy.yml`` in ``folder``; without the file, breaking changes wait and there are no guards.

    Raises:
        CatalogProblems: With everything that is wrong with the file.
    """
    path = folder / POLICY_FILE
    if not path.exists():
        return Policy()
    return read_document(path, f"{folder.name}/{POLICY_FILE}").parse(Policy)


def check_policy(folder: Path, policy: Policy, keys: Collection[str]) -> list[CatalogProblem]:
    """Return a warning for each segment that the policy guards and the catalog does not have."""
    path = folder / POLICY_FILE
    document = read_document(path, f"{folder.name}/{POLICY_FILE}") if path.exists() else None
    found = []
    for key in policy.guards.segments:
        if key in keys or document is None:
            continue
        place = document.place(("guards", "segments", key))
        found.append(
            CatalogProblem(
                document.name,
                place.line,
                f"it guards the unknown segment {key}{did_you_mean(key, keys)}",
                column=place.column,
                expected="the key of a segment",
                repair="correct the key; where the segment is gone, take its guards out",
                severity="warning",
            )
        )
    return found


def check_quota(folder: Path, policy: Policy, live: Sequence[str]) -> list[CatalogProblem]:
    """Return an error where more segments are live than the policy allows."""
    most = policy.quota.live_segments
    if most is None or len(live) <= most:
        return []
    name = f"{folder.name}/{POLICY_FILE}"
    line, column = 1, None
    if (folder / POLICY_FILE).exists():
        # The quota in force may be one that was taken out of the file and waits there for approval.
        place = read_document(folder / POLICY_FILE, name).place(("quota", "live_segments"))
        line, column = place.line, place.column
    what = f"{len(live)} segments are live, and the quota is {most}"
    repair = "retire what nobody needs any more, which strata prune finds; or raise the quota"
    return [CatalogProblem(name, line, what, column=column, repair=repair)]


def guarded_segments(folder: Path, policy: Policy) -> list[tuple[str, str, str]]:
    """Return each segment that the policy guards: its key, what names it, and the place as ``file:line``."""
    path, name = folder / POLICY_FILE, f"{folder.name}/{POLICY_FILE}"
    document = read_document(path, name) if path.exists() else None
    return [
        (key, "a guard of the policy", document.where(("guards", "segments", key)) if document else name)
        for key in policy.guards.segments
    ]


def policy_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``policy.yml``, for completion in editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Policy.model_json_schema()}


def given_way(before: Policy, after: Policy) -> list[str]:
    """Return in words what protects less after than before; none where all is kept or gets stricter."""
    found = []
    if before.approvals.breaking and not after.approvals.breaking:
        found.append("breaking changes no longer wait for approval")
    days, later = before.approvals.expire_after_days, after.approvals.expire_after_days
    if later > days:
        found.append(f"an approval whose run never came counts for {later} days, no longer for {days}")
    found += [f"default guards: {one}" for one in loosened(before.guards.default, after.guards.default)]
    for key in sorted({*before.guards.segments, *after.guards.segments}):
        found += [f"guards of {key}: {one}" for one in loosened(before.limits(key), after.limits(key))]
    quota = before.quota.live_segments
    if quota is not None and (after.quota.live_segments is None or after.quota.live_segments > quota):
        found.append(f"the quota of live segments is no longer {quota}")
    return found


def join(one: Policy, other: Policy) -> Policy:
    """Return the policy that protects as much as both."""
    keys = sorted({*one.guards.segments, *other.guards.segments})
    segments = {
        key: stricter(one.guards.segments.get(key, Limits()), other.guards.segments.get(key, Limits())) for key in keys
    }
    quotas = [found for policy in (one, other) if (found := policy.quota.live_segments) is not None]
    return Policy(
        quota=Quota(live_segments=min(quotas, default=None)),
        approvals=Approvals(
            breaking=one.approvals.breaking or other.approvals.breaking,
            expire_after_days=min(one.approvals.expire_after_days, other.approvals.expire_after_days),
        ),
        guards=PolicyGuards(default=stricter(one.guards.default, other.guards.default), segments=segments),
    )
