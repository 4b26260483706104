"""What runs a component on this machine: a worker, a process, a container. Pure.

A model gets a worker of Salver's own if its runtime is built in or its image is a known
server's; any other image runs as a container, and what names a command as that command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from salver.graphs.builtin_runtimes import LOCAL_RUNTIMES, known_server
from salver.graphs.plan import (
    CommandRunner,
    Component,
    ContainerRunner,
    EnvReference,
    ModelRunner,
    RemoteRunner,
    Runner,
    WireProtocol,
)
from salver.graphs.selection import PlanError, Runtime, Wanted, select_runtime
from salver.graphs.templates import rendered
from salver.spec.kserve import (
    ComponentExtensionSpec,
    InferenceService,
    ModelFormat,
    ModelSpec,
    PredictorExtensionSpec,
    PredictorSpec,
)
from salver.spec.kserve_runtimes import ProtocolVersion
from salver.spec.pods import Container

_MAIN_CONTAINER = "kserve-container"
_WIRE: Mapping[str, WireProtocol] = {"v1": "v1", "v2": "v2", "grpc-v2": "grpc-v2", "http": "http"}
_LEGACY_FORMATS = (
    "sklearn",
    "xgboost",
    "lightgbm",
    "onnx",
    "tensorflow",
    "pytorch",
    "triton",
    "huggingface",
    "pmml",
    "paddle",
)
_V2_SERVERS = ("kserve-mlserver", "kserve-tritonserver")

URL = "salver.dev/url"
"""Annotation: where the component is served, by somebody else."""
URL_MODEL = "salver.dev/url-model"
"""Annotation: what the model is called there; by default as the service is here."""
PROTOCOL = "salver.dev/protocol"
"""Annotation: what a container, command or URL speaks: v1, v2, or http, which is anything."""


class RunnerChooser:
    """Chooses for the components of one service."""

    def __init__(self, service: InferenceService, runtimes: Sequence[Runtime]) -> None:
        self._service = service
        self._runtimes = runtimes

    def of_model(self, spec: PredictorSpec, model: ModelSpec) -> Runner:
        """The runner of a model of a named format. Raises `PlanError`."""
        runtime = select_runtime(
            Wanted(
                model.model_format,
                model.protocol_version or _default_protocol(model),
                self._service.metadata.namespace or "default",
                model.runtime or "",
            ),
            self._runtimes,
        )
        container = main_container(runtime.spec.containers)
        local = self._local_runtime(runtime, container, model.model_format.name)
        if local is None:
            assert container is not None
            return self._runtime_container(spec, model, container)
        storage = model.storage
        return ModelRunner(
            uri=_uri_of(model),
            runtime=local,
            format=model.model_format.name,
            runtime_version=model.runtime_version or "",
            env=_plain(_env(container, model)),
            env_from=env_references(container, model),
            storage_key=(storage.key or "default") if storage is not None else "",
            storage_parameters=tuple(sorted(storage.parameters.items())) if storage else (),
            service_account=spec.service_account_name or spec.service_account,
            content_type=dict(_env(container, model)).get("CONTENT_TYPE", ""),
            model=self._service.metadata.name if local == "triton" else "",
        )

    def _local_runtime(
        self, runtime: Runtime, container: Container | None, format_name: str
    ) -> str | None:
        """The salver runtime that stands in for the serving runtime; None: run its container."""
        is_built_in = "salver.dev/built-in" in runtime.metadata.labels
        stands_in = container is None or known_server(container.image) is not None
        if not is_built_in and not stands_in:
            return None
        if format_name not in LOCAL_RUNTIMES:
            raise PlanError(
                "NoSupportingRuntime",
                f"runtime '{runtime.metadata.name}' serves format '{format_name}', but this "
                f"machine's workers serve {', '.join(sorted(LOCAL_RUNTIMES))} only",
            )
        return LOCAL_RUNTIMES[format_name]

    def _runtime_container(
        self, spec: PredictorSpec, model: ModelSpec, container: Container
    ) -> Runner:
        """A serving runtime's own container, with what the model overrides."""
        merged = msgspec.structs.replace(
            container,
            image=model.image or container.image,
            command=model.command or container.command,
            args=(*container.args, *model.args),
            env=(*container.env, *model.env),
            env_from=(*container.env_from, *model.env_from),
        )
        return self._runner_of(
            rendered(merged, self._service.metadata),
            uri=_uri_of(model),
            account=spec.service_account_name,
            protocol=model.protocol_version or "v1",
        )

    def of_container(self, spec: ComponentExtensionSpec, component: Component) -> Runner:
        """The runner of the component's main container. Raises `PlanError`."""
        container = main_container(spec.containers)
        assert container is not None, "the caller has seen that there is one"
        environment = dict(_env(container))
        uri = environment.get("STORAGE_URI", "")
        uris = getattr(spec, "storage_uris", ())
        if not uri and uris:
            uri = uris[0].uri
        served = known_server(container.image) if container.image else None
        if component == "predictor" and served is not None and not container.command and uri:
            return ModelRunner(
                uri=uri,
                runtime=LOCAL_RUNTIMES.get(served, ""),
                format=served,
                env=tuple(sorted(environment.items())),
                env_from=env_references(container),
                service_account=spec.service_account_name,
            )
        return self._runner_of(
            container,
            uri=uri,
            account=spec.service_account_name,
            protocol=self._protocol(spec, component, environment),
        )

    def _protocol(
        self, spec: ComponentExtensionSpec, component: Component, env: Mapping[str, str]
    ) -> str:
        named = spec.annotations.get(PROTOCOL, "")
        if component == "predictor":
            named = named or self._service.metadata.annotations.get(PROTOCOL, "")
        # A variable of this name may mean something else to the program.
        said = env.get("PROTOCOL", "")
        return named or (said if said in ("v2", "http") else "v1")

    def _runner_of(self, container: Container, *, uri: str, account: str, protocol: str) -> Runner:
        path = ""
        if container.readiness_probe is not None and container.readiness_probe.http_get is not None:
            path = container.readiness_probe.http_get.path
        wire = _wire(protocol)
        if container.command:
            return CommandRunner(
                command=(*container.command, *container.args),
                protocol=wire,
                env=_env(container),
                env_from=env_references(container),
                working_dir=container.working_dir,
                uri=uri,
                container=container.image,
                service_account=account,
                readiness_path=path,
            )
        if not container.image:
            raise PlanError(
                "InvalidPredictorSpec",
                f"container '{container.name}' has neither a command nor an image: name one",
            )
        return ContainerRunner(
            image=container.image,
            args=container.args,
            env=_env(container),
            env_from=env_references(container),
            protocol=wire,
            port=container.ports[0].container_port if container.ports else 8080,
            uri=uri,
            working_dir=container.working_dir,
            service_account=account,
            readiness_path=path,
        )

    def of_url(self, annotations: Mapping[str, str]) -> RemoteRunner:
        """The runner of a component that is served elsewhere, as its annotations say.

        Raises `PlanError`.
        """
        url, protocol = annotations[URL], annotations.get(PROTOCOL, "v1")
        if not url.startswith(("http://", "https://")) or not url.partition("://")[2].strip("/"):
            raise PlanError(
                "InvalidPredictorSpec",
                f"annotation {URL} is '{url}': write http://HOST:PORT or https://HOST/PATH",
            )
        return RemoteRunner(url, _wire(protocol), annotations.get(URL_MODEL, ""))

    def of_class(self, spec: ComponentExtensionSpec, value: str, runtime: str) -> ModelRunner:
        """The runner of a Python class, `value` being `file.py:Class` or a URI of one."""
        path, colon, attribute = value.rpartition(":")
        if not colon or not attribute.isidentifier():
            path, attribute = value, ""
        container = main_container(spec.containers)
        return ModelRunner(
            uri=path,
            runtime=runtime,
            attribute=attribute,
            format="python",
            env=_env(container),
            env_from=env_references(container),
            service_account=spec.service_account_name,
        )


