"""A graph as steps and edges: what every dialect of graphs compiles to and the executor walks.

One request goes through a flow like a token through a dataflow graph. A step waits for the
messages on its edges, acts once, and what it answers goes out on the edges that begin at it. An
edge is *present* (it carries a message), *absent* (its source was not run, failed softly without
an answer, lacks the tensor, or chose another branch) or undecided. Routing is absence: a step that
cannot run any more is absent to all that wait for it. KServe's InferenceGraph, Seldon's graphs and
pipelines, and graphs written in Python are these same values. Pure: nothing here runs anything.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from salver.graphs.plan import ComponentPlan, LogPolicy, StickyPolicy

REQUEST = ""
"""As the source of an edge: the request itself."""
ALL_BRANCHES = -1
"""As a step's answer that names a branch: every branch is taken (Seldon's router)."""
NO_BRANCH = -2
"""As a step's answer, and as an edge's branch: none is taken."""
OTHERWISE = -3
"""As an edge's branch: taken when no condition holds."""

Join = Literal["inner", "outer", "any"]
"""inner: all edges; outer: all that are present once all are decided or the window is over, at
least one; any: the first one present."""


class Edge(msgspec.Struct, frozen=True):
    """Where a step gets a message from.

    `end`: what the source answered (`outputs`) or what it was given (`inputs`). `branch`: for a
    source that chooses, present only if that branch was chosen; its message is then what the
    source was given. `tensor`: only this tensor of the message, under the name `rename`; an edge
    whose tensor is not there is absent.
    """

    source: str = REQUEST
    end: Literal["outputs", "inputs"] = "outputs"
    branch: int | None = None
    tensor: str = ""
    rename: str = ""
    renames: tuple[tuple[str, str], ...] = ()
    """Of a whole message: tensors that get another name; those not named keep theirs."""


# What a step does.


class Service(msgspec.Struct, frozen=True, tag="service"):
    """Asks what serves here under that name: a model, an InferenceService, a graph."""

    namespace: str
    name: str


class Unit(msgspec.Struct, frozen=True, tag="unit"):
    """Asks a unit of the graph's own: see `GraphDesire.units`."""

    unit: str


class Address(msgspec.Struct, frozen=True, tag="address"):
    """Posts the message to a URL as it is; whatever comes back is the answer."""

    url: str


class Function(msgspec.Struct, frozen=True, tag="function"):
    """Calls a function or component in a steps worker, with the messages of all inputs.

    `function` is its name in the unit; `method` how it is called (`protocol/bundle.py`).
    Neighbouring calls of one unit become one call of its worker.
    """

    unit: str
    function: str
    method: str = "call"


class Conditions(msgspec.Struct, frozen=True, tag="conditions"):
    """Chooses the first branch whose GJSON path exists in the message; else OTHERWISE if an edge
    waits for that, else the request fails as not matched: over JSON with this body, if the dialect
    has one, else as the caller's protocol has it."""

    paths: tuple[str, ...]
    unmatched_body: bytes = b""


class Weights(msgspec.Struct, frozen=True, tag="weights"):
    """Chooses a branch by chance. The weights need not add up to 100."""

    weights: tuple[float, ...]
    sticky: StickyPolicy | None = None


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """Chooses the branch that the message of the first trigger names: an index, ALL_BRANCHES,
    NO_BRANCH. `branches` is how many there are. What is passed on is the message of the inputs."""

    branches: int


class Learned(msgspec.Struct, frozen=True, tag="learned"):
    """Chooses a branch by what feedback has taught: see `bandits/`. `arms`: the branches' names.

    `parameters` are the algorithm's, as written.
    """

    algorithm: str
    arms: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...] = ()


class Succeeded(msgspec.Struct, frozen=True, tag="succeeded"):
    """Chooses branch 0 if the message is an answer, 1 if it is a failure that was tolerated."""


class Gather(msgspec.Struct, frozen=True, tag="gather"):
    """Makes one JSON object of its inputs' answers, under these keys (KServe's Ensemble)."""

    keys: tuple[str, ...]


class Pass(msgspec.Struct, frozen=True, tag="pass"):
    """Hands on the first present input in the order of its edges, or, with tensors named or
    `merges`, one message with the tensors of all."""

    merges: bool = False


Target = Service | Unit | Address
Choice = Conditions | Weights | Answered | Learned | Succeeded
Action = Target | Function | Choice | Gather | Pass


