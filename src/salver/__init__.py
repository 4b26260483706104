"""Salver serves machine-learning models: any format, any protocol, one command."""

__version__ = "0.1.0"
