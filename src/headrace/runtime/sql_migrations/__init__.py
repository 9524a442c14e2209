"""The schema's history, for Alembic. A new step is a file in `versions/`, and its number the `HEAD` of `runtime/sql_tables.py`."""
