{#- Rates into the reporting currency, as CTEs after `quotations` and `currencies`; the last is `conversions`. The latest
    quotation on or before D of each pair counts. A pair is taken as it is quoted, else turned round, else through a base
    that both currencies are quoted against: the one whose older quotation is the latest, ties by code. -#}
{%- macro conversion_ways() -%}
latest_quotations as (
    select distinct on (currency, base_currency)
        currency,
        base_currency,
        quoted_on,
        rate
    from quotations
    where
        quoted_on <= {{ as_of_date() }}
        and rate > 0
    order by currency asc, base_currency asc, quoted_on desc
),

pairs as (
    select
        currency as from_currency,
        base_currency as to_currency,
        quoted_on,
        rate,
        1 as preference
    from latest_quotations
    union all
    select
        base_currency as from_currency,
        currency as to_currency,
        quoted_on,
        1 / rate as rate,
        2 as preference
    from latest_quotations
),

ways as (
    select
        currencies.currency,
        cast(1 as numeric) as rate,
        {{ as_of_date() }} as quoted_on,
        0 as preference,
        cast(null as text) as through_currency
    from currencies
    where currencies.currency = {{ reporting_currency() }}
    union all
    select
        from_currency as currency,
        rate,
        quoted_on,
        preference,
        cast(null as text) as through_currency
    from pairs
    where to_currency = {{ reporting_currency() }}
    union all
    select
        there.from_currency as currency,
        there.rate * back.rate as rate,
        least(there.quoted_on, back.quoted_on) as quoted_on,
        3 as preference,
        there.to_currency as through_currency
    from pairs as there
    inner join pairs as back on there.to_currency = back.from_currency
    where back.to_currency = {{ reporting_currency() }}
),

conversions as (
    select distinct on (currencies.currency)
        currencies.currency,
        cast(ways.rate as numeric(28, 16)) as rate,
        ways.quoted_on,
        ways.through_currency
    from currencies
    inner join ways on currencies.currency = ways.currency
    order by currencies.currency asc, ways.preference asc, ways.quoted_on desc, ways.through_currency asc
)
{%- endmacro -%}
