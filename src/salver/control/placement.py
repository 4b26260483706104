"""Which loaded models make room for one that is to be loaded, within a memory budget. Pure.

Filters say what may not go and why, a sorter says who goes first: the least recently used.
The answer is a list of evictions, or a refusal that explains itself. Nothing is unloaded here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

_NAMED_IN_REFUSAL = 3
_MIB = 1 << 20


class LoadedModel(msgspec.Struct, frozen=True):
    """A model in the pool: its copies, the memory of each, and who uses it.

    `last_used_s` is on any clock, the same for all. `min_copies` 0: may be unloaded.
    """

    name: str
    memory_bytes: int
    last_used_s: float
    in_flight: int = 0
    copies: int = 1
    min_copies: int = 0
    is_loading: bool = False


class Placement(msgspec.Struct, frozen=True):
    """The copies to unload, by model, in this order; or why there is no place.

    A model appears once for each copy that goes.
    """

    evict: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def fits(self) -> bool:
        """There is place once the evictions are done."""
        return not self.refusal


class Filter(msgspec.Struct, frozen=True):
    """A reason for which a model keeps its copies."""

    description: str
    keeps: Callable[[LoadedModel], bool]


FILTERS: tuple[Filter, ...] = (
    Filter("has requests in flight", lambda model: model.in_flight > 0),
    Filter("is being loaded", lambda model: model.is_loading),
    Filter("is at its minimum of copies", lambda model: model.copies <= model.min_copies),
)


def pinned_bytes(loaded: Sequence[LoadedModel]) -> int:
    """What stays whatever happens. Of models being loaded nobody knows yet how much that is."""
    return sum(
        model.memory_bytes * min(model.copies, model.min_copies)
        for model in loaded
        if not model.is_loading
    )


class _Copy(msgspec.Struct, frozen=True):
    model: LoadedModel
    nth: int
    """Of this model's copies, in which place it would go: 0 first."""


def place(
    name: str,
    needed_bytes: int,
    budget_bytes: int,
    loaded: Sequence[LoadedModel],
    filters: Sequence[Filter] = FILTERS,
) -> Placement:
    """What must go so that `needed_bytes` more fit in the budget."""
    used = sum(model.memory_bytes * model.copies for model in loaded)
    excess = used + needed_bytes - budget_bytes
    if excess <= 0:
        return Placement()
    if needed_bytes > budget_bytes:
        return Placement(
            refusal=f"model {name} needs {_mib(needed_bytes)}, more than the whole memory budget "
            f"of {_mib(budget_bytes)}: raise the budget"
        )
    candidates, kept = _sorted_out(name, loaded, filters)
    chosen = _oldest_first(candidates, excess)
    if chosen is None:
        free = budget_bytes - used + sum(copy.model.memory_bytes for copy in candidates)
        need = f"model {name} needs {_mib(needed_bytes)}"
        return Placement(refusal=f"{need}, but {_why_no_place(budget_bytes, free, kept)}")
    return Placement(evict=tuple(copy.model.name for copy in chosen))


def _sorted_out(
    name: str, loaded: Sequence[LoadedModel], filters: Sequence[Filter]
) -> tuple[list[_Copy], list[tuple[LoadedModel, str]]]:
    """The copies that may go, and the models that keep all of theirs, each with the reason."""
    candidates: list[_Copy] = []
    kept: list[tuple[LoadedModel, str]] = []
    for model in loaded:
        reason = next((each.description for each in filters if each.keeps(model)), "")
        if model.name == name:
            reason = reason or "is the one that gets another copy"
        if reason:
            kept.append((model, reason))
        else:
            spare = model.copies - model.min_copies
            candidates += [_Copy(model, nth) for nth in range(spare)]
    # Least recently used first; among equals the larger, so that fewer go.
    candidates.sort(
        key=lambda copy: (
            copy.model.last_used_s,
            -copy.model.memory_bytes,
            copy.model.name,
            copy.nth,
        )
    )
    return candidates, kept


def _oldest_first(candidates: Sequence[_Copy], excess: int) -> list[_Copy] | None:
    """The fewest in this order that free the excess; None if all of them do not."""
    chosen: list[_Copy] = []
    freed = 0
    for copy in candidates:
        if freed >= excess:
            break
        chosen.append(copy)
        freed += copy.model.memory_bytes
    if freed < excess:
        return None
    # A large model that went last may have made earlier ones needless; spare the newest first.
    for copy in reversed(chosen[:-1]):
        if freed - copy.model.memory_bytes >= excess:
            freed -= copy.model.memory_bytes
            chosen.remove(copy)
    return chosen


def _why_no_place(
    budget_bytes: int, free_bytes: int, kept: Sequence[tuple[LoadedModel, str]]
) -> str:
    largest = sorted(kept, key=lambda each: -each[0].memory_bytes * each[0].copies)
    named = [f"{model.name} {reason}" for model, reason in largest[:_NAMED_IN_REFUSAL]]
    if len(largest) > _NAMED_IN_REFUSAL:
        named.append(f"{len(largest) - _NAMED_IN_REFUSAL} more stay")
    return (
        f"only {_mib(max(0, free_bytes))} of the memory budget of {_mib(budget_bytes)} can be "
        f"freed now ({', '.join(named)}): try again later, or raise the budget"
    )


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"
