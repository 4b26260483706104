"""Models in a graph: `model("gbm")` of this server, or `model(uri=...)` of the graph's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salver.authoring.calling import named_refs_of, options_of, refs_of, refuse_call
from salver.authoring.running import Answer, current_run, given_of
from salver.authoring.symbols import Symbol
from salver.authoring.tracing import Walk, current_walk
from salver.errors import GraphError


class Model:
    """A model: called with answers, whose tensors it gets as one request."""

    def __init__(self, title: str, fragment: Mapping[str, Any]) -> None:
        self.title = title
        self._fragment = dict(fragment)

    def __call__(self, *args: Any, **tensors: Any) -> Any:
        if not args and not tensors:
            refuse_call(f"model '{self.title}' is called with nothing: give it an answer")
        walk = current_walk()
        if walk is not None:
            return self.recorded(walk, args, tensors)
        return self._run(args, tensors)

    def recorded(
        self, walk: Walk, args: tuple[Any, ...], tensors: Mapping[str, Any], **extra: Any
    ) -> Symbol:
        """Its answer in a graph that is traced; `extra` is what else the step has."""
        what = f"model '{self.title}'"
        refs = (*refs_of(walk, args, what), *named_refs_of(walk, tensors, what))
        return Symbol(walk.record(self.title, {**self._fragment, **extra}, refs))

    def _run(self, args: tuple[Any, ...], tensors: Mapping[str, Any]) -> Answer:
        what = f"model '{self.title}'"
        given = given_of(args, what)
        named = given_of(tensors.values(), what)
        model = current_run().model(self.title)
        from salver.authoring.local import ask_model

        for name, each in zip(tensors, named, strict=True):
            given.append(each.picked(each.tensors()[0].name, name))
        return Answer(ask_model(model, self.title, given))


def model(
    name: str = "",
    /,
    *,
    uri: str = "",
    runtime: str = "",
    timeout_s: float = 0.0,
    min_replicas: int | None = None,
    max_replicas: int = 0,
) -> Model:
    """A model or service of this server by its name; with `uri`, one of the graph's own.

    Called with one answer or several, their tensors are its request; `model("m")(age=f["age"])`
    gives it single tensors under its own names. Relative paths are the server's.
    """
    options = options_of(timeout_s)
    if not uri:
        if not name:
            raise GraphError("a model needs a name, or a uri")
        if runtime or min_replicas is not None or max_replicas:
            raise GraphError(f"model '{name}' runs elsewhere: say how it runs there, not here")
        return Model(name, {"model": name, **options})
    fragment: dict[str, Any] = {"modelUri": uri, **options}
    if runtime:
        fragment["runtime"] = runtime
    if min_replicas is not None:
        fragment["minReplicas"] = min_replicas
    if max_replicas:
        fragment["maxReplicas"] = max_replicas
    return Model(name or _stem(uri), fragment)


def _stem(uri: str) -> str:
    """What a file is called, without folder and suffix."""
    return uri.rstrip("/").rpartition("/")[2].partition(".")[0] or "model"
