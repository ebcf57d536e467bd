"""Trained models as files: versioned, with a hash, never changed once they are written.

Belongs here: writing and reading ``model-v<number>.json``. Does not belong here: training (`training.py`), or which
version is in force (`catalog.py`).
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.matching.features import Frequencies
from segmentation.identity.matching.kinds import KINDS
from segmentation.identity.matching.model import MatchingModel
from segmentation.identity.matching.scoring import Neighbours, Parameters, Weights

#: Changes whenever `kinds.py` makes other columns or levels of an attribute: what was trained before fits no longer.
KINDS_VERSION = 1

_NAME = re.compile(r"model-v([0-9]+)\.json")


def save_model(model: MatchingModel, folder: Path) -> tuple[Path, MatchingModel]:
    """Write a model under the next number; return the file, and the model under its number.

    The file appears whole or not at all; one that exists is never written again. What decides the same scores as the
    newest version is that version: nothing is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    versions = list_versions(folder)
    if versions:
        newest = load_model(folder, versions[-1])
        if fingerprint(newest) == fingerprint(model):
            return _path(folder, versions[-1]), newest
    version = max([*versions, 0]) + 1
    content = {
        "sha256": fingerprint(model),
        "version": version,
        "summary": dict(model.summary),
        "kinds_version": KINDS_VERSION,
        **_content(model),
    }
    path = _path(folder, version)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
    draft = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    # A link fails where the name is taken: two trainings at once give two versions.
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return save_model(model, folder)
    finally:
        draft.unlink(missing_ok=True)
    return path, replace(model, version=version)


def list_versions(folder: Path) -> list[int]:
    """Return the numbers of the models in a folder, in order."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob("model-v*.json"))
    return sorted(int(match[1]) for match in found if match)


def load_model(folder: Path, version: int) -> MatchingModel:
    """Read a model and check it against its hash.

    Raises:
        NotFoundError: There is no such version.
        StrataError: The file is not what training wrote, or this version of the program can't use it.
    """
    path = _path(folder, version)
    if not path.is_file():
        known = ", ".join(map(str, list_versions(folder))) or "none yet"
        raise NotFoundError(
            f"there is no matching model {version}",
            where=str(path),
            expected=f"a trained version: {known}",
            repair="strata matching train, or name another version in catalog/matching.yml",
        )
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        kinds_version = int(written["kinds_version"])
        model = _read(written)
        sha256 = str(written["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise _damaged(path, f"JSON as training wrote it ({type(error).__name__})") from error
    if fingerprint(model) != sha256 or model.version != version:
        raise _damaged(path, "the content that its sha256 was made of")
    if kinds_version != KINDS_VERSION or not set(model.kinds.values()) <= set(KINDS):
        raise StrataError(
            f"matching model {version} was trained for other comparisons",
            where=str(path),
            expected=f"kinds_version {KINDS_VERSION}",
            repair="strata matching train, then name the new version in catalog/matching.yml",
        )
    return model


def fingerprint(model: MatchingModel) -> str:
    """Return the SHA-256 of everything that decides a score; the number of the version does not."""
    plain = json.dumps(_content(model), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def _path(folder: Path, version: int) -> Path:
    return folder / f"model-v{version}.json"


def _content(model: MatchingModel) -> dict[str, Any]:
    """Return what decides a score, ready for JSON."""
    parameters = model.parameters
    return {
        # The order of attributes is that of the comparisons.
        "attributes": [[name, kind] for name, kind in model.kinds.items()],
        "keys": [list(key) for key in model.keys],
        "prior": parameters.prior,
        "weights": {name: asdict(one) for name, one in parameters.weights.items()},
        "neighbours": asdict(parameters.neighbours) if parameters.neighbours else None,
        "frequencies": {
            column: {"rare": one.rare, "shares": dict(one.shares)} for column, one in model.frequencies.items()
        },
    }


def _read(written: Mapping[str, Any]) -> MatchingModel:
    weights = TypeAdapter(dict[str, Weights]).validate_python(written["weights"])
    neighbours = TypeAdapter(Neighbours | None).validate_python(written["neighbours"])
    return MatchingModel(
        TypeAdapter(dict[str, str]).validate_python(dict(written["attributes"])),
        tuple(tuple(map(str, key)) for key in written["keys"]),
        Parameters(float(written["prior"]), weights, neighbours),
        TypeAdapter(dict[str, Frequencies]).validate_python(written["frequencies"]),
        written["summary"],
        int(written["version"]),
    )


def _damaged(path: Path, expected: str) -> StrataError:
    return StrataError(
        "the matching model is damaged or was edited",
        where=str(path),
        expected=expected,
        repair="restore the file, or strata matching train and name the new version in catalog/matching.yml",
    )
