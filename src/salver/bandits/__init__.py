"""Routers that learn: algorithms, their state, and what policies would have earned. Pure.

`policies.py` makes a policy of a manifest's words. A policy has no state of its own: it says with
which shares of chance the arms are to be chosen, given what has been learned, and gives what has
been learned after one more reward. Time and chance come in.
"""
