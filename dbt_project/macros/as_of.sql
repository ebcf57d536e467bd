{# The moment a run describes, as 'YYYY-MM-DD HH:MM:SS' (UTC). Building without it would let the machine's clock, or a
   placeholder, into results; so it stops. Parsing, compiling for documentation and linting need none. #}
{% macro as_of() -%}
    {#- Read from the environment only when SQL is written: a variable, or a read while parsing, would make every
        new moment parse the whole project anew. -#}
    {%- set moment = var('as_of', none) or (env_var('STRATA_DBT_AS_OF', '') if execute else '') or none -%}
    {%- if moment is none and execute and flags.WHICH in ('run', 'build', 'test') -%}
        {{ exceptions.raise_compiler_error(
            "the variable as_of is missing: say which moment the models describe, for example "
            ~ "--vars '{as_of: \"2026-11-01 00:00:00\"}' or STRATA_DBT_AS_OF='2026-11-01 00:00:00'"
        ) }}
    {%- endif -%}
    {{- return(modules.datetime.datetime.fromisoformat((moment or '2000-01-01 00:00:00') | string)) -}}
{%- endmacro %}


{# `as_of` moved by whole days, as a literal: computed here, so that no engine's date arithmetic is needed. #}
{% macro as_of_literal(days=0) -%}
    {%- set moment = as_of() + modules.datetime.timedelta(days=days) -%}
    cast('{{ moment.strftime("%Y-%m-%d %H:%M:%S") }}' as timestamp)
{%- endmacro %}


{# Whether something happened by `as_of`: later facts are not known yet. #}
{% macro is_known(moment) -%}
    {{ moment }} <= {{ as_of_literal() }}
{%- endmacro %}


{# Whether something happened in (as_of - days, as_of]. #}
{% macro is_within(moment, days) -%}
    ({{ moment }} > {{ as_of_literal(-days) }} and {{ moment }} <= {{ as_of_literal() }})
{%- endmacro %}


{# Whole days from `moment` to `as_of`, rounded down. #}
{% macro days_until_as_of(moment) -%}
    {{ whole_days_between(moment, as_of_literal()) }}
{%- endmacro %}
