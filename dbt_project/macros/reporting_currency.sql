{#- The currency (ISO 4217) in which amounts of several currencies are compared; kept with the portfolio at its first run. -#}
{%- macro reporting_currency() -%}
current_setting('arrears.reporting_currency')
{%- endmacro -%}
