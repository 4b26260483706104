"""Where the events of a payload log go: HTTP, JSON lines, Parquet."""
