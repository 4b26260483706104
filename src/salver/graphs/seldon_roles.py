"""What a node of a SeldonDeployment's graph does with a request, by its type and methods. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from salver.graphs.flow import Choice, Learned, Weights
from salver.spec.pods import Container
from salver.spec.seldon import (
    LEARNING_ROUTERS,
    UNKNOWN_IMPLEMENTATION,
    PredictiveUnit,
    UnitMethod,
    UnitType,
)
from salver.spec.seldon_node_checks import WRAPPER_PARAMETERS

_LEARNING_IMAGES = {
    "mab_epsilon_greedy": "epsilon_greedy",
    "mab_thompson_sampling": "thompson_sampling",
    "mab_thompson_sampling_persistent": "thompson_sampling",
}
"""Seldon's images of routers that learn, and the algorithm of Salver's own in place of each."""
_OF_IMAGES = ("epsilon",)
"""Those of the images' parameters that say how to learn."""


class Roles(msgspec.Struct, frozen=True):
    """What is asked of a node, in this order. `enters` is the method for the way in."""

    enters: Literal["", "predict", "transform_input"] = ""
    routes: bool = False
    aggregates: bool = False
    leaves: bool = False
    hears_feedback: bool = False

    @property
    def asks(self) -> bool:
        """Whether anybody has to be there to be asked."""
        return bool(
            self.enters or self.routes or self.aggregates or self.leaves or self.hears_feedback
        )


def roles_of(node: PredictiveUnit, container: Container | None) -> Roles:
    """The roles that somebody else than a choice of the executor's own plays for the node.

    A type has its method, and `methods` add theirs; asked both to predict and to transform its
    input, a node transforms, as in Seldon's engine. A packaged server predicts, whatever is said.
    """
    implementation = node.implementation
    if choice_of(node, container) is not None:
        return Roles()
    if implementation == "AVERAGE_COMBINER":
        return Roles(aggregates=True)
    if implementation == "SIMPLE_MODEL":
        return Roles(enters="predict")
    if implementation not in (UNKNOWN_IMPLEMENTATION, ""):
        return Roles(enters="predict")
    return _by_type(node.type or ("UNKNOWN_TYPE" if node.methods else "MODEL"), node.methods)


def _by_type(type_: UnitType, methods: tuple[UnitMethod, ...]) -> Roles:
    transforms = type_ == "TRANSFORMER" or "TRANSFORM_INPUT" in methods
    return Roles(
        enters="transform_input" if transforms else "predict" if type_ == "MODEL" else "",
        routes=type_ == "ROUTER" or "ROUTE" in methods,
        aggregates=type_ == "COMBINER" or "AGGREGATE" in methods,
        leaves=type_ == "OUTPUT_TRANSFORMER" or "TRANSFORM_OUTPUT" in methods,
        hears_feedback=type_ in ("MODEL", "ROUTER") or "SEND_FEEDBACK" in methods,
    )


def choice_of(node: PredictiveUnit, container: Container | None) -> Choice | None:
    """The choice among children that the executor makes itself; None if the node is asked."""
    implementation, count = node.implementation, len(node.children)
    if implementation == "RANDOM_ABTEST":
        ratio = float({each.name: each.value for each in node.parameters}.get("ratioA", "0.5"))
        return Weights((ratio * 100, (1 - ratio) * 100))
    if implementation == "SIMPLE_ROUTER":
        # Seldon's first engine always took the first child.
        return Weights((1.0, *(0.0 for _ in range(count - 1))))
    if implementation in LEARNING_ROUTERS:
        return _learned(node, implementation.lower())
    image = _learning_image(node, container)
    return _learned(node, image, of_image=True) if image else None


def _learning_image(node: PredictiveUnit, container: Container | None) -> str:
    if container is None or container.command or node.type != "ROUTER":
        return ""
    name = container.image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    return _LEARNING_IMAGES.get(name, "")


def _learned(node: PredictiveUnit, algorithm: str, *, of_image: bool = False) -> Learned:
    parameters = tuple(
        (each.name, each.value)
        for each in node.parameters
        if (each.name in _OF_IMAGES if of_image else each.name not in WRAPPER_PARAMETERS)
    )
    return Learned(algorithm, tuple(each.name for each in node.children), parameters)
