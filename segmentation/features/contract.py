"""The contract of the feature table: what a segment rule may name, and what it means.

Belongs here: reading columns, types and meaning from the dbt model's YAML, with the place of each. Does not
belong here: how a feature is computed (`dbt_project/models`) or how rules use it (`segmentation/segments`).
Look next at `candidate.py`, which holds the built table to this contract.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from segmentation.complaints import Location
from segmentation.documents import Document, read_document, refuse
from segmentation.errors import CatalogProblem, CatalogProblems, did_you_mean

#: The file that is the contract, relative to the dbt project.
CONTRACT_FILE = Path("models/features/customer_features.yml")

#: Name of the model within that file.
MODEL = "customer_features"

#: The same of the table that rules over accounts see; a project may be without it.
ACCOUNTS_FILE = Path("models/features/account_features.yml")
ACCOUNTS_MODEL = "account_features"

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

#: Special categories of personal data (GDPR articles 9 and 10): no rule reads one unless its segment says so.
SENSITIVE = (
    "biometrics",
    "criminal_record",
    "ethnicity",
    "genetics",
    "health",
    "politics",
    "religion",
    "sex_life",
    "union_membership",
)

_EXPECTED = "name, data_type, description and config.meta with unit, owner, max_age_hours, source"


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
        is_required: Whether the contract says that it is never null.
        category: Special category of personal data that it is or tells of, one of ``SENSITIVE``; empty for none.
    """

    name: str
    type: str
    description: str
    unit: str
    owner: str
    max_age_hours: int
    source: str
    where: str
    is_required: bool = False
    category: str = ""

    @property
    def duckdb_type(self) -> str:
        """Type as DuckDB names it."""
        return DUCKDB_TYPES[self.type]


@dataclass(frozen=True, slots=True)
class FeatureContract:
    """All features, in the order of the table's columns.

    Attributes:
        path: The file.
        features: Columns of the table.
        accounts: The contract of the features of accounts; ``None`` where there are none.
    """

    path: Path
    features: tuple[Feature, ...]
    accounts: "FeatureContract | None" = None

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def types(self) -> dict[str, str]:
        """DuckDB type of each column, in order."""
        return {feature.name: feature.duckdb_type for feature in self.features}

    @property
    def categories(self) -> dict[str, str]:
        """Special category of each column that has one."""
        return {feature.name: feature.category for feature in self.features if feature.category}

    @property
    def required(self) -> frozenset[str]:
        """Features that are never null."""
        return frozenset(feature.name for feature in self.features if feature.is_required)

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
        CatalogProblems: The file is missing, is not YAML, or says things that a contract can't mean; with file and
            line of each.
    """
    of_accounts = dbt_project_dir / ACCOUNTS_FILE
    accounts = _read(of_accounts, ACCOUNTS_MODEL) if of_accounts.exists() else None
    return replace(_read(dbt_project_dir / CONTRACT_FILE, MODEL), accounts=accounts)


def _read(path: Path, model: str) -> FeatureContract:
    document = read_document(path)
    refuse(document.problems)
    features: dict[str, Feature] = {}
    problems: list[CatalogProblem] = []
    for at, column in _columns(document, model):
        found = list(_problems_of(document, at, column))
        problems += found
        if found:
            continue
        feature = _feature(document, at, column)
        if feature.name in features:
            what = f"feature {feature.name!r} is defined twice, first at {features[feature.name].where}"
            problems.append(document.problem(what, at, expected="each feature once"))
        features.setdefault(feature.name, feature)
    refuse(problems)
    return FeatureContract(path=path, features=tuple(features.values()))


def _columns(document: Document, name: str) -> list[tuple[Location, dict[str, Any]]]:
    models = _items(document.content, "models")
    for index, model in enumerate(models):
        if isinstance(model, dict) and model.get("name") == name:
            at: Location = ("models", index, "columns")
            columns = _items(model, "columns")
            if columns:
                return [((*at, place), one if isinstance(one, dict) else {}) for place, one in enumerate(columns)]
            raise CatalogProblems([document.problem(f"model {name} has no columns", at, expected=_EXPECTED)])
    raise CatalogProblems([document.problem(f"no model {name} is described here", expected=f"a model named {name}")])


def _problems_of(document: Document, at: Location, column: dict[str, Any]) -> Iterator[CatalogProblem]:
    texts = _texts(column)
    label = texts["name"] or "without a name"
    missing = [key for key, value in texts.items() if not value and key != "category"]
    if missing:
        yield document.problem(f"feature {label} lacks {', '.join(missing)}", at, expected=_EXPECTED)
        return
    if texts["data_type"].lower() not in DUCKDB_TYPES:
        yield document.problem(
            f"feature {label} has type {texts['data_type']!r}{did_you_mean(texts['data_type'], DUCKDB_TYPES)}",
            (*at, "data_type"),
            expected=f"one of {', '.join(DUCKDB_TYPES)}",
        )
    if not texts["max_age_hours"].isdigit() or int(texts["max_age_hours"]) < 1:
        yield document.problem(
            f"feature {label} has max_age_hours {texts['max_age_hours']!r}",
            (*at, "config", "meta", "max_age_hours"),
            expected="a whole number of hours, 1 or more",
        )
    if texts["category"] and texts["category"] not in SENSITIVE:
        yield document.problem(
            f"feature {label} has category {texts['category']!r}{did_you_mean(texts['category'], SENSITIVE)}",
            (*at, "config", "meta", "category"),
            expected=f"one of {', '.join(SENSITIVE)}; none for data of no special category",
        )


def _feature(document: Document, at: Location, column: dict[str, Any]) -> Feature:
    texts = _texts(column)
    return Feature(
        name=texts["name"],
        type=texts["data_type"].lower(),
        description=texts["description"],
        unit=texts["unit"],
        owner=texts["owner"],
        max_age_hours=int(texts["max_age_hours"]),
        source=texts["source"],
        where=document.where(at),
        category=texts["category"],
        is_required=any(_text(one, "type") == "not_null" for one in _items(column, "constraints")),
    )


def _texts(column: dict[str, Any]) -> dict[str, str]:
    config = column.get("config")
    meta = config.get("meta") if isinstance(config, dict) else None
    texts = {key: _text(column, key) for key in ("name", "data_type", "description")}
    return texts | {key: _text(meta, key) for key in ("unit", "owner", "source", "max_age_hours", "category")}


def _items(content: object, key: str) -> list[Any]:
    found = content.get(key) if isinstance(content, dict) else None
    return found if isinstance(found, list) else []


def _text(content: object, key: str) -> str:
    found = content.get(key) if isinstance(content, dict) else None
    return " ".join(str(found).split()) if isinstance(found, str | int) else ""
