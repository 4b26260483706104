"""Whether a caller is on this machine: by the address listened on, or by the caller's own. Pure.

A proxy on this machine hides where its callers are; nothing here can know of one.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache


def binds_locally(host: str) -> bool:
    """Whether who listens on this host hears nobody but this machine."""
    return host == "localhost" or is_local(host)


@lru_cache(maxsize=4096)
def is_local(address: str) -> bool:
    """Whether it is a loopback address, as sockets or gRPC write it (`ipv4:127.0.0.1:80`).

    Remembered, since each call over a connection asks it.
    """
    bare = address.removeprefix("ipv4:").removeprefix("ipv6:").replace("%5B", "[")
    bare = bare.replace("%5D", "]")
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return found.is_loopback or (mapped is not None and mapped.is_loopback)
