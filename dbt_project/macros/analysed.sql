{#- Counts the rows of a table that was built, so that the models after it are planned by what is there; a view has none. -#}
{%- macro analysed() -%}
{{ 'analyze ' ~ this if model.config.materialized == 'table' else 'select 1' }}
{%- endmacro -%}
