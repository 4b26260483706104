"""Wires the Triton servers that run what Salver's own runtimes cannot."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from salver.backends.local.catalog import LocalCatalog
from salver.backends.processes.tritonserver import TritonOptions
from salver.backends.processes.tritonserver_finding import find_tritonserver
from salver.backends.processes.tritonserver_leases import TritonLeases
from salver.settings import ServeSettings


async def triton_leases(
    catalog: LocalCatalog, settings: ServeSettings, folder: Path
) -> TritonLeases:
    """Ready for workers to ask for models. No Triton is started, or looked for, before one does."""
    leases = TritonLeases(
        folder,
        partial(find_tritonserver, settings.tritonserver),
        partial(catalog.logs.open, "default"),
        TritonOptions(
            start_timeout_s=settings.load_timeout,
            load_timeout_s=settings.load_timeout,
        ),
    )
    await leases.start()
    catalog.leases_tritons_at(leases.address)
    return leases
