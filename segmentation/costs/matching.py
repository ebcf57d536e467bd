"""Pools as SQL: which pool takes a charge, and which tag value it looks at.

Belongs here: turning the model of `pools.py` into expressions over ``sources.charges``. Does not belong
here: what the pools say (`pools.py`) or what becomes of a matched charge (`charges.py`).
"""

from segmentation.costs.pools import CostPools, Match, Pool
from segmentation.warehouse import literal

#: Number of the rule that takes what no pool takes.
DEFAULT_RULE = -1

_PATTERN_COLUMNS = ("source", "provider_name", "service_name", "service_category", "charge_class")


def rule_sql(pools: CostPools) -> str:
    """Return an expression for the position of the first pool that matches, or ``DEFAULT_RULE``.

    It reads the columns of ``sources.charges`` and ``incurred_date``.
    """
    branches = [f"when {_pool_sql(pool)} then {position}" for position, pool in enumerate(pools.pools)]
    return f"case {' '.join(branches)} else {DEFAULT_RULE} end" if branches else str(DEFAULT_RULE)


def tag_sql(pools: CostPools) -> str:
    """Return an expression for the tag value that the pool of column ``rule_id`` allocates by."""
    branches = [
        f"when {position} then {_tag(pool.tag_key)}" for position, pool in enumerate(pools.pools) if pool.tag_key
    ]
    return f"case rule_id {' '.join(branches)} end" if branches else "cast(null as varchar)"


def _pool_sql(pool: Pool) -> str:
    conditions = list(_match_conditions(pool.match))
    if pool.valid_from is not None:
        conditions.append(f"incurred_date >= date {literal(pool.valid_from.isoformat())}")
    if pool.valid_to is not None:
        conditions.append(f"incurred_date < date {literal(pool.valid_to.isoformat())}")
    return " and ".join(conditions)


def _match_conditions(match: Match) -> list[str]:
    conditions = [_any_of(column, getattr(match, column)) for column in _PATTERN_COLUMNS if getattr(match, column)]
    if match.charge_category:
        conditions.append(f"charge_category in ({', '.join(map(literal, match.charge_category))})")
    conditions += [_any_of(_tag(key), patterns) for key, patterns in match.tags.items()]
    return conditions


def _any_of(expression: str, patterns: tuple[str, ...]) -> str:
    value = f"nullif(lower(trim({expression})), '')"
    return "(" + " or ".join(f"{value} glob {literal(pattern.lower())}" for pattern in patterns) + ")"


def _tag(key: str) -> str:
    path = literal(f'$."{key}"')
    return f"nullif(trim(json_extract_string(tags, {path})), '')"
