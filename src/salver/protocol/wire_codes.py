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
    TFS_GRPC = 6
    TFS_EXAMPLES_JSON = 7
    TFS_EXAMPLES_GRPC = 8
    MLFLOW_JSON = 9
    MLFLOW_CSV = 10
    MLFLOW_PARQUET = 11
    GENERATE_JSON = 12
    V2_FORM = 13


RAW_BODY_AUX = -1
"""As a V2_JSON request's `aux`: no JSON at all, the body is the bytes of the one input."""
REGRESS_AUX = -2
"""As the `aux` of examples: a regression is asked for; with 0 it is a classification."""
FIRST_TASK_AUX = -3
"""The same: the first of several tasks is asked for; the next ones have the numbers below."""
