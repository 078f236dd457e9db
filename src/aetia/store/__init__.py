"""Telemetry kept and asked: the embedded store (journal, Parquet, DuckDB) and the ClickHouse backend."""
