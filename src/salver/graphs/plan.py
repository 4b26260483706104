"""What is to be served: the value that the control plane makes and the data plane carries out.

Resources of every dialect compile to this (`compile.py`); a backend makes the machine look
like it. Pure values: nothing here parses a manifest, reads a file or starts a process.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from salver.inference.requirements import Requirements as Requirements

Component = Literal["predictor", "transformer", "explainer"]
WireProtocol = Literal["v1", "v2", "grpc-v2", "http", "seldon"]
Metric = Literal["concurrency", "rps", "cpu", "memory"]
LogMode = Literal["all", "request", "response"]


class EnvReference(msgspec.Struct, frozen=True):
    """A variable whose value is kept elsewhere: looked up when a replica starts, never stored.

    `kind` is the plural of the resource; without a `key`, all of its keys become variables,
    `name` being their prefix.
    """

    name: str
    kind: Literal["secrets", "configmaps"]
    resource: str
    key: str = ""
    optional: bool = False


class ModelRunner(msgspec.Struct, frozen=True, tag="model"):
    """An artifact in one of Salver's own workers.

    `uri` is as written in the manifest; `runtime` names a salver runtime (`sklearn`), or is
    empty to have the format recognised; `attribute` is the class in a Python file.
    `runtime_version` is the manifest's `runtimeVersion`, which chooses the environment.
    """

    uri: str
    runtime: str = ""
    attribute: str = ""
    format: str = ""
    runtime_version: str = ""
    requirements: Requirements = Requirements()
    env: tuple[tuple[str, str], ...] = ()
    env_from: tuple[EnvReference, ...] = ()
    storage_key: str = ""
    storage_parameters: tuple[tuple[str, str], ...] = ()
    service_account: str = ""
    content_type: str = ""
    options: str = ""
    """A JSON object: arguments of the runtime. For `steps`, see `runtimes/steps.py`."""
    model: str = ""
    """Which one, if the artifact is a repository of several."""


class CommandRunner(msgspec.Struct, frozen=True, tag="command"):
    """A command that serves HTTP on the port it finds in `PORT`. `uri`: its model, if any.

    `container` is the image the command would run in on a cluster, for people only.
    """

    command: tuple[str, ...]
    protocol: WireProtocol = "v1"
    env: tuple[tuple[str, str], ...] = ()
    env_from: tuple[EnvReference, ...] = ()
    working_dir: str = ""
    uri: str = ""
    container: str = ""
    service_account: str = ""
    readiness_path: str = ""
    model: str = ""
    """What the model is called there; empty: as the service is here."""


class ContainerRunner(msgspec.Struct, frozen=True, tag="container"):
    """A container image that serves HTTP on `port`, run by the machine's OCI runtime."""

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    env_from: tuple[EnvReference, ...] = ()
    protocol: WireProtocol = "v1"
    port: int = 8080
    uri: str = ""
    working_dir: str = ""
    service_account: str = ""
    readiness_path: str = ""
    model: str = ""
    """What the model is called there; empty: as the service is here."""


class RemoteRunner(msgspec.Struct, frozen=True, tag="remote"):
    """A service that runs elsewhere: `url` is its base, e.g. `http://10.0.0.7:8080`.

    `model`: what the model is called there; empty: as the service is here.
    """

    url: str
    protocol: WireProtocol = "v1"
    model: str = ""


Runner = ModelRunner | CommandRunner | ContainerRunner | RemoteRunner


class ScalingPolicy(msgspec.Struct, frozen=True):
    """Knative's knobs. Seconds, percent, replicas. `target` is per replica; 0: the default.

    `max_replicas` 0 means no limit. `initial_scale` -1 means `max(1, min_replicas)`. The
    stabilization windows are the HPA's, for the metrics cpu and memory; their targets are
    percent of what a replica requests.
    """

    min_replicas: int = 1
    max_replicas: int = 0
    metric: Metric = "concurrency"
    target: float = 0.0
    target_utilization_percent: float = 70.0
    container_concurrency: int = 0
    stable_window_s: float = 60.0
    panic_window_percent: float = 10.0
    panic_threshold_percent: float = 200.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    scale_to_zero_grace_s: float = 30.0
    scale_to_zero_retention_s: float = 0.0
    scale_down_delay_s: float = 0.0
    activation_scale: int = 1
    initial_scale: int = -1
    target_burst_capacity: float = 211.0
    scale_up_stabilization_s: float = 0.0
    scale_down_stabilization_s: float = 300.0


class BatchPolicy(msgspec.Struct, frozen=True):
    """KServe's `batcher`: instances, seconds, seconds."""

    max_batch_size: int = 32
    max_latency_s: float = 5.0
    timeout_s: float = 0.0


class LogPolicy(msgspec.Struct, frozen=True):
    """KServe's `logger`. `url`: http(s) sink, or file:///... ending in .jsonl or .parquet."""

    url: str
    mode: LogMode = "all"
    metadata_headers: tuple[str, ...] = ()
    metadata_annotations: tuple[tuple[str, str], ...] = ()


class ComponentPlan(msgspec.Struct, frozen=True):
    """One component of a service. A change of anything but traffic makes a new revision."""

    component: Component
    runner: Runner
    scaling: ScalingPolicy = ScalingPolicy()
    batching: BatchPolicy | None = None
    logging: LogPolicy | None = None
    timeout_s: float = 0.0
    threads: int = 0
    """For one prediction; 0: the server's default."""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """The same for equal plans, in every process: what tells revisions apart."""
        text = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(text).hexdigest()[:16]


class TrafficTarget(msgspec.Struct, frozen=True):
    """A share of a component's traffic. A target with 0 percent may still be asked by its tag."""

    revision: str
    percent: int
    tag: str = ""


class StickyPolicy(msgspec.Struct, frozen=True):
    """What keeps a caller on one revision: a header's or cookie's value, hashed."""

    header: str = ""
    cookie: str = ""


class TrafficPlan(msgspec.Struct, frozen=True):
    """How a component's requests are split. The percents add up to 100.

    `shadow` gets a copy of `shadow_percent` of the requests; its answers are compared and
    counted, never delivered.
    """

    targets: tuple[TrafficTarget, ...]
    shadow: str = ""
    shadow_percent: int = 100
    sticky: StickyPolicy | None = None


class CanarySpec(msgspec.Struct, frozen=True):
    """One entry of an InferenceService's `canary[]` list."""

    name: str
    percent: int
    plan: ComponentPlan


class ComponentDesire(msgspec.Struct, frozen=True):
    """What a manifest wants of one component now: its newest plan and the traffic rules.

    `canary_percent` None: all traffic to the newest revision once it is ready.
    """

    plan: ComponentPlan
    canary_percent: int | None = None
    canaries: tuple[CanarySpec, ...] = ()
    shadow: CanarySpec | None = None
    sticky: StickyPolicy | None = None
    tag_routing: bool = False


class ServiceDesire(msgspec.Struct, frozen=True):
    """What one manifest wants: the components of one service, under one name."""

    namespace: str
    name: str
    components: tuple[ComponentDesire, ...]
    stopped: bool = False
    pooled: bool = False
    notes: tuple[str, ...] = ()

    def component(self, name: Component) -> ComponentDesire | None:
        """The component of that name, if the service has it."""
        return next((each for each in self.components if each.plan.component == name), None)
