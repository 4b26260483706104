"""What the server says of itself: metrics, logs and spans.

Knows nothing of models, settings or HTTP: numbers, names and times are handed in. It starts
no thread, except the one that sends spans when an OTLP address is set.
"""
