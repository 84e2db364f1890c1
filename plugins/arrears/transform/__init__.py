"""dbt for a date, and the publishing of what it built."""
