"""PMML documents without a JVM: read once, then evaluated column by column in NumPy."""
