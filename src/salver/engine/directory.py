"""Which model answers to which address: names, paths, hosts. Implements the listeners' catalog.

Owns the table of services that the control plane exposes, over the catalog of the models
named on the command line. Decides nothing about traffic: an entry is a `ServedModel`, which
may be a worker's queue itself or a split over several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import msgspec

from salver.engine.headed_view import HeadedView
from salver.engine.ports import Forwarder, ModelCatalog, ModelStatus, ServedModel
from salver.engine.seldon_component import SeldonPart
from salver.engine.seldon_paths import SELDON, SeldonPaths
from salver.engine.version_labels import VersionLabels
from salver.errors import ModelNotFound, Unsupported

DEFAULT_NAMESPACE = "default"
LOCAL_HOST = "host:"
"""What begins a scope that is a Host header rather than a path's `NAMESPACE/NAME`."""
MODEL_ADDRESS = "model:"
"""What begins a scope that is a `Seldon-Model` header."""
NAME_ADDRESS = "name:"
"""What begins an address that stands for a model's name: requests for it go elsewhere."""


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
    tagged: Mapping[str, ServedModel] = {}
    """Revisions that have a tag, by their own Host headers."""
    forward: Forwarder | None = None
    """What answers every path under the service's own that is no inference route."""
    forwards: Mapping[str, Forwarder] = {}
    """The same for components, by name, and for tagged revisions, by host."""
    is_opaque: bool = False
    """It speaks a protocol of its own: inference routes are forwarded too."""
    is_graph: bool = False
    nodes: Mapping[str, SeldonPart] = {}
    """A graph's parts by their names in it, which its callers may ask by themselves."""
    addresses: tuple[str, ...] = ()
    """What else means it: see `GraphDesire.addresses`."""
    also_called: frozenset[str] = frozenset()
    """What callers may call its model besides, under the service's own address: clients of Triton
    and of Seldon name the model in the repository, and the node."""

    def is_called(self, name: str) -> bool:
        """Whether callers may call its model so under the service's own address."""
        return name == self.name or name in self.also_called


class PoolEntry(msgspec.Struct, frozen=True):
    """A service whose models are in the shared pool; `models` is looked at live."""

    namespace: str
    name: str
    models: Set[str]
    hosts: tuple[str, ...] = ()


