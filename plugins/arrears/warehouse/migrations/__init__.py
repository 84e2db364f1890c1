"""Numbered migrations of everything in the warehouse that dbt does not build."""
