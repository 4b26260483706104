"""The admin API: declared resources in the shape of the Kubernetes API, for kubectl and clients.

`routes.py` puts it together. It stores what admission lets through, and decides nothing about
what objects mean.
"""
