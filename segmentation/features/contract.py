"""The contract of the feature table: what a segment rule may name, and what it means.

Belongs here: reading columns, types and meaning from the dbt model's YAML, with the place of each. Does not
belong here: how a feature is computed (`dbt_project/models`) or how rules use it (`segmentation/segments`).
Look next at `candidate.py`, which holds the built table to this contract.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import yaml

from segmentation.errors import CatalogError

#: The file that is the contract, relative to the dbt project.
CONTRACT_FILE = Path("models/features/customer_features.yml")

#: Name of the model within that file.
MODEL = "customer_features"

#: Types that a feature may have, by the names dbt uses on every engine, with DuckDB's name for each.
DUCKDB_TYPES = MappingProxyType(
    {
        "string": "VARCHAR",
        "bigint": "BIGINT",
        "double": "DOUBLE",
        "boolean": "BOOLEAN",
        "date": "DATE",
        "timestamp": "TIMESTAMP",
        "varchar[]": "VARCHAR[]",
    }
)


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature table.

    Attributes:
        name: Column name.
        type: Type as the contract writes it, for example ``string`` or ``bigint``.
        description: What it means, in one or two sentences.
        unit: What a value counts or measures, for example ``micros``, ``days`` or ``ratio``.
        owner: Team that answers for it.
        max_age_hours: Age of the newest fact behind it from which it is stale.
        source: Concern it is computed from, for example ``orders``.
        where: ``file:line`` of its definition.
    """

    name: str
    type: str
    description: str
    unit: str
    owner: str
    max_age_hours: int
    source: str
    where: str

    @property
    def duckdb_type(self) -> str:
        """Type as DuckDB names it."""
        return DUCKDB_TYPES[self.type]


@dataclass(frozen=True, slots=True)
class FeatureContract:
    """All features, in the order of the table's columns."""

    path: Path
    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def types(self) -> dict[str, str]:
        """DuckDB type of each column, in order."""
        return {feature.name: feature.duckdb_type for feature in self.features}

    def get(self, name: str) -> Feature | None:
        """Return the feature called ``name``, or ``None``."""
        return next((feature for feature in self.features if feature.name == name), None)

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __contains__(self, name: object) -> bool:
        return any(feature.name == name for feature in self.features)

    def __len__(self) -> int:
        return len(self.features)


def load_contract(dbt_project_dir: Path) -> FeatureContract:
    """Read the contract from the dbt project's YAML; no dbt run is needed.

    Args:
        dbt_project_dir: Folder of the dbt project.

    Raises:
        CatalogError: The file is missing, is not YAML, or says something that a contract can't mean; the error
            names file and line.
    """
    path = dbt_project_dir / CONTRACT_FILE
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise _broken(path, f"the feature contract can't be read: {error}", str(path)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise _broken(path, f"the feature contract is not YAML: {error}", where) from error
    columns = _item(_model(path, root), "columns")
    if not isinstance(columns, yaml.SequenceNode) or not columns.value:
        raise _broken(path, f"model {MODEL} has no columns", str(path))
    features: dict[str, Feature] = {}
    for node in columns.value:
        feature = _feature(path, node)
        if feature.name in features:
            raise _broken(
                path,
                f"feature {feature.name!r} is defined twice, first at {features[feature.name].where}",
                feature.where,
            )
        features[feature.name] = feature
    return FeatureContract(path=path, features=tuple(features.values()))


def _model(path: Path, root: yaml.Node | None) -> yaml.Node:
    models = _item(root, "models")
    for node in models.value if isinstance(models, yaml.SequenceNode) else []:
        name = _item(node, "name")
        if name is not None and name.value == MODEL:
            return node  # type: ignore[no-any-return]  # PyYAML's nodes are untyped lists
    raise _broken(path, f"no model {MODEL} is described here", str(path))


def _feature(path: Path, node: yaml.Node) -> Feature:
    where = f"{path}:{node.start_mark.line + 1}"
    meta = _item(_item(node, "config"), "meta")
    texts = {
        "name": _text(node, "name"),
        "data_type": _text(node, "data_type"),
        "description": _text(node, "description"),
        "unit": _text(meta, "unit"),
        "owner": _text(meta, "owner"),
        "source": _text(meta, "source"),
        "max_age_hours": _text(meta, "max_age_hours"),
    }
    missing = [key for key, value in texts.items() if not value]
    label = texts["name"] or "without a name"
    if missing:
        raise _broken(path, f"feature {label} lacks {', '.join(missing)}", where)
    if texts["data_type"].lower() not in DUCKDB_TYPES:
        raise _broken(
            path,
            f"feature {label} has type {texts['data_type']!r}",
            where,
            expected=f"one of {', '.join(DUCKDB_TYPES)}",
        )
    if not texts["max_age_hours"].isdigit() or int(texts["max_age_hours"]) < 1:
        raise _broken(
            path,
            f"feature {label} has max_age_hours {texts['max_age_hours']!r}",
            where,
            expected="a whole number of hours, 1 or more",
        )
    return Feature(
        name=texts["name"],
        type=texts["data_type"].lower(),
        description=texts["description"],
        unit=texts["unit"],
        owner=texts["owner"],
        max_age_hours=int(texts["max_age_hours"]),
        source=texts["source"],
        where=where,
    )


def _item(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _text(node: yaml.Node | None, key: str) -> str:
    value = _item(node, key)
    return " ".join(value.value.split()) if isinstance(value, yaml.ScalarNode) else ""


def _broken(path: Path, what: str, where: str, *, expected: str = "") -> CatalogError:
    return CatalogError(
        what,
        where=where,
        expected=expected or "name, data_type, description and config.meta with unit, owner, max_age_hours, source",
        repair=f"edit {path.name}, then: strata validate",
    )
