{#- In which direction an account went from one month end to the next. -#}
{%- macro roll_direction(from_buckets, to_buckets, to_bucket) -%}
case
            when {{ to_buckets }}.bucket is null then {{ to_bucket }}
            when {{ to_buckets }}.bucket_rank > {{ from_buckets }}.bucket_rank then 'forward'
            when {{ to_buckets }}.bucket_rank = {{ from_buckets }}.bucket_rank then 'stay'
            when {{ to_buckets }}.bucket_rank = 0 then 'to_current'
            else 'back'
        end
{%- endmacro -%}
