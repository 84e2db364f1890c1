"""Engine files: a drop found, checked to be whole, and read through DuckDB."""
