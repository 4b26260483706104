"""Routers that learn: algorithms, their state, and what policies would have earned. Pure."""
