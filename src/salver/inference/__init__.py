"""The domain's words: tensors, requests, responses and what a model says of itself.

Protocol-free and framework-free. `metadata` imports no NumPy, since the gateway needs it
and must stay small; `tensor` and `request` do.
"""
