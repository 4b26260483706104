"""Which model answers to which address: names, paths, hosts. Implements the listeners' catalog.

Owns the table of services that the control plane exposes, over the catalog of the models
named on the command line. Decides nothing about traffic: an entry is a `ServedModel`, which
may be a worker's queue itself or a split over several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from salver.engine.ports import ModelCatalog, ModelStatus, ServedModel
from salver.errors import ModelNotFound, Unsupported

DEFAULT_NAMESPACE = "default"
LOCAL_HOST = "host:"
"""What begins a scope that is a Host header rather than a path's `NAMESPACE/NAME`."""


class ServiceEntry(msgspec.Struct, frozen=True):
    """One service as callers meet it.

    `entry` answers `:predict` and `infer`: the transformer if there is one, else the
    predictor. `components` are those that have an address of their own, by name
    (`iris-predictor`). `hosts` are the Host headers that mean this service.
    """

    namespace: str
    name: str
    entry: ServedModel
    explainer: ServedModel | None = None
    components: Mapping[str, ServedModel] = {}
    hosts: tuple[str, ...] = ()


class ModelDirectory:
    """Implements `ModelCatalog` over the services and the command line's models."""

    def __init__(self, own: ModelCatalog) -> None:
        self._own = own
        self._services: dict[tuple[str, str], ServiceEntry] = {}
        self._by_name: dict[str, ServiceEntry] = {}
        self._scopes: dict[str, tuple[ServiceEntry, ServedModel]] = {}
        self._find_own = own.find

    # What the control plane calls.

    def expose(self, entry: ServiceEntry) -> None:
        """Makes the service reachable, or replaces it, between two requests."""
        self._services[entry.namespace, entry.name] = entry
        self._reindex()

    def withdraw(self, namespace: str, name: str) -> None:
        """The service answers no more."""
        self._services.pop((namespace, name), None)
        self._reindex()

    def service(self, namespace: str, name: str) -> ServiceEntry | None:
        """The service as it is exposed now."""
        return self._services.get((namespace, name))

    def _reindex(self) -> None:
        by_name: dict[str, ServiceEntry] = {}
        scopes: dict[str, tuple[ServiceEntry, ServedModel]] = {}
        # The default namespace last: a bare name means its service before any other's.
        for entry in sorted(
            self._services.values(), key=lambda each: each.namespace == DEFAULT_NAMESPACE
        ):
            by_name[entry.name] = entry
            scopes[f"{entry.namespace}/{entry.name}"] = (entry, entry.entry)
            for host in entry.hosts:
                scopes[LOCAL_HOST + host] = (entry, entry.entry)
            for name, model in entry.components.items():
                scopes[f"{entry.namespace}/{name}"] = (entry, model)
        self._by_name, self._scopes = by_name, scopes

    # What the listeners ask.

    def find(self, name: str, version: str = "") -> ServedModel:
        """The service of that name, else the command line's model."""
        entry = self._by_name.get(name)
        if entry is not None:
            return self._of_version(entry, version) if version else entry.entry
        try:
            return self._find_own(name, version)
        except ModelNotFound:
            if not self._services:
                raise
            raise ModelNotFound(self._unknown(name)) from None

    def _unknown(self, name: str) -> str:
        known = sorted({*self._by_name, *(status.name for status in self._own.statuses())})
        shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        return f"unknown model '{name}': this server has {shown}"

    def _of_version(self, entry: ServiceEntry, version: str) -> ServedModel:
        if version != entry.entry.version:
            raise ModelNotFound(
                f"model '{entry.name}' has no version '{version}': it has {entry.entry.version}"
            )
        return entry.entry

    def find_in(self, scope: str, name: str, version: str = "") -> ServedModel:
        """The model asked for by path (`NAMESPACE/SERVICE`) or by Host header (`host:...`).

        A host that belongs to no service is just the server's own name. Raises
        `ModelNotFound`.
        """
        found = self._scopes.get(scope)
        if found is None:
            if scope.startswith(LOCAL_HOST):
                return self.find(name, version)
            raise ModelNotFound(f"unknown service '{scope}': see 'salver get inferenceservices -A'")
        entry, model = found
        if name and name != entry.name:
            raise ModelNotFound(f"service '{scope}' has no model '{name}': it has '{entry.name}'")
        return model if not version else self._of_version(entry, version)

    def find_explainer(self, scope: str, name: str) -> ServedModel:
        """The explainer of the service. Raises `ModelNotFound` or `Unsupported`."""
        found = self._scopes.get(scope) if scope else None
        entry = found[0] if found is not None else self._by_name.get(name)
        if entry is None:
            self.find(name)
        if entry is None or entry.explainer is None:
            raise Unsupported(f"model '{name}' has no explainer: ask :predict instead")
        return entry.explainer

    def view(self, scope: str) -> ModelCatalog:
        """The catalog as seen under one path or host. Raises `ModelNotFound`."""
        found = self._scopes.get(scope)
        if found is None:
            if scope.startswith(LOCAL_HOST):
                return self
            self.find_in(scope, "")
        assert found is not None
        return _ServiceView(self, found[0], found[1])

    def versions(self, name: str) -> Sequence[str]:
        entry = self._by_name.get(name)
        return self._own.versions(name) if entry is None else [entry.entry.version]

    def statuses(self) -> Sequence[ModelStatus]:
        services = [
            msgspec.structs.replace(entry.entry.status, name=entry.name)
            for _, entry in sorted(self._by_name.items())
        ]
        return [*services, *self._own.statuses()]

    @property
    def is_ready(self) -> bool:
        return self._own.is_ready and all(entry.entry.is_ready for entry in self._services.values())

    @property
    def is_draining(self) -> bool:
        return self._own.is_draining

    async def load(self, name: str) -> None:
        if name in self._by_name:
            raise Unsupported(
                f"model '{name}' is an InferenceService: change its manifest, or scale it"
            )
        await self._own.load(name)

    async def unload(self, name: str) -> None:
        if name in self._by_name:
            raise Unsupported(
                f"model '{name}' is an InferenceService: delete it, or set "
                "serving.kserve.io/stop: 'true'"
            )
        await self._own.unload(name)


class _ServiceView:
    """One service as a catalog of its own."""

    def __init__(self, directory: ModelDirectory, entry: ServiceEntry, model: ServedModel) -> None:
        self._directory = directory
        self._entry = entry
        self._model = model

    def find(self, name: str, version: str = "") -> ServedModel:
        if name != self._entry.name or version not in ("", self._model.version):
            raise ModelNotFound(
                f"service '{self._entry.namespace}/{self._entry.name}' has no model '{name}'"
                + (f" version '{version}'" if version else "")
            )
        return self._model

    def versions(self, name: str) -> Sequence[str]:
        return [self.find(name).version]

    def statuses(self) -> Sequence[ModelStatus]:
        return [msgspec.structs.replace(self._model.status, name=self._entry.name)]

    @property
    def is_ready(self) -> bool:
        return self._model.is_ready and not self._directory.is_draining

    @property
    def is_draining(self) -> bool:
        return self._directory.is_draining

    async def load(self, name: str) -> None:
        await self._directory.load(name)

    async def unload(self, name: str) -> None:
        await self._directory.unload(name)
