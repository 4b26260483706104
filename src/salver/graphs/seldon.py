"""From a SeldonDeployment to flows: one variant for each predictor. Pure.

A node of the tree becomes up to five steps, in the order in which Seldon's engine goes through it:
its way in (predict or transform the input), its choice of children, the children, their
aggregation, its way out. The first step that asks the node has the node's name, further ones
`NAME/ROLE`. Who answers is `seldon_units.py`'s; what is malformed, `spec/` has refused before.
"""

from __future__ import annotations

from collections.abc import Mapping

from salver.graphs.flow import (
    NO_BRANCH,
    Action,
    Answered,
    Choice,
    Edge,
    Flow,
    Function,
    GraphDesire,
    Join,
    Pass,
    SeldonNode,
    Step,
    Unit,
    Variant,
)
from salver.graphs.seldon_notes import notes_of_deployment
from salver.graphs.seldon_roles import Roles, choice_of, roles_of
from salver.graphs.seldon_units import (
    NodeCall,
    UnitBook,
    annotations_of,
    container_of,
    log_policy,
    protocol_of,
)
from salver.graphs.selection import PlanError
from salver.spec.kinds import SELDON
from salver.spec.problems import path_text
from salver.spec.seldon import PredictiveUnit, PredictorSpec, SeldonDeployment

_TIMEOUTS = {"rest": "seldon.io/rest-timeout", "grpc": "seldon.io/grpc-timeout"}


def compile_seldon_deployment(deployment: SeldonDeployment) -> GraphDesire:
    """What the manifest wants. Raises `PlanError`."""
    spec = deployment.spec
    book = UnitBook(deployment)
    variants = [
        Variant(
            predictor.name,
            _Compiler(deployment, predictor, index, book).flow(),
            float(predictor.traffic or 0),
        )
        for index, predictor in enumerate(spec.predictors)
    ]
    roles = list(zip(spec.predictors, variants, strict=True))
    answering = [variant for predictor, variant in roles if not predictor.shadow]
    if len(answering) == 1:
        answering = [Variant(answering[0].name, answering[0].flow)]
    shadow = next((variant for predictor, variant in roles if predictor.shadow), None)
    loggers = [log_policy(each.graph) for each in spec.predictors]
    return GraphDesire(
        resource=(SELDON, "seldondeployments"),
        namespace=deployment.metadata.namespace or "default",
        name=deployment.metadata.name,
        variants=tuple(answering),
        units=book.units(),
        shadow=shadow,
        shadow_percent=(shadow.percent if shadow is not None else 0.0) or 100.0,
        default_protocol=protocol_of(deployment),
        logging=next((each for each in loggers if each is not None), None),
        notes=tuple(dict.fromkeys([*book.notes, *notes_of_deployment(deployment)])),
    )


class _Compiler:
    """One predictor's compilation; steps come in an order in which sources go before targets."""

    def __init__(
        self,
        deployment: SeldonDeployment,
        predictor: PredictorSpec,
        index: int,
        book: UnitBook,
    ) -> None:
        self._predictor = predictor
        self._path = ("spec", "predictors", index, "graph")
        self._book = book
        self._steps: list[Step] = []
        annotations = annotations_of(deployment, predictor)
        self._timeout_s = _timeout_s(annotations, deployment.spec.transport)

    def flow(self) -> Flow:
        """The predictor's tree as a flow."""
        root = self._predictor.graph
        answer, tree = self._node(root, Edge(), path_text(self._path), "")
        return Flow(self._predictor.name, tuple(self._steps), (answer,), tree=tree)

    def _node(
        self, node: PredictiveUnit, given: Edge, where: str, near: str
    ) -> tuple[Edge, SeldonNode]:
        """Adds the node's steps and those behind it; returns where its answer comes out.

        `near` is the unit of the node before, if this one may share it.
        """
        container = container_of(self._predictor, node.name)
        roles, choice = roles_of(node, container), choice_of(node, container)
        called = self._called(node, roles, where, near)
        steps = _NodeSteps(node, called, where, self._timeout_s, self._steps)
        if roles.enters:
            given = steps.ask(roles.enters, "", (given,))
        router, feeds = steps.choose(roles, choice, given)
        # Functions of several children run at the same time: none of them shares a worker.
        shared = called.unit if called.function and len(node.children) == 1 else ""
        reached = [
            self._node(child, feed, f"{where}.children[{index}]", shared)
            for index, (child, feed) in enumerate(zip(node.children, feeds, strict=True))
        ]
        given = steps.merge(roles, given, [answer for answer, _ in reached], router)
        if roles.leaves:
            given = steps.ask("transform_output", "output", (given,))
        trees = tuple(tree for _, tree in reached)
        return given, _tree_node(node, called, roles, router, trees)

    def _called(self, node: PredictiveUnit, roles: Roles, where: str, near: str) -> NodeCall:
        if not roles.asks:
            return NodeCall("")
        is_root = where == path_text(self._path)
        called = self._book.place(self._predictor, node, where, near, is_root)
        if roles.routes and not called.function:
            raise _no_router(where, node)
        return called


