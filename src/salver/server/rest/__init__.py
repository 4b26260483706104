"""The ordinary HTTP routes: health, metadata, repository, metrics and pages, as an ASGI app.

Inference is not here: the gateway's own HTTP protocol answers those routes, documented here.
"""
