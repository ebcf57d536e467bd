"""Fields that are collected and that nothing needs: what the principle of data minimisation asks about.

Belongs here: following each field that a source mapping fills to the features, rules and code that read it. Does not
belong here: lineage through SQL (`segmentation/features/lineage.py`). Caution goes one way: a field counts as needed
wherever a stage that reads its entity names it in its SQL, so that none is called unused that is used.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from orchestration.dbt_project import target_folder
from orchestration.settings import ROOT, Settings
from segmentation.documents import read_document
from segmentation.errors import NotFoundError
from segmentation.features.contract import ACCOUNTS_MODEL, MODEL, FeatureContract, load_contract
from segmentation.features.lineage import Table, columns_read
from segmentation.segments.catalog import load_catalog
from segmentation.segments.conditions import PURPOSES, features_of
from segmentation.sources.entities import ENTITIES, PROVENANCE
from segmentation.sources.mapping import load_mappings

#: Stages whose code reads sources by itself, with the files of the catalog that tell it what to read.
_READERS = {
    "identity": ("identifiers.yml", "matching.yml", "profile.yml", "purposes.yml"),
    "segments": (),
    "costs": ("cost_pools.yml",),
}
_CUSTOMERS, _ACCOUNTS = f"candidate_{MODEL}", f"candidate_{ACCOUNTS_MODEL}"
#: Features that every rule may depend on without naming them.
_ALWAYS_READ = ("customer_id", "as_of")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class UnusedField:
    """A column of a landed file that nothing needs.

    Attributes:
        use: ``none``, or ``unread_features`` where it reaches features, and no segment reads those.
        is_required: Whether rows without it go to quarantine: a mapping can't leave it out.
        where: ``file:line`` of the mapping.
    """

    source: str
    feed: str
    entity: str
    field: str
    use: Literal["none", "unread_features"]
    is_required: bool
    where: str


@dataclass(frozen=True, slots=True)
class FieldReview:
    """What is collected or computed for nobody.

    Attributes:
        collected: How many fields the mappings fill from files.
        fields: Those that nothing needs, those without any use first.
        features: Features that no live segment reads.
    """

    collected: int
    fields: tuple[UnusedField, ...]
    features: tuple[str, ...]


def review_fields(settings: Settings) -> FieldReview:
    """Follow every field that a mapping fills from a file.

    Raises:
        CatalogProblems: The catalog can't be used.
        NotFoundError: No run has compiled the features yet.
    """
    contract = load_contract(settings.dbt_project)
    models = _compiled_models(settings)
    tables = _tables(settings)
    read, read_of_accounts = _features_read(settings, contract)
    accounts = contract.accounts.names if contract.accounts and _ACCOUNTS in models else ()
    reached, needed = (
        _joined(columns_read(models, _CUSTOMERS, customers, tables), columns_read(models, _ACCOUNTS, of_them, tables))
        if accounts
        else columns_read(models, _CUSTOMERS, customers, tables)
        for customers, of_them in ((contract.names, accounts), (read, read_of_accounts))
    )
    collected, fields = 0, []
    for source, feed, entity, field, where in _mapped_fields(settings):
        collected += 1
        if field in _kept(settings, entity) or field in needed.get(("sources", entity), ()):
            continue
        use: Literal["none", "unread_features"] = (
            "unread_features" if field in reached.get(("sources", entity), ()) else "none"
        )
        is_required = any(column.required for column in ENTITIES[entity].columns if column.name == field)
        fields.append(UnusedField(source, feed, entity, field, use, is_required, where))
    fields.sort(key=lambda one: (one.use, one.source, one.entity, one.field))
    unread = [name for name in contract.names if name not in read]
    return FieldReview(collected, tuple(fields), tuple(unread))


def _joined(one: dict[Table, set[str]], other: dict[Table, set[str]]) -> dict[Table, set[str]]:
    return {table: one.get(table, set()) | other.get(table, set()) for table in one.keys() | other.keys()}


def _features_read(settings: Settings, contract: FeatureContract) -> tuple[set[str], set[str]]:
    """Return the features of customers and those of accounts that live segments read.

    By their rules, their consent or their residency.
    """
    found, of_accounts = set(_ALWAYS_READ), set[str]()
    for segment in load_catalog(settings.catalog, contract).segments.values():
        if not segment.definition.is_evaluated:
            continue
        found.update(features_of(segment.condition) if segment.condition else ())
        of_accounts.update(features_of(segment.account_condition) if segment.account_condition else ())
        found.update([PURPOSES] if segment.required_purposes else [])
        found.update(["residency_region"] if segment.definition.residency else [])
    return found, of_accounts


def _mapped_fields(settings: Settings) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield source, feed, entity, canonical column and place of every column that comes out of a file."""
    for mapping in load_mappings(settings.catalog / "sources"):
        document = read_document(mapping.path, f"{settings.catalog.name}/sources/{mapping.path.name}")
        for feed_index, feed in enumerate(mapping.feeds):
            for index, entity in enumerate(feed.entities):
                for name, rule in entity.columns.items():
                    if rule.constant is None:
                        at = ("feeds", feed_index, "entities", index, "columns", name)
                        yield mapping.source, feed.folder, entity.entity, name, document.where(at)


def _kept(settings: Settings, entity: str) -> set[str]:
    """Return the columns of an entity that are needed whatever features there are.

    What loading itself needs, and every name in the texts of a stage that reads the entity, and in its catalog.
    """
    found = {*ENTITIES[entity].key, ENTITIES[entity].event_time, "updated_at"}
    for stage, files in _READERS.items():
        entities, names = _texts_of(ROOT / "segmentation" / stage)
        if entity not in entities:
            continue
        found |= names
        for file in files:
            path = settings.catalog / file
            found.update(_NAME.findall(path.read_text(encoding="utf-8")) if path.exists() else ())
    return found


@cache
def _texts_of(package: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return the entities that a package's code reads, and all names in its texts, documentation left out."""
    entities: set[str] = set()
    names: set[str] = set()
    for path in sorted(package.rglob("*.py")):
        for text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
            names.update(_NAME.findall(text))
            entities.update(name for name in ENTITIES if text == name or f"sources.{name}" in text)
    return frozenset(entities), frozenset(names)


def _texts(tree: ast.Module) -> Iterator[str]:
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def _compiled_models(settings: Settings) -> dict[str, str]:
    folder = target_folder(settings) / "build_features" / "compiled"
    found = {
        # Features are built under the name of their candidate, which is how models name them.
        f"candidate_{path.stem}" if path.parent.name == "features" else path.stem: path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*/models/**/*.sql"))
        if not path.parent.name.endswith(".yml")
    }
    if _CUSTOMERS not in found:
        raise NotFoundError(
            "no run has built the features yet, so nothing says what they are computed from",
            where=str(folder),
            expected=f"the compiled SQL of {MODEL}",
            repair="strata run --from features",
        )
    return found


def _tables(settings: Settings) -> dict[Table, dict[str, str]]:
    """Return the columns of what models read: canonical entities, and what identity publishes."""
    found: dict[Table, dict[str, str]] = {
        ("sources", name): {column.name: column.type for column in (*PROVENANCE, *entity.columns)}
        for name, entity in ENTITIES.items()
    }
    with settings.warehouse.read() as con:
        for table, column, kind in con.execute(
            "select table_name, column_name, data_type from information_schema.columns "
            "where table_schema = 'identity' and table_catalog = current_database()"
        ).fetchall():
            found.setdefault(("identity", table), {})[column] = kind
    return found
