"""Pseudo-random numbers inside the engine: the same seed gives the same numbers on every version.

Belongs here: the mixing function and the SQL macros that draw from it, and `spread`, which deals a total
out by weight. Does not belong here: what is drawn (the module of each feed); the connection is opened in
`world.py`.

Every draw is a pure function of (seed, stream name, key), so that no draw depends on the order of rows,
the number of threads or a former draw. The mixing function is the 32-bit ``lowbias32`` finaliser found by
Chris Wellons' hash prospector: two rounds of xor-shift and multiplication, a bijection on 32 bits. It is
written with 64-bit integers masked to 32, because the engine refuses integer overflow, and because its
own ``hash`` may change between versions.
"""

from segmentation.warehouse import Connection, literal

#: Keys of draws stay below this; `world.py` bounds the number of customers accordingly.
KEY_LIMIT = 2**32

_MACROS = """
create or replace macro mix_first(x) as (xor(x, x >> 16) * 2146121005) & 4294967295;
create or replace macro mix_second(x) as (xor(x, x >> 15) * 2221713035) & 4294967295;
create or replace macro mix_last(x) as xor(x, x >> 16);
create or replace macro mix(x) as mix_last(mix_second(mix_first(x)));
create or replace macro draw(k, stream) as
    mix(xor(k::ubigint, md5_number_lower({seed} || stream)::ubigint & 4294967295));
create or replace macro below(k, stream, n) as (draw(k, stream) % (n)::ubigint)::bigint;
create or replace macro unit(k, stream) as draw(k, stream) / 4294967296.0::double;
create or replace macro chance(k, stream, ppm) as draw(k, stream) % 1000000 < ppm;
create or replace macro pick(items, k, stream) as (items)[1 + below(k, stream, len(items))];
create or replace macro rising(k, stream, low, high) as
    low + floor(greatest(1, high - low) * unit(k, stream) * (1.5 - unit(k, stream) / 2))::bigint;
create or replace macro token(k, stream) as lower(hex(4294967296 + draw(k, stream)));
"""


def install_macros(con: Connection, seed: int) -> None:
    """Create the macros that draw for ``seed``.

    ``draw`` gives 0 to 2³² − 1, ``below`` 0 to n − 1, ``unit`` 0 to 1 (exclusive), ``chance`` true in
    ``ppm`` of a million keys, ``pick`` an item of a list, ``rising`` a whole number from low to high
    (exclusive), three times as likely at the upper end as at the lower, ``token`` nine hexadecimal digits,
    the first a 1, that differ for different keys of one stream.
    """
    con.execute(_MACROS.format(seed=literal(f"{seed}:")))


def spread(con: Connection, table: str, weights: str, total: int) -> int:
    """Deal ``total`` things out to persons by weight; return how many were dealt.

    Writes ``table(person, n, first)``: the person has the things ``first`` to ``first + n - 1``. The count
    of a person is the exact share, rounded up or down at random, so the total is met closely but not exactly.

    Args:
        con: Connection with the macros of `install_macros`.
        table: Name of the table to write, and the stream of its draws.
        weights: Query for ``person`` and a positive integer ``weight``; integers, because a sum of
            floating-point numbers would depend on the order of the rows.
        total: How many things there are.
    """
    con.execute(
        f"""
        create or replace table {table} as
        with weighted as ({weights}),
        counted as (
            select
                person,
                floor(
                    weight * {total} / (select sum(weight)::double from weighted)
                    + unit(person, {literal(table)})
                )::bigint as n
            from weighted
        )
        select
            person,
            n,
            (sum(n) over (order by person rows unbounded preceding) - n)::bigint as first
        from counted
        where n > 0
        """
    )
    return int(con.execute(f"select coalesce(sum(n), 0) from {table}").fetchall()[0][0])
