"""What survives the process: the store of declared resources, in one SQLite file."""
