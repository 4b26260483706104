"""The extensions of the V2 protocol that this server has, by the names that Triton gives them.

Server metadata lists them, over REST and gRPC. One line an extension: a name is here if every part
of it is.
"""

from __future__ import annotations

EXTENSIONS: tuple[str, ...] = (
    "classification",
    "sequence",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
    "generate",
)
SYSTEM_SHARED_MEMORY = "system_shared_memory"


def extensions_of(*, shares_memory: bool) -> tuple[str, ...]:
    """The extensions of a server that does, or does not, take clients' shared memory."""
    return (*EXTENSIONS, SYSTEM_SHARED_MEMORY) if shares_memory else EXTENSIONS