class ModelDirectory:
    """Implements `ModelCatalog` over the services and the command line's models."""

    def __init__(self, own: ModelCatalog) -> None:
        self._own = own
        self._services: dict[tuple[str, str], ServiceEntry] = {}
        self._named: dict[str, dict[str, ServiceEntry]] = {}
        """The services of a name, by namespace; `_by_name` has the one that a bare name means."""
        self._by_name: dict[str, ServiceEntry] = {}
        self._stand_ins: dict[str, ServiceEntry] = {}
        """Who answers in place of the model of a name."""
        self._claims: dict[str, dict[tuple[str, str], tuple[ServiceEntry, ServedModel]]] = {}
        """Who claims a path or host; `_scopes` has the one that gets it."""
        self._scopes: dict[str, tuple[ServiceEntry, ServedModel]] = {}
        self._forwarders: dict[str, Forwarder] = {}
        self._pools: dict[str, PoolEntry] = {}
        self._find_own = own.find
        self.labels = VersionLabels()
        """What versions are called besides."""
        self._seldon = SeldonPaths(own, self._services, self._by_name, self._scopes)

    # What the control plane calls.

    def expose(self, entry: ServiceEntry) -> None:
        """Makes the service reachable, or replaces it, between two requests."""
        former = self._services.get((entry.namespace, entry.name))
        if former is not None:
            self._remove(former)
        self._services[entry.namespace, entry.name] = entry
        self._add(entry)

    def withdraw(self, namespace: str, name: str) -> None:
        """The service answers no more."""
        former = self._services.pop((namespace, name), None)
        if former is not None:
            self._remove(former)

    def expose_pool(self, entry: PoolEntry) -> None:
        """Its models answer under the service's address, besides by their names."""
        places = [f"{entry.namespace}/{entry.name}", *(LOCAL_HOST + host for host in entry.hosts)]
        self._pools |= dict.fromkeys(places, entry)

    def withdraw_pool(self, namespace: str, name: str) -> None:
        """The service has no address any more; its models are another's affair."""
        self._pools = {
            place: entry
            for place, entry in self._pools.items()
            if (entry.namespace, entry.name) != (namespace, name)
        }

    def service(self, namespace: str, name: str) -> ServiceEntry | None:
        """The service as it is exposed now."""
        return self._services.get((namespace, name))

    def asked(self, namespace: str, name: str) -> ServedModel:
        """Whom a graph asks by that name: the service itself, whoever stands in for it towards
        callers; else the command line's model. Raises `ModelNotFound`."""
        entry = self._services.get((namespace, name))
        if entry is None:
            # A Pipeline whose name is no model's goes by it alone.
            entry = self._addressed(namespace, name)
        if entry is None:
            if namespace != DEFAULT_NAMESPACE:
                raise ModelNotFound(f"service '{namespace}/{name}' is not there")
            return self._find_own(name)
        if entry.is_opaque:
            raise ModelNotFound(
                f"service '{namespace}/{name}' speaks a protocol of its own: name its URL instead"
            )
        return entry.entry

    def asked_as_by_callers(self, namespace: str, name: str) -> ServedModel:
        """The same, but for who stands in for it: a Pipeline's step asks the Experiment, if there
        is one about its Model. Raises `ModelNotFound`."""
        entry = self._stand_ins.get(name)
        if entry is not None and entry.namespace == namespace:
            return entry.entry
        return self.asked(namespace, name)

    def _addressed(self, namespace: str, name: str) -> ServiceEntry | None:
        claims = self._claims.get(MODEL_ADDRESS + name, {})
        return next((entry for entry, _ in claims.values() if entry.namespace == namespace), None)

    def _add(self, entry: ServiceEntry) -> None:
        """Adds the entry to the tables; thousands of others are not looked at."""
        self._named.setdefault(entry.name, {})[entry.namespace] = entry
        for name in _stood_for(entry):
            self._stand_ins[name] = entry
            self._settle(name)
        self._settle(entry.name)
        for scope, model in _scopes(entry).items():
            claims = self._claims.setdefault(scope, {})
            claims[entry.namespace, entry.name] = (entry, model)
            self._scopes[scope] = claims[max(claims, key=_rank)]
        self._forwarders |= _forwarders(entry)

    def _settle(self, name: str) -> None:
        """Whom a bare name means now."""
        entry = self._stand_ins.get(name)
        if entry is None and name in self._named:
            entry = _bearer(self._named[name])
        if entry is not None:
            self._by_name[name] = entry
        else:
            self._by_name.pop(name, None)

    def _remove(self, entry: ServiceEntry) -> None:
        named = self._named[entry.name]
        del named[entry.namespace]
        if not named:
            del self._named[entry.name]
        for name in _stood_for(entry):
            if self._stand_ins.get(name) is entry:
                del self._stand_ins[name]
            self._settle(name)
        self._settle(entry.name)
        for scope in _scopes(entry):
            claims = self._claims[scope]
            del claims[entry.namespace, entry.name]
            if claims:
                self._scopes[scope] = claims[max(claims, key=_rank)]
            else:
                del self._claims[scope], self._scopes[scope]
        for scope, forwarder in _forwarders(entry).items():
            if self._forwarders.get(scope) is forwarder:
                del self._forwarders[scope]

    # What the listeners ask.

    def find(self, name: str, version: str = "") -> ServedModel:
        """The service of that name, else the command line's model."""
        entry = self._by_name.get(name)
        if entry is not None:
            return _of_version(entry, entry.entry, version)
        try:
            return self._find_own(name, version)
        except ModelNotFound:
            if not self._services or any(each.name == name for each in self._own.statuses()):
                # It is the version that is not there, which the catalog says better.
                raise
            raise ModelNotFound(self._unknown(name)) from None

    def _unknown(self, name: str) -> str:
        known = sorted({*self._by_name, *(status.name for status in self._own.statuses())})
        shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        return f"unknown model '{name}': this server has {shown}"

    def find_in(self, scope: str, name: str, version: str = "") -> ServedModel:
        """The model asked for by path (`NAMESPACE/SERVICE`) or by Host header (`host:...`).

        A host that belongs to no service is just the server's own name. Raises
        `ModelNotFound`.
        """
        if scope.startswith(MODEL_ADDRESS):
            return self._find_addressed(scope, version)
        found = self._scopes.get(scope)
        if found is None:
            if scope in self._pools:
                return _PoolView(self, self._own, self._pools[scope]).find(name, version)
            if scope.startswith(LOCAL_HOST):
                return self.find(name, version)
            if scope.startswith(SELDON):
                return self._seldon.part(scope, name).model
            raise ModelNotFound(f"unknown service '{scope}': see 'salver get inferenceservices -A'")
        entry, model = found
        if entry.is_opaque and model is entry.entry:
            raise ModelNotFound(
                f"service '{scope}' speaks a protocol of its own: it is asked by its own paths"
            )
        if name and not entry.is_called(name):
            raise ModelNotFound(f"service '{scope}' has no model '{name}': it has '{entry.name}'")
        return _of_version(entry, model, version)

    def _find_addressed(self, scope: str, version: str) -> ServedModel:
        """The model that a `Seldon-Model` header means, whatever the path calls it."""
        name = scope.removeprefix(MODEL_ADDRESS)
        found = self._scopes.get(scope)
        entry = self._stand_ins.get(name) or (found[0] if found is not None else None)
        return (
            self.find(name, version) if entry is None else _of_version(entry, entry.entry, version)
        )

    def find_seldon(self, scope: str, node: str = "", method: str = "predict") -> ServedModel:
        """See `SeldonPaths`. Raises `ModelNotFound` and `Unsupported`."""
        return self._seldon.find(scope, node, method)

    def seldon_part(self, scope: str, node: str) -> SeldonPart:
        """The deployment, or its part of that name. Raises `ModelNotFound`."""
        return self._seldon.part(scope, node)

    def seldon_parts(self, scope: str) -> Mapping[str, SeldonPart]:
        """The parts of the graph that the scope means, by name; none of what is no graph."""
        return self._seldon.parts(scope)

    def named(self, scope: str) -> str:
        """The name of the service that a path or host means; empty if there is none."""
        found = self._scopes.get(scope)
        return found[0].name if found is not None else ""

    def forwarder(self, scope: str) -> Forwarder | None:
        """What answers every path under this one, or at this host; None if nothing does."""
        return self._forwarders.get(scope)

    def find_explainer(self, scope: str, name: str) -> ServedModel:
        """The explainer of the service. Raises `ModelNotFound` or `Unsupported`."""
        found = self._scopes.get(scope) if scope else None
        if found is None and scope and not scope.startswith(LOCAL_HOST):
            # A path names its service: no other of that name will do.
            self.find_in(scope, name)
        entry = found[0] if found is not None else self._by_name.get(name)
        if entry is None:
            self.find(name)
        elif name != entry.name:
            self.find_in(scope, name)
        if entry is None or entry.explainer is None:
            raise Unsupported(f"model '{name}' has no explainer: ask :predict instead")
        return entry.explainer

    def view(self, scope: str) -> ModelCatalog:
        """The catalog as seen under one path or host. Raises `ModelNotFound`."""
        if scope.startswith(SELDON):
            place = self._seldon.place(scope)
            return self.view(place) if place else self
        if scope.startswith(MODEL_ADDRESS):
            return HeadedView(self, scope.removeprefix(MODEL_ADDRESS), self.find_in(scope, ""))
        found = self._scopes.get(scope)
        if found is None:
            if scope in self._pools:
                return _PoolView(self, self._own, self._pools[scope])
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
            msgspec.structs.replace(entry.entry.status, name=name)
            for name, entry in sorted(self._by_name.items())
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


