"""The Go templates that KServe's runtimes write in their containers, filled in. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from salver.graphs.selection import PlanError
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import Container, EnvVar

_TEMPLATE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_FIELD = re.compile(r"\.(Name|Namespace)|\.(Labels|Annotations)\.([A-Za-z0-9_]+)")
_INDEX = re.compile(r"index\s+\.(Labels|Annotations)\s+\"([^\"]+)\"")


def rendered(container: Container, metadata: ObjectMeta) -> Container:
    """The container with the templates in its image, command, arguments and variables filled in.

    Raises `PlanError`.
    """

    def render(texts: Sequence[str]) -> tuple[str, ...]:
        namespace = metadata.namespace or "default"
        return render_args(texts, metadata.name, metadata.labels, metadata.annotations, namespace)

    return msgspec.structs.replace(
        container,
        image=render([container.image])[0],
        command=render(container.command),
        args=render(container.args),
        env=rendered_env(container.env, metadata),
    )


def rendered_env(env: Sequence[EnvVar], metadata: ObjectMeta) -> tuple[EnvVar, ...]:
    """The variables with the templates in their values filled in. Raises `PlanError`."""
    namespace = metadata.namespace or "default"
    facts = (metadata.name, metadata.labels, metadata.annotations, namespace)
    return tuple(
        msgspec.structs.replace(each, value=render_args([each.value], *facts)[0]) for each in env
    )


def render_args(
    args: Sequence[str],
    name: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    namespace: str = "default",
) -> tuple[str, ...]:
    """The arguments with `{{.Name}}`, `{{.Labels.x}}` and `{{.Annotations.x}}` filled in.

    Raises `PlanError` for a template that is none of these or names what is not there.
    """
    sources = {"Labels": labels, "Annotations": annotations}
    fixed = {"Name": name, "Namespace": namespace}

    def value_of(match: re.Match[str]) -> str:
        field = _FIELD.fullmatch(match[1])
        if field is not None and field[1]:
            return fixed[field[1]]
        found = (field[2], field[3]) if field is not None else _indexed(match[1])
        if found is None:
            raise PlanError(
                "InvalidPredictorSpec",
                f"the argument template '{match[0]}' of '{name}' is not understood: use .Name, "
                ".Namespace, .Labels.x, .Annotations.x",
            )
        kind, key = found
        if key not in sources[kind]:
            raise PlanError(
                "InvalidPredictorSpec",
                f"the argument template '{match[0]}' of '{name}' names {_A[kind]} it does not "
                f"have: add '{key}' to its metadata",
            )
        return sources[kind][key]

    return tuple(_TEMPLATE.sub(value_of, each) for each in args)


_A = {"Labels": "a label", "Annotations": "an annotation"}


def _indexed(expression: str) -> tuple[str, str] | None:
    index = _INDEX.fullmatch(expression)
    return (index[1], index[2]) if index is not None else None
