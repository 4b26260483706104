"""What Seldon's paths and routes mean: a deployment, one component of it, or the only thing here.

    seldon:NAMESPACE/NAME   the service, graph or (in the default namespace) model of that name
    seldon:NAME             the same, wherever it is
    host:..., model:...     what else means a service, see `directory.py`
    anything else           the only graph, else the only thing served

Reads the directory's tables, which stay the directory's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from salver.engine.ports import ModelCatalog, ServedModel
from salver.engine.seldon_component import SeldonPart, component
from salver.errors import ModelNotFound

if TYPE_CHECKING:
    from salver.engine.directory import ServiceEntry

SELDON = "seldon:"
_DEFAULT_NAMESPACE = "default"
_MOST_SHOWN = 10


class SeldonPaths:
    """Finds what answers on Seldon's routes."""

    def __init__(
        self,
        own: ModelCatalog,
        services: Mapping[tuple[str, str], ServiceEntry],
        by_name: Mapping[str, ServiceEntry],
        scopes: Mapping[str, tuple[ServiceEntry, ServedModel]],
    ) -> None:
        self._own = own
        self._services = services
        self._by_name = by_name
        self._scopes = scopes

    def find(self, scope: str, node: str, method: str) -> ServedModel:
        """What answers that method; `node` is a component's name within a graph.

        Raises `ModelNotFound` and `Unsupported`.
        """
        part = self.part(scope, node)
        return component(node or part.model.name, part, method)

    def part(self, scope: str, node: str) -> SeldonPart:
        """The whole deployment, or the node of that name. Raises `ModelNotFound`."""
        entry = self._entry(scope)
        if entry is None:
            model = self._model(scope)
            if node in ("", model.name):
                return SeldonPart(model)
            raise ModelNotFound(f"'{model.name}' is one model and has no part '{node}'")
        if node in entry.nodes and node != entry.name:
            return entry.nodes[node]
        if not node or entry.is_called(node):
            return SeldonPart(entry.entry)
        has = ", ".join(sorted(entry.nodes)) or f"only '{entry.name}'"
        raise ModelNotFound(
            f"'{entry.namespace}/{entry.name}' has no part '{node[:64]}': it has {has}"
        )

    def parts(self, scope: str) -> Mapping[str, SeldonPart]:
        """The parts of the graph that the scope means, by name."""
        entry = self._entry(scope)
        return entry.nodes if entry is not None else {}

    def place(self, scope: str) -> str:
        """`NAMESPACE/NAME` of the service meant; empty for a model of the command line.

        Raises `ModelNotFound` if the scope means neither.
        """
        entry = self._entry(scope)
        if entry is None:
            self._model(scope)
            return ""
        return f"{entry.namespace}/{entry.name}"

    def _entry(self, scope: str) -> ServiceEntry | None:
        """The service that the scope means; None if it means a model of the command line."""
        if scope in self._scopes:
            return self._scopes[scope][0]
        place = _place(scope)
        if place:
            namespace, slash, name = place.partition("/")
            return self._services.get((namespace, name)) if slash else self._by_name.get(place)
        graphs = [entry for entry in self._services.values() if entry.is_graph]
        if len(graphs) == 1:
            return graphs[0]
        is_alone = len(self._services) == 1 and not self._own.statuses()
        return next(iter(self._services.values())) if is_alone else None

    def _model(self, scope: str) -> ServedModel:
        place = _place(scope)
        namespace, slash, name = place.partition("/")
        names = sorted({status.name for status in self._own.statuses()})
        if place and (not slash or namespace == _DEFAULT_NAMESPACE):
            wanted = name if slash else place
            if wanted in names:
                return self._own.find(wanted)
        if not place and len(names) == 1 and not self._services:
            return self._own.find(names[0])
        shown = self._shown(names)
        if place:
            raise ModelNotFound(f"there is no '{place[:128]}' here: ask {shown}")
        raise ModelNotFound(f"the path does not say which deployment is asked: ask {shown}")

    def _shown(self, names: list[str]) -> str:
        paths = [f"/seldon/{namespace}/{name}/..." for namespace, name in sorted(self._services)]
        paths += [f"/seldon/{_DEFAULT_NAMESPACE}/{name}/..." for name in names]
        more = " and more" if len(paths) > _MOST_SHOWN else ""
        return (", ".join(paths[:_MOST_SHOWN]) or "later, nothing is served yet") + more


def _place(scope: str) -> str:
    return scope.removeprefix(SELDON) if scope.startswith(SELDON) else ""
