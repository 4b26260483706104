"""What every listener says where clients' shared memory cannot be had."""

from __future__ import annotations

SWITCHED_OFF = (
    "this server takes no shared memory of clients: start it with --client-shared-memory local, or "
    "send the tensors in the request"
)
NOT_LOCAL = (
    "shared memory is for callers on the server's machine, by its loopback address: call "
    "127.0.0.1, or send the tensors in the request"
)
NO_CUDA = "use system shared memory, or send the tensors in the request"