def _of_version(entry: ServiceEntry, model: ServedModel, version: str) -> ServedModel:
    """The model, if that is its version or none is asked for. Raises `ModelNotFound`."""
    if version and version != model.version:
        raise ModelNotFound(
            f"model '{entry.name}' has no version '{version}': it has {model.version}"
        )
    return model


def _bearer(named: dict[str, ServiceEntry]) -> ServiceEntry:
    """A bare name means the default namespace's service before any other's."""
    found = named.get(DEFAULT_NAMESPACE)
    return found if found is not None else next(reversed(named.values()))


def _rank(service: tuple[str, str]) -> tuple[bool, tuple[str, str]]:
    """Of several that claim an address, the highest gets it."""
    return (service[0] == DEFAULT_NAMESPACE, service)


def _scopes(entry: ServiceEntry) -> dict[str, ServedModel]:
    """The paths and hosts of a service, and what answers there."""
    found = {f"{entry.namespace}/{entry.name}": entry.entry}
    found |= {LOCAL_HOST + host: entry.entry for host in entry.hosts}
    found |= {LOCAL_HOST + host: model for host, model in entry.tagged.items()}
    found |= {each: entry.entry for each in entry.addresses if not each.startswith(NAME_ADDRESS)}
    return found | {f"{entry.namespace}/{name}": each for name, each in entry.components.items()}