def _wire(protocol: str) -> WireProtocol:
    found = _WIRE.get(protocol)
    if found is None:
        raise PlanError(
            "InvalidPredictorSpec",
            f"the protocol '{protocol}' is none of {', '.join(_WIRE)}: write one of these",
        )
    return found


def model_of(spec: PredictorSpec) -> ModelSpec | None:
    """The predictor's model; the former spelling (`sklearn:`) as the present one."""
    if spec.model is not None:
        return spec.model
    for name in _LEGACY_FORMATS:
        legacy: PredictorExtensionSpec | None = getattr(spec, name)
        if legacy is not None:
            fields = {each: getattr(legacy, each) for each in legacy.__struct_fields__}
            return ModelSpec(model_format=ModelFormat(name=name), **fields)
    return None


def _uri_of(model: ModelSpec) -> str:
    if model.storage_uri:
        return model.storage_uri
    if model.storage is not None:
        return f"storage://{model.storage.path.lstrip('/')}"
    environment = dict(_env(model))
    uri = environment.get("STORAGE_URI", "")
    if not uri:
        raise PlanError(
            "InvalidPredictorSpec",
            f"spec.predictor.model of format '{model.model_format.name}' has no storageUri: say "
            "where the model is",
        )
    return uri


def _default_protocol(model: ModelSpec) -> ProtocolVersion:
    """KServe's, where a runtime is named; and Triton's own format is served over nothing but V2."""
    is_v2 = model.runtime in _V2_SERVERS or model.model_format.name == "triton"
    return "v2" if is_v2 else "v1"


def main_container(containers: Sequence[Container]) -> Container | None:
    """The container that answers requests: `kserve-container`, else the first."""
    for each in containers:
        if each.name == _MAIN_CONTAINER:
            return each
    return containers[0] if containers else None


def _env(*containers: Container | None) -> tuple[tuple[str, str], ...]:
    """Variables by name, those of later containers winning, sorted."""
    found: dict[str, str] = {}
    for container in containers:
        if container is not None:
            found.update({each.name: each.value for each in container.env if not each.value_from})
    return tuple(sorted(found.items()))


def _plain(env: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Those without templates: what a runtime tells its own server means nothing to a worker."""
    return tuple((name, value) for name, value in env if "{{" not in value)


def env_references(*containers: Container | None) -> tuple[EnvReference, ...]:
    """Variables whose values lie in Secrets and ConfigMaps."""
    found: list[EnvReference] = []
    for container in containers:
        if container is None:
            continue
        for source in container.env_from:
            secret, settings = source.secret_ref, source.config_map_ref
            if secret is not None:
                found.append(
                    EnvReference(source.prefix, "secrets", secret.name, "", secret.optional)
                )
            if settings is not None:
                found.append(
                    EnvReference(source.prefix, "configmaps", settings.name, "", settings.optional)
                )
        for each in container.env:
            of = each.value_from
            if of is None:
                continue
            if (key := of.secret_key_ref) is not None:
                found.append(EnvReference(each.name, "secrets", key.name, key.key, key.optional))
            if (key := of.config_map_key_ref) is not None:
                found.append(EnvReference(each.name, "configmaps", key.name, key.key, key.optional))
    return tuple(found)
