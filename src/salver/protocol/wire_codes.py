"""The numbers that gateway and workers share. Imports no NumPy: the gateway needs them."""

from __future__ import annotations

from enum import IntEnum


class Codec(IntEnum):
    """The wire formats, numbered for the frames between gateway and worker."""

    V2_JSON = 1
    V2_GRPC = 2
    V1_JSON = 3
    SELDON_JSON = 4
    SELDON_GRPC = 5


RAW_BODY_AUX = -1
"""As a V2_JSON request's `aux`: no JSON at all, the body is the bytes of the one input."""
