{#- Kept models stay from one day to the next and are computed again for the loans that were touched. Each writes, in the
    transaction that changes it, for which date, after which change of a batch and by which project it was built; where
    one has no such mark, every loan counts as touched. -#}
{%- macro kept_models() -%}
{{ return([
    'int_delinquency__loans_stacked', 'int_delinquency__days_replayed', 'loan_delinquency_history',
    'int_delinquency__month_ends', 'int_delinquency__loans_stated',
]) }}
{%- endmacro -%}

{#- Whether the kept models are there and not built anew: then what feeds them holds the loans that were touched alone. -#}
{%- macro is_partial() -%}
{{ return(execute and not flags.FULL_REFRESH and kept_relation('int_delinquency__loans_stacked') is not none) }}
{%- endmacro -%}

{#- A kept model as it stands, read by a model that it depends on; none where it was never built, and in unit tests. -#}
{%- macro kept_relation(name) -%}
{%- if execute and this is not none -%}
{{ return(adapter.get_relation(this.database, this.schema, name)) }}
{%- endif -%}
{{ return(none) }}
{%- endmacro -%}

{%- macro mark_kept() -%}
insert into ops.kept_models (model, as_of_date, change_number, project)
select
    '{{ this.identifier }}',
    cast(current_setting('arrears.as_of_date') as date),
    (select coalesce(max(change_number), 0) from ops.batch_changes),
    coalesce(current_setting('arrears.project', true), '')
on conflict (model) do update set
    as_of_date = excluded.as_of_date,
    change_number = excluded.change_number,
    project = excluded.project,
    built_at = now()
{%- endmacro -%}

{#- Takes out what a kept model says of the loans that are touched; the model puts them back. -#}
{%- macro take_touched_out(condition='true') -%}
{%- set touched = ref('int_delinquency__loans_touched') -%}
{%- if is_incremental() and not flags.EMPTY -%}
delete from {{ this }} as kept
using {{ touched }} as touched
where kept.loan_id = touched.loan_id and {{ condition }}
{%- else -%}
select 1
{%- endif -%}
{%- endmacro -%}

{#- The date for which the month ends were kept; the model is named here, because it reads its own mark. -#}
{%- macro kept_until() -%}
(
        select marks.as_of_date
        from ops.kept_models as marks
        where marks.model = '{{ this.identifier }}'
    )
{%- endmacro -%}

{#- Month ends after D are none: D may be an earlier day than the one that was kept. -#}
{%- macro take_month_ends_out() -%}
{%- if is_incremental() -%}
delete from {{ this }} where month_end_on > {{ as_of_date() }}
{%- else -%}
select 1
{%- endif -%}
{%- endmacro -%}

{#- Remembers, until the marts are published, which loans were computed again; an empty loan_id stands for all. -#}
{%- macro note_unpublished() -%}
insert into ops.unpublished_loans (loan_id, changed_from)
select
    loan_id,
    changed_from
from {{ this }}
{%- if not is_partial() %}
union all
select
    '',
    cast('-infinity' as date)
{%- endif %}
on conflict (loan_id) do update set
    changed_from = least(ops.unpublished_loans.changed_from, excluded.changed_from)
{%- endmacro -%}

{#- Statistics of a kept model, once it was built as a whole; what a day changes moves them little. -#}
{%- macro analyse_kept() -%}
{%- if is_incremental() -%}
select 1
{%- else -%}
analyze {{ this }}
{%- endif -%}
{%- endmacro -%}

{#- Whether SQL is made for a function of a few loans (arrears.transform.as_known) and not for a build. -#}
{%- macro is_of_a_few_loans() -%}
{{ return(execute and env_var('ARREARS_OF_A_FEW_LOANS', '') == 'true') }}
{%- endmacro -%}

{#- A relation's rows of the loans in hand, which the query calls loans. Of a few loans they are looked up loan by loan: a
    staging view reads open and closed rows apart, and PostgreSQL carries no join into such a view, so that it would read
    all of them, but a lateral parameter it does; `offset 0` keeps it from turning that into a join again. -#}
{%- macro of_loans_in_hand(relation) -%}
{%- if is_partial() or is_of_a_few_loans() -%}
select known.*
    from loans
    cross join lateral (
        select of_loan.*
        from (select * from {{ relation }}) as of_loan
        where of_loan.loan_id = loans.loan_id
        offset 0
    ) as known
{%- else -%}
select * from {{ relation }}
{%- endif -%}
{%- endmacro -%}
