"""What is shown of a revision: how far it has come, its replicas, its share.

For people only: nothing reads it back, and it is written when it has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from salver.control.ports import Observation, Phase
from salver.control.resources import ObjectRef, ResourceStore
from salver.errors import ResourceNotFound
from salver.graphs.plan import TrafficPlan

_RETIRED = "Retired"


class RevisionMirror:
    """Keeps the status of the Revisions in the store what is seen of them."""

    def __init__(self, store: ResourceStore, now: Callable[[], str]) -> None:
        self._store = store
        self._now = now
        self._shown: dict[ObjectRef, tuple[Observation, int]] = {}

    def show(self, ref: ObjectRef, seen: Observation, percent: int) -> None:
        """Writes the status if it is not what was written last."""
        facts = (seen, percent)
        if self._shown.get(ref) == facts:
            return
        self._shown[ref] = facts
        try:
            obj = self._store.get(ref)
            old = obj.get("status") or {}
            status = revision_status(seen, percent, old, self._now())
            if status != old:
                metadata = {**obj["metadata"]}
                metadata.pop("resourceVersion", None)
                self._store.update_status(ref, {**obj, "metadata": metadata, "status": status})
        except ResourceNotFound:
            del self._shown[ref]

    def forget(self, ref: ObjectRef) -> None:
        """The revision is no more."""
        self._shown.pop(ref, None)


def revision_status(
    seen: Observation, percent: int, old: Mapping[str, Any], now: str
) -> dict[str, Any]:
    """The `status` of a Revision; its condition keeps its date while its status stays."""
    phase = _RETIRED if seen.phase is Phase.UNKNOWN else seen.phase.value
    ready = {Phase.READY: "True", Phase.FAILED: "False", Phase.UNKNOWN: "False"}.get(
        seen.phase, "Unknown"
    )
    former: Mapping[str, Any] = next(iter(old.get("conditions") or [{}]))
    is_same = former.get("status") == ready
    condition = {
        "type": "Ready",
        "status": ready,
        "lastTransitionTime": former.get("lastTransitionTime", now) if is_same else now,
    }
    if seen.phase is not Phase.READY:
        condition["reason"] = "RevisionFailed" if seen.phase is Phase.FAILED else phase
    if seen.phase is Phase.FAILED:
        condition["message"] = seen.detail
    return {
        "phase": phase,
        "replicas": seen.replicas,
        "traffic": percent,
        "conditions": [condition],
    }


def share_of(revision: str, traffic: TrafficPlan | None) -> int:
    """The percent of the component's requests that the revision gets."""
    targets = traffic.targets if traffic is not None else ()
    return sum(each.percent for each in targets if each.revision == revision)
