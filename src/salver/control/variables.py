"""Environment variables whose values lie in Secrets and ConfigMaps: looked up, never stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from salver.control.ports import RevisionOrder
from salver.errors import LoadFailed
from salver.graphs.plan import EnvReference, RemoteRunner

LookUp = Callable[[str, str, str], Mapping[str, str] | None]
"""The values in a Secret or ConfigMap by kind (`secrets`), namespace and name."""


def with_variables(order: RevisionOrder, look_up: LookUp) -> RevisionOrder:
    """The order with the values in place of the references; its own variables win.

    Raises `LoadFailed` if one is missing.
    """
    runner = order.plan.runner
    if isinstance(runner, RemoteRunner) or not runner.env_from:
        return order
    env = (*resolved(runner.env_from, order.namespace, look_up), *runner.env)
    plan = msgspec.structs.replace(order.plan, runner=msgspec.structs.replace(runner, env=env))
    return msgspec.structs.replace(order, plan=plan)


def resolved(
    references: Sequence[EnvReference], namespace: str, look_up: LookUp
) -> list[tuple[str, str]]:
    """The variables that the references mean. Raises `LoadFailed` if one is missing."""
    found: list[tuple[str, str]] = []
    for each in references:
        what = f"{'Secret' if each.kind == 'secrets' else 'ConfigMap'} {namespace}/{each.resource}"
        values = look_up(each.kind, namespace, each.resource)
        if values is None:
            if each.optional:
                continue
            raise LoadFailed(f"{what} is not there, but variables come from it: apply it")
        if not each.key:
            found += [(each.name + key, value) for key, value in values.items()]
        elif each.key in values:
            found.append((each.name, values[each.key]))
        elif not each.optional:
            raise LoadFailed(f"{what} has no key '{each.key}' for the variable {each.name}")
    return found
