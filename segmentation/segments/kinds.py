"""What a rule may compare with what: the kinds of features, read from the types of a contract.

Belongs here: the contract's shape and the mapping of column types to kinds. Does not belong here: where the
contract comes from (``segmentation.features``) or how conditions are typed (``parser.py``). Look next at
``conditions.py``.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

#: Feature name to column type, as dbt (``string``, ``bigint``) or the warehouse (``VARCHAR``) writes it.
Contract = Mapping[str, str]


class TypedFeatures(Protocol):
    """A contract that knows more than types, such as the one of ``segmentation.features``."""

    @property
    def types(self) -> dict[str, str]:
        """Feature name to column type."""


def column_types(contract: Contract | TypedFeatures) -> Contract:
    """Return feature name to column type, of either form of a contract."""
    return contract if isinstance(contract, Mapping) else contract.types


def account_types(contract: Contract | TypedFeatures) -> Contract:
    """Return the same of the features of accounts; empty where the contract has none."""
    return getattr(getattr(contract, "accounts", None), "types", {})


def sensitive_features(contract: Contract | TypedFeatures) -> dict[str, dict[str, str]]:
    """Return by entity the special category of personal data of each feature that has one."""
    found = {"customer": contract, "account": getattr(contract, "accounts", None)}
    return {entity: dict(getattr(one, "categories", {})) for entity, one in found.items()}


class Kind(StrEnum):
    """The kinds of values that the rule language tells apart."""

    INTEGER = "whole number"
    DOUBLE = "number"
    STRING = "text"
    BOOLEAN = "true or false"
    DATE = "date"
    TIMESTAMP = "timestamp"
    STRINGS = "list of texts"
    OTHER = "value of a type that rules can't use"

    @property
    def is_numeric(self) -> bool:
        """Whether arithmetic and order are defined."""
        return self in {Kind.INTEGER, Kind.DOUBLE}

    @property
    def is_temporal(self) -> bool:
        """Whether it is a point in time."""
        return self in {Kind.DATE, Kind.TIMESTAMP}


_KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        ("tinyint", "smallint", "int", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint"),
        Kind.INTEGER,
    ),
    **dict.fromkeys(("double", "float", "real", "decimal", "numeric"), Kind.DOUBLE),
    **dict.fromkeys(("string", "varchar", "text", "char"), Kind.STRING),
    **dict.fromkeys(("boolean", "bool"), Kind.BOOLEAN),
    "date": Kind.DATE,
    **dict.fromkeys(("timestamp", "datetime", "timestamp_ntz"), Kind.TIMESTAMP),
    **dict.fromkeys(("varchar[]", "string[]", "text[]", "array<string>"), Kind.STRINGS),
}


def kind_of(column_type: str) -> Kind:
    """Return the kind of a column type; precision and length, as in ``decimal(18, 2)``, don't matter."""
    return _KINDS.get(re.sub(r"\(.*\)|\s", "", column_type.lower()), Kind.OTHER)
