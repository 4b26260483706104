"""What `compare.py` and `against.py` are made of: servers, load, measurements, tables."""
