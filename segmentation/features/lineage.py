"""Which columns a model is computed from, through all the models between.

Belongs here: following columns backwards through compiled SQL. Does not belong here: which models there are and where
they lie (the caller knows), or what follows for collected data. A column counts as read wherever it stands: in what is
selected, in a join, in a condition or in an order. Where SQL can't be followed, everything it could read counts.
"""

from collections.abc import Collection, Iterator, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope

#: Schema and table.
Table = tuple[str, str]
#: Column to type, by table.
Tables = Mapping[Table, Mapping[str, str]]

_DIALECT = "duckdb"
_ANY_TYPE = "unknown"


def columns_read(
    models: Mapping[str, str], target: str, wanted: Collection[str], tables: Tables
) -> dict[Table, set[str]]:
    """Return the columns of tables that are no models, by table, from which columns of a model are computed.

    Args:
        models: Compiled SQL by the model's name, which is also the name of its table.
        target: The model.
        wanted: Those of its columns that are asked about.
        tables: Columns of the tables that models read.
    """
    return _Lineage(models, tables).trace(target, set(wanted))


class _Lineage:
    def __init__(self, models: Mapping[str, str], tables: Tables) -> None:
        self._parsed = {name: sqlglot.parse_one(sql, dialect=_DIALECT) for name, sql in models.items()}
        self._columns = {table: dict(columns) for table, columns in tables.items()}
        self._qualified: dict[str, exp.Expression | None] = {}
        for name in self._order():
            self._qualified[name] = self._qualify(name)

    def trace(self, target: str, wanted: set[str]) -> dict[Table, set[str]]:
        asked: dict[str, set[str]] = {target: wanted}
        read: dict[Table, set[str]] = {}
        for name in reversed(self._qualified):
            if not asked.get(name):
                continue
            for table, column in self._reads(name, asked[name]):
                if table[1] in self._parsed:
                    asked.setdefault(table[1], set()).add(column)
                else:
                    read.setdefault(table, set()).add(column)
        return read

    def _order(self) -> list[str]:
        """Return the models such that each comes after those it reads."""
        needs = {
            name: {table.name for table in tree.find_all(exp.Table) if table.db and table.name in self._parsed}
            for name, tree in self._parsed.items()
        }
        order: list[str] = []
        while ready := sorted(name for name in needs if name not in order and needs[name] <= set(order)):
            order += ready
        return order

    def _qualify(self, name: str) -> exp.Expression | None:
        """Return a model's SQL with every column's table named, and remember its columns; ``None`` if that fails."""
        schema: dict[str, dict[str, dict[str, str]]] = {}
        for (db, table), columns in self._columns.items():
            schema.setdefault(db, {})[table] = columns
        tree = self._parsed[name].copy()
        for table in tree.find_all(exp.Table):
            table.set("catalog", None)
        places = {table.db for one in self._parsed.values() for table in one.find_all(exp.Table) if table.name == name}
        try:
            qualified = qualify(
                tree, schema=schema, dialect=_DIALECT, validate_qualify_columns=False, quote_identifiers=False
            )
        except SqlglotError:
            return None
        for place in places:
            self._columns[place, name] = dict.fromkeys(qualified.named_selects, _ANY_TYPE)
        return None if _is_ambiguous(qualified) else qualified

    def _reads(self, name: str, wanted: set[str]) -> Iterator[tuple[Table, str]]:
        tree = self._qualified[name]
        if tree is None:
            for table in self._parsed[name].find_all(exp.Table):
                if table.db:
                    place = (table.db, table.name)
                    yield from ((place, column) for column in self._columns.get(place, ()))
            return
        tree = tree.copy()
        if isinstance(tree, exp.Select):
            tree.set("expressions", [one for one in tree.expressions if one.alias_or_name in wanted])
        for scope in traverse_scope(pushdown_projections(tree)):
            for column in scope.columns:
                source = scope.sources.get(column.table)
                if isinstance(source, exp.Table):
                    yield (source.db, source.name), column.name


def _is_ambiguous(tree: exp.Expression) -> bool:
    """Say whether SQL names a column without saying of which table, and it is no name that the SQL itself gave."""
    given = {one.alias for one in tree.find_all(exp.Alias) if one.this.name != one.alias or one.this.args.get("table")}
    return any(not column.table and column.name not in given for column in tree.find_all(exp.Column))
