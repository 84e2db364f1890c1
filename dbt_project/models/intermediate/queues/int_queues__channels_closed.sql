{# Channels that a suppression or the borrower's own wish closes on the working day, and loans that are to be
   handled gently (letters alone). A suppression without a channel closes all of them. #}
with assignments as (
    select * from {{ ref('agency_assignment') }}
),

suppressions as (
    select * from {{ ref('stg_servicing__suppressions') }}
),

kinds as (
    select * from {{ ref('suppression_kinds') }}
),

preferences as (
    select * from {{ ref('stg_servicing__contact_preferences') }}
),

closures as (
    select
        assignments.loan_id,
        suppressions.channel,
        kinds.is_gentle,
        kinds.blocks_contact,
        suppressions.kind
    from assignments
    inner join suppressions
        on
            assignments.borrower_id = suppressions.borrower_id
            and assignments.loan_id = coalesce(suppressions.loan_id, assignments.loan_id)
            and assignments.work_on >= suppressions.starts_on
            and (suppressions.ends_on is null or assignments.work_on <= suppressions.ends_on)
    inner join kinds on suppressions.kind = kinds.kind
    union all
    select
        assignments.loan_id,
        preferences.channel,
        false as is_gentle,
        true as blocks_contact,
        'wish of the borrower' as kind
    from assignments
    inner join preferences
        on
            assignments.borrower_id = preferences.borrower_id
            and assignments.work_on >= preferences.starts_on
            and (preferences.ends_on is null or assignments.work_on <= preferences.ends_on)
    where
        not preferences.is_allowed
        and preferences.place = 'any'
),

final as (
    select
        loan_id,
        bool_or(blocks_contact and coalesce(channel, 'call') = 'call') as is_call_closed,
        bool_or(blocks_contact and coalesce(channel, 'letter') = 'letter') as is_letter_closed,
        bool_or(blocks_contact and coalesce(channel, 'email') = 'email') as is_email_closed,
        bool_or(is_gentle) as is_gentle,
        string_agg(distinct kind, ', ' order by kind) as reasons
    from closures
    group by loan_id
)

select * from final
