"""A trained model as a file: versioned, with a hash, never changed once it is written.

Belongs here: writing and reading ``catalog/models/matching-v<number>.json``. Does not belong here: training
(`training.py`), or which version is in force (`catalog.py`).

The file holds weights, keys and shares of frequent values (such as common surnames; none that fewer than five records
have). It holds no record.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.matching.blocking import Key
from segmentation.identity.matching.features import Frequencies
from segmentation.identity.matching.kinds import KINDS, Feature, features_of
from segmentation.identity.matching.scoring import Neighbours, Parameters, Weights
from segmentation.identity.matching.training import Learned

#: Folder below the catalog.
MODELS_FOLDER = "models"

#: Changes whenever `kinds.py` makes other columns or levels of an attribute: what was trained before fits no longer.
KINDS_VERSION = 1

_NAME = re.compile(r"matching-v([0-9]+)\.json")


@dataclass(frozen=True, slots=True)
class MatchingModel:
    """A model that can score pairs.

    Attributes:
        version: Its number; 0 where it is in no file.
        kinds: Kind of each attribute, by name.
        keys: Keys that find pairs.
        parameters: Weights and prior.
        frequencies: Of frequent values, by column.
        summary: Figures about data and training; ``sources_sha256`` tells which records it was.
    """

    version: int
    kinds: Mapping[str, str]
    keys: tuple[Key, ...]
    parameters: Parameters
    frequencies: Mapping[str, Frequencies]
    summary: Mapping[str, int | float | str]

    @property
    def features(self) -> tuple[Feature, ...]:
        """What is made of the attributes."""
        return features_of(self.kinds)

    @property
    def sha256(self) -> str:
        """Fingerprint of everything that decides a score."""
        return _fingerprint(_content(self))


def model_of(learned: Learned, summary: Mapping[str, int | float | str]) -> MatchingModel:
    """Return what was learned as a model; ``summary`` is added to the training's own."""
    return MatchingModel(
        0, learned.kinds, learned.keys, learned.parameters, learned.frequencies, {**learned.summary, **summary}
    )


def save_model(model: MatchingModel, catalog: Path) -> tuple[Path, MatchingModel]:
    """Write a model under the next number; return the file, and the model under its number.

    The file appears whole or not at all; one that exists is never written again.
    """
    folder = catalog / MODELS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    version = max([*list_versions(catalog), 0]) + 1
    numbered = MatchingModel(version, model.kinds, model.keys, model.parameters, model.frequencies, model.summary)
    content = {"sha256": numbered.sha256, "version": version, "summary": dict(model.summary), **_content(numbered)}
    path = folder / f"matching-v{version}.json"
    draft = path.with_suffix(".draft")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    # A link fails where the name is taken: two trainings at once give two versions.
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return save_model(model, catalog)
    finally:
        draft.unlink(missing_ok=True)
    return path, numbered


def list_versions(catalog: Path) -> list[int]:
    """Return the numbers of the models in the catalog, in order."""
    found = (_NAME.fullmatch(path.name) for path in (catalog / MODELS_FOLDER).glob("matching-v*.json"))
    return sorted(int(match[1]) for match in found if match)


def load_model(catalog: Path, version: int) -> MatchingModel:
    """Read a model and check it against its hash.

    Raises:
        NotFoundError: There is no such version.
        StrataError: The file is not what training wrote, or this version of the program can't use it.
    """
    path = catalog / MODELS_FOLDER / f"matching-v{version}.json"
    if not path.is_file():
        known = ", ".join(map(str, list_versions(catalog))) or "none yet"
        raise NotFoundError(
            f"there is no matching model {version}",
            where=str(path),
            expected=f"a trained version: {known}",
            repair="strata identity train-matching, or name another version in catalog/matching.yml",
        )
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        model = _read(written)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise _damaged(path, f"JSON as training wrote it ({type(error).__name__})") from error
    if model.sha256 != written["sha256"] or model.version != version:
        raise _damaged(path, "the content that its sha256 was made of")
    if written["kinds_version"] != KINDS_VERSION or not set(model.kinds.values()) <= set(KINDS):
        raise StrataError(
            f"matching model {version} was trained for other comparisons",
            where=str(path),
            expected=f"kinds_version {KINDS_VERSION}",
            repair="strata identity train-matching, then name the new version in catalog/matching.yml",
        )
    return model


def _content(model: MatchingModel) -> dict[str, Any]:
    """Return what decides a score, ready for JSON."""
    parameters = model.parameters
    return {
        "kinds_version": KINDS_VERSION,
        "attributes": dict(model.kinds),
        "keys": [list(key) for key in model.keys],
        "prior": parameters.prior,
        "weights": {name: asdict(one) for name, one in parameters.weights.items()},
        "neighbours": asdict(parameters.neighbours) if parameters.neighbours else None,
        "frequencies": {
            column: {"rare": one.rare, "shares": dict(one.shares)} for column, one in model.frequencies.items()
        },
    }


def _read(written: Mapping[str, Any]) -> MatchingModel:
    shares = TypeAdapter(dict[str, dict[str, float | dict[str, float]]]).validate_python(written["frequencies"])
    weights = TypeAdapter(dict[str, Weights]).validate_python(written["weights"])
    return MatchingModel(
        int(written["version"]),
        TypeAdapter(dict[str, str]).validate_python(written["attributes"]),
        tuple(tuple(map(str, key)) for key in written["keys"]),
        Parameters(
            float(written["prior"]), weights, TypeAdapter(Neighbours | None).validate_python(written["neighbours"])
        ),
        {column: Frequencies(one["shares"], one["rare"]) for column, one in shares.items()},  # type: ignore[arg-type]
        written["summary"],
    )


def _fingerprint(content: Mapping[str, Any]) -> str:
    plain = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def _damaged(path: Path, expected: str) -> StrataError:
    return StrataError(
        "the matching model is damaged or was edited",
        where=str(path),
        expected=expected,
        repair="restore the file, or strata identity train-matching and name the new version",
    )
