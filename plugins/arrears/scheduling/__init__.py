"""Airflow for a home: its environment and metadata database, runs in one process, and its services."""
