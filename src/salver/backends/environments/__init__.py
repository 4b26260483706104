"""Python environments for models: made with uv, named by their content, kept and collected.

`manager.py` makes them, `store.py` keeps them on disk; `solving.py` says what is asked of the
solver, `interpreters.py` chooses a Python, `uv.py` runs the tool; `index.py` passes on which
package index the machine is told to use; `needs.py` lists what a worker needs beside a model's
packages.
"""