class Step(msgspec.Struct, frozen=True):
    """One step. Edges are in order; a target with several inputs gets their tensors as one request.

    `tolerates`: a failure is this step's answer (KServe's Soft dependency) instead of the
    request's. `as_request` says how an answer becomes the next request (KServe's
    `mapPredictionsToInstances`): `auto` for V2, whose outputs become inputs; `mapped` also for V1;
    `raw` for neither. `quorum`: with an inner join, so many edges are enough. `window_s`: for an
    outer join, how long to wait after the first. `delay_s`: it starts so long after its inputs are
    there, unless its answer is no longer needed (a hedge). `batch_window_s`: it waits so long for
    calls of other requests, or until there are `batch_size`. `max_visits` > 1: it runs again when
    an input of an any join comes again. `timeout_s` 0: what is left of the request's time. `path`:
    where the step is written, for errors; `title`: what people call it, if not by its name.
    """

    name: str
    action: Action
    inputs: tuple[Edge, ...] = (Edge(),)
    join: Join = "inner"
    triggers: tuple[Edge, ...] = ()
    triggers_join: Join = "inner"
    quorum: int = 0
    window_s: float = 0.0
    delay_s: float = 0.0
    batch_size: int = 0
    batch_window_s: float = 0.0
    timeout_s: float = 0.0
    tolerates: bool = False
    as_request: Literal["auto", "mapped", "raw"] = "auto"
    max_visits: int = 1
    path: str = ""
    title: str = ""
    image: str = ""
    """Seldon's `meta.requestPath` shows it."""


class SeldonNode(msgspec.Struct, frozen=True):
    """A node of a SeldonDeployment's tree: what feedback and `meta.routing` go by.

    `unit` and `function` say who hears of feedback; `router` is the name of the node's choosing
    step, empty if it chooses nothing.
    """

    name: str
    unit: str = ""
    function: str = ""
    router: str = ""
    hears_feedback: bool = False
    children: tuple[SeldonNode, ...] = ()


class Flow(msgspec.Struct, frozen=True):
    """A graph. Steps are in an order in which, but for cycles, sources come before targets.

    `output` is what the caller gets: the messages of these edges, joined by `output_join`; of
    several present ones, the first if none names a tensor (and not `merges_output`), else their
    tensors as one answer.
    """

    name: str
    steps: tuple[Step, ...]
    output: tuple[Edge, ...]
    output_join: Join = "any"
    merges_output: bool = False
    timeout_s: float = 0.0
    tree: SeldonNode | None = None


class GraphUnit(msgspec.Struct, frozen=True):
    """A model, program or URL of the graph's own, run as a revision is; changed, it is new."""

    name: str
    plan: ComponentPlan


class Variant(msgspec.Struct, frozen=True):
    """One of several flows that share a graph's requests (Seldon's predictors, candidates)."""

    name: str
    flow: Flow
    percent: float = 100.0


class Feed(msgspec.Struct, frozen=True):
    """Another graph whose traffic is this one's input too: `edge` of its flow, or of its request
    and answer if the edge's source is empty. Answers go to the inspection only."""

    namespace: str
    graph: str
    edge: Edge
    is_trigger: bool = False
    """Its data must be there, and is not given."""


class FeedJoin(msgspec.Struct, frozen=True):
    """How the data of several feeds that comes of one request is put together: see `Step`."""

    join: Join = "inner"
    triggers_join: Join = "inner"
    window_s: float = 0.0


class GraphDesire(msgspec.Struct, frozen=True):
    """What one manifest of a graph wants.

    `resource` is (group, plural). `variants` share the requests by percent; the shadow gets copies
    of `shadow_percent` and never answers. `addresses` are what else it answers to: `model:NAME`
    for a `Seldon-Model` header, and `name:MODEL` to answer in place of that model (an Experiment's
    default). `exposes_unit`: the graph is nothing but that unit (a Seldon v2 Model). `order` is how
    many there are of the same name wanted, unused by most. `headers`: the request headers that go
    with it to URLs, as regular expressions.
    """

    resource: tuple[str, str]
    namespace: str
    name: str
    variants: tuple[Variant, ...]
    units: tuple[GraphUnit, ...] = ()
    shadow: Variant | None = None
    shadow_percent: float = 100.0
    sticky: StickyPolicy | None = None
    tells_route: bool = False
    """Answers carry `x-seldon-route`, and callers who send it back get the same variants."""
    addresses: tuple[str, ...] = ()
    feeds: tuple[Feed, ...] = ()
    feeds_join: FeedJoin = FeedJoin()
    exposes_unit: str = ""
    default_protocol: Literal["", "v1", "v2", "seldon"] = ""
    headers: tuple[str, ...] = ()
    logging: LogPolicy | None = None
    stopped: bool = False
    notes: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[Service, ...]:
        """The services that it asks and does not run itself."""
        flows = [each.flow for each in self.variants]
        flows += [self.shadow.flow] if self.shadow is not None else []
        found = [s.action for flow in flows for s in flow.steps if isinstance(s.action, Service)]
        return tuple(dict.fromkeys(found))

    @property
    def digest(self) -> str:
        """The same for equal graphs, in every process."""
        text = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(text).hexdigest()[:16]
