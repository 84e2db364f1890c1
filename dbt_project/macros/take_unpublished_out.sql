{#- Takes out what a kept model says of the loans that were computed again since marts were published; it puts them back. -#}
{%- macro take_unpublished_out(condition) -%}
{%- if is_incremental() and not flags.EMPTY -%}
delete from {{ this }} as kept
using ops.unpublished_loans as touched
where kept.loan_id = touched.loan_id and {{ condition }}
{%- else -%}
select 1
{%- endif -%}
{%- endmacro -%}
