{# Strings of a group as a sorted array. #}
{% macro sorted_string_array(expression) -%}
    {{ return(adapter.dispatch('sorted_string_array')(expression)) }}
{%- endmacro %}

{% macro default__sorted_string_array(expression) -%}
    list_sort(array_agg({{ expression }}))
{%- endmacro %}

{% macro spark__sorted_string_array(expression) -%}
    sort_array(collect_list({{ expression }}))
{%- endmacro %}


{# An array of strings without any. #}
{% macro empty_string_array() -%}
    {{ return(adapter.dispatch('empty_string_array')()) }}
{%- endmacro %}

{% macro default__empty_string_array() -%}
    cast('[]' as varchar[])
{%- endmacro %}

{% macro spark__empty_string_array() -%}
    cast(array() as array<string>)
{%- endmacro %}