def _stood_for(entry: ServiceEntry) -> list[str]:
    """The models in whose place the service answers."""
    marked = [each for each in entry.addresses if each.startswith(NAME_ADDRESS)]
    return [each.removeprefix(NAME_ADDRESS) for each in marked]


def _forwarders(entry: ServiceEntry) -> dict[str, Forwarder]:
    """Who answers any path, by scope."""
    found: dict[str, Forwarder] = {}
    for name, forwarder in entry.forwards.items():
        found[LOCAL_HOST + name if name in entry.tagged else f"{entry.namespace}/{name}"] = (
            forwarder
        )
    if entry.forward is not None:
        places = [f"{entry.namespace}/{entry.name}", *(LOCAL_HOST + host for host in entry.hosts)]
        found |= dict.fromkeys(places, entry.forward)
    return found


class _ServiceView:
    """One service as a catalog of its own."""

    def __init__(self, directory: ModelDirectory, entry: ServiceEntry, model: ServedModel) -> None:
        self._directory = directory
        self._entry = entry
        self._model = model

    def find(self, name: str, version: str = "") -> ServedModel:
        if not self._entry.is_called(name) or version not in ("", self._model.version):
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


class _PoolView:
    """The pooled models of one service as a catalog of their own."""

    def __init__(self, directory: ModelDirectory, own: ModelCatalog, entry: PoolEntry) -> None:
        self._directory = directory
        self._own = own
        self._entry = entry

    def _check(self, name: str) -> None:
        if name not in self._entry.models:
            known = sorted(self._entry.models)
            shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
            raise ModelNotFound(
                f"service '{self._entry.namespace}/{self._entry.name}' has no model '{name}': it "
                f"has {shown or 'none yet'}"
            )

    def find(self, name: str, version: str = "") -> ServedModel:
        self._check(name)
        return self._own.find(name, version)

    def versions(self, name: str) -> Sequence[str]:
        self._check(name)
        return self._own.versions(name)

    def statuses(self) -> Sequence[ModelStatus]:
        return [self.find(name).status for name in sorted(self._entry.models)]

    @property
    def is_ready(self) -> bool:
        return not self._directory.is_draining

    @property
    def is_draining(self) -> bool:
        return self._directory.is_draining

    async def load(self, name: str) -> None:
        self._check(name)
        await self._own.load(name)

    async def unload(self, name: str) -> None:
        self._check(name)
        await self._own.unload(name)
