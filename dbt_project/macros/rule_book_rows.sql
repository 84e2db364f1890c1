{#- The rows of one table of every rule book. A book is a folder seeds/rule_books/BOOK/ with files BOOK_TABLE.csv: what is
    found there is read, so that a new book, or another version of one, needs no model. It cannot be named by ref(), which
    would have to be known when the project is parsed; the seeds stand before any model of a day is built (dbt.prepare).
    dbt guesses a file's types from its values, so each value goes through text. Rows count in the version in force at D; before a book's first day what it said first is taken (is_in_force tells). -#}
{%- macro rule_book_rows(table, columns) -%}
{%- set parts = [] -%}
{%- for seed in rule_book_seeds(table) -%}
{%- set part -%}
select
    '{{ seed.book }}' as rule_book,
    first_days.first_on <= {{ as_of_date() }} as is_in_force,
    {%- for column, type in columns.items() %}
    cast(cast(book.{{ column }} as text) as {{ type }}) as {{ column }},
    {%- endfor %}
    cast(cast(book.valid_from as text) as date) as rules_since_on
from {{ seed.relation }} as book
cross join (select min(cast(cast(valid_from as text) as date)) as first_on from {{ seed.classes }}) as first_days
where
    greatest(first_days.first_on, {{ as_of_date() }}) >= cast(cast(book.valid_from as text) as date)
    and (
        book.valid_to is null
        or greatest(first_days.first_on, {{ as_of_date() }}) <= cast(cast(book.valid_to as text) as date)
    )
{%- endset -%}
{%- do parts.append(part) -%}
{%- endfor -%}
{%- if parts -%}
{{ parts | join('\nunion all\n') }}
{%- else -%}
select
    cast(null as text) as rule_book,
    cast(null as boolean) as is_in_force,
    {%- for column, type in columns.items() %}
    cast(null as {{ type }}) as {{ column }},
    {%- endfor %}
    cast(null as date) as rules_since_on
where false
{%- endif -%}
{%- endmacro -%}

{#- The seeds that hold one table, with their book and the seed that lists the book's classes, in the order of the books. -#}
{%- macro rule_book_seeds(table) -%}
{%- set found = [] -%}
{%- if execute -%}
{%- set known = [
    'ageing', 'classes', 'contagion', 'cures', 'day_thresholds', 'materiality', 'segments', 'suspensions', 'triggers',
] -%}
{%- for node in graph.nodes.values() | sort(attribute='unique_id') -%}
{%- if node.resource_type == 'seed' and node.fqn | length > 2 and node.fqn[-3] == 'rule_books' -%}
{%- set book = node.fqn[-2] -%}
{%- set name = node.name[book | length + 1:] -%}
{%- if not node.name.startswith(book ~ '_') or name not in known -%}
{%- do exceptions.raise_compiler_error(
    node.original_file_path ~ ': a rule book\'s file is named ' ~ book ~ '_TABLE.csv, TABLE being one of '
    ~ known | join(', ') ~ '.'
) -%}
{%- endif -%}
{%- set classes = graph.nodes.values()
    | selectattr('resource_type', 'equalto', 'seed') | selectattr('name', 'equalto', book ~ '_classes') | list -%}
{%- if not classes -%}
{%- do exceptions.raise_compiler_error(
    node.original_file_path ~ ': rule book ' ~ book ~ ' has no ' ~ book ~ '_classes.csv, which lists its classes.'
) -%}
{%- endif -%}
{%- if name == table -%}
{%- do found.append({'book': book, 'relation': node.relation_name, 'classes': classes[0].relation_name}) -%}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ return(found) }}
{%- endmacro -%}
