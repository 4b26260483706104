"""Models fetched before they are asked for: the cache loop's `Keeper` over the artifact store."""

from __future__ import annotations

from salver.backends.local.bring_up import Artifacts
from salver.control.cache_reconciler import Kept, Wanted
from salver.storage.ports import FetchOrder


class ModelKeeper:
    """Fetches into the same cache that services fetch from, so theirs is there already."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def keep(self, wanted: Wanted) -> Kept:
        """See `Keeper`."""
        artifact = await self._artifacts.fetch(
            FetchOrder(
                wanted.uri,
                namespace=wanted.namespace,
                service_account=wanted.service_account,
                storage_key=wanted.storage_key,
                storage_parameters=wanted.storage_parameters,
            )
        )
        return Kept(artifact.size_bytes, artifact)

    def release(self, kept: Kept) -> None:
        """See `Keeper`."""
        self._artifacts.release(kept.handle)