def _tree_node(
    node: PredictiveUnit,
    called: NodeCall,
    roles: Roles,
    router: str,
    children: tuple[SeldonNode, ...],
) -> SeldonNode:
    hears = roles.hears_feedback and bool(called.function)
    unit = called.unit if called.function else ""
    return SeldonNode(node.name, unit, called.function, router, hears, children)


class _NodeSteps:
    """Makes the steps of one node."""

    def __init__(
        self,
        node: PredictiveUnit,
        called: NodeCall,
        where: str,
        timeout_s: float,
        steps: list[Step],
    ) -> None:
        self._node = node
        self._called = called
        self._where = where
        self._timeout_s = timeout_s
        self._steps = steps
        self._is_first = True

    def ask(self, method: str, role: str, inputs: tuple[Edge, ...], join: Join = "inner") -> Edge:
        """A step that asks the node's unit."""
        called = self._called
        action: Action = Unit(called.unit)
        if called.function:
            action = Function(called.unit, called.function, method)
        return self.add(action, role, inputs, join, timeout_s=self._timeout_s, image=called.image)

    def add(
        self,
        action: Action,
        role: str,
        inputs: tuple[Edge, ...],
        join: Join = "inner",
        *,
        triggers: tuple[Edge, ...] = (),
        timeout_s: float = 0.0,
        image: str = "",
    ) -> Edge:
        """A step of the node; returns the edge of its answer."""
        name = self._node.name if self._is_first or not role else f"{self._node.name}/{role}"
        self._is_first = False
        step = Step(
            name,
            action,
            inputs,
            join,
            triggers=triggers,
            timeout_s=timeout_s,
            as_request="mapped",
            path=self._where,
            title=self._node.name if name != self._node.name else "",
            image=image,
        )
        self._steps.append(step)
        return Edge(name)

    def choose(self, roles: Roles, choice: Choice | None, given: Edge) -> tuple[str, list[Edge]]:
        """The step that chooses among the children, if one does, and what each child is given."""
        count = len(self._node.children)
        if not count or not (roles.routes or choice is not None):
            return "", [given] * count
        if choice is not None:
            router = self.add(choice, "", (given,)).source
        else:
            route = self.ask("route", "route", (given,))
            router = self.add(Answered(count), "choice", (given,), triggers=(route,)).source
        return router, [Edge(router, branch=index) for index in range(count)]

    def merge(self, roles: Roles, given: Edge, answers: list[Edge], router: str) -> Edge:
        """Where the answer of the children comes out: aggregated, else that of the first.

        With a router some of them have none, and if it chose none at all, what it was given is
        the answer.
        """
        if not answers:
            return given
        join: Join = "outer" if router else "inner"
        if roles.aggregates:
            answers = [self.ask("aggregate", "aggregate", tuple(answers), join)]
        if router:
            # Only a component can choose none; the executor's own choices always choose one.
            echo = (Edge(router, branch=NO_BRANCH),) if roles.routes else ()
            return self.add(Pass(), "answer", (*answers, *echo), "outer")
        if len(answers) == 1:
            return answers[0]
        return self.add(Pass(), "answer", tuple(answers))


def _no_router(where: str, node: PredictiveUnit) -> PlanError:
    return PlanError(
        "InvalidPredictorSpec",
        f"{where}: router '{node.name}' cannot say over V1 or V2 which child it chooses: use "
        "spec.protocol seldon, or make it a Python class",
    )


def _timeout_s(annotations: Mapping[str, str], transport: str) -> float:
    """What one node may take; over both transports the same, since here it has only one."""
    preferred = _TIMEOUTS.get(transport, _TIMEOUTS["rest"])
    for name in (preferred, *_TIMEOUTS.values()):
        if name in annotations:
            return int(annotations[name]) / 1000
    return 0.0
