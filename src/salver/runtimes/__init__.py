"""Runtimes: one plugin file per framework, behind the ports of `ports.py`."""
