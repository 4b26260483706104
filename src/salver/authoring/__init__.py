"""Graphs written in Python: what `@salver.graph` and its friends are, and what they become.

A graph is traced, never parsed: its function runs with symbols instead of data, once for every
way through its branches, and what was called becomes the steps of a `Graph`. Called with data, it
runs as the Python that it is. Tracing runs the user's code, so no process of the server does it:
`render.py` is a process of its own. Nothing here imports NumPy before it is needed.
"""
