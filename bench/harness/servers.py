"""The servers that are compared: for each, how it is started on a model and two ports.

A recipe writes what configuration its server needs into the launch's folder and returns the
command. Settings are the best documented ones that were found for this load; variants of one
peer are servers of their own, so that the table hides nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.cases import CASES, Case
from harness.environments import installed_version, peer_environment
from harness.places import PEERS

HTTP_JSON = frozenset({"lr", "xgb1", "xgb100", "mlp", "tensor-json"})
BINARY = frozenset({"tensor-binary", "tensor-both"})
EVERYTHING = frozenset(CASES)


@dataclass(frozen=True)
class Launch:
    """Where one server is to run, and on what."""

    case: Case
    model_path: Path
    folder: Path
    environment: Path
    http_port: int
    grpc_port: int
    metrics_port: int

    @property
    def python(self) -> str:
        """The interpreter of the server's own environment."""
        return str(self.environment / "bin" / "python")


@dataclass(frozen=True)
class Command:
    """What to execute."""

    arguments: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """One row of the tables."""

    name: str
    package: str
    environment: Callable[[], Path]
    recipe: Callable[[Launch], Command]
    cases: frozenset[str] = HTTP_JSON

    def version(self) -> str:
        """The package's version."""
        environment = self.environment()
        return installed_version(environment, self.package) if self.package else "-"


def own_environment() -> Path:
    """The environment that runs the benchmark: Salver as it is in the working tree."""
    return Path(sys.prefix)


def salver(name: str, environment: Callable[[], Path], options: tuple[str, ...] = ()) -> Server:
    """Salver of an environment; its defaults, but for the options."""

    def recipe(launch: Launch) -> Command:
        ports = ["--http-port", str(launch.http_port), "--grpc-port", str(launch.grpc_port)]
        state = ["--state-dir", str(launch.folder / "state")]
        program = str(launch.environment / "bin" / "salver")
        return Command([program, "serve", str(launch.model_path), *ports, *state, *options])

    return Server(name, "salver", environment, recipe, EVERYTHING)


def _peer_env(launch: Launch, **more: str) -> dict[str, str]:
    """One thread for the frameworks: on few cores a second one only gets in the way."""
    return {
        "MODEL_NAME": launch.case.model,
        "MODEL_PATH": str(launch.model_path),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(PEERS),
        **more,
    }


def _fastapi(factory: str, workers: int) -> Callable[[Launch], Command]:
    def recipe(launch: Launch) -> Command:
        arguments = [launch.python, "-m", "uvicorn", f"fastapi_server:{factory}", "--factory"]
        arguments += ["--port", str(launch.http_port), "--workers", str(workers)]
        arguments += ["--loop", "uvloop", "--http", "httptools"]
        return Command([*arguments, "--no-access-log", "--log-level", "warning"], _peer_env(launch))

    return recipe


def _mosec(batch: int, wait_ms: int) -> Callable[[Launch], Command]:
    def recipe(launch: Launch) -> Command:
        arguments = [launch.python, str(PEERS / "mosec_server.py"), "--address", "127.0.0.1"]
        arguments += ["--port", str(launch.http_port), "--log-level", "warning"]
        arguments += ["--path", str(launch.folder / "ipc")]
        env = _peer_env(launch, BATCH_SIZE=str(batch), BATCH_WAIT_MS=str(wait_ms))
        return Command(arguments, env)

    return recipe


def _kserve(launch: Launch) -> Command:
    arguments = [launch.python, str(PEERS / "kserve_server.py")]
    arguments += ["--model_name", launch.case.model, "--enable_latency_logging", "False"]
    arguments += ["--http_port", str(launch.http_port), "--grpc_port", str(launch.grpc_port)]
    return Command(arguments, _peer_env(launch))


def _mlserver(workers: int, batch: int = 0) -> Callable[[Launch], Command]:
    implementations = {
        ".joblib": "mlserver_sklearn.SKLearnModel",
        ".ubj": "mlserver_xgboost.XGBoostModel",
        ".onnx": "mlserver_runtime.OnnxModel",
    }

    def recipe(launch: Launch) -> Command:
        settings = {
            "debug": False,
            "host": "127.0.0.1",
            "http_port": launch.http_port,
            "grpc_port": launch.grpc_port,
            "metrics_port": launch.metrics_port,
            "parallel_workers": workers,
        }
        model: dict[str, Any] = {
            "name": launch.case.model,
            "implementation": implementations[launch.model_path.suffix],
            "parameters": {"uri": str(launch.model_path)},
        }
        if batch:
            model |= {"max_batch_size": batch, "max_batch_time": 0.005}
        (launch.folder / "settings.json").write_text(json.dumps(settings))
        (launch.folder / "model-settings.json").write_text(json.dumps(model))
        program = str(launch.environment / "bin" / "mlserver")
        return Command([program, "start", str(launch.folder)], _peer_env(launch))

    return recipe


TRITON_CONFIG = """
name: "{model}"
backend: "python"
max_batch_size: 1024
input [{{ name: "{input}" data_type: TYPE_FP32 dims: [ {width} ] }}]
output [{{ name: "output-0" data_type: {type} dims: [ {out} ] }}]
instance_group [{{ count: 1 kind: KIND_CPU }}]
dynamic_batching {{ }}
parameters {{ key: "path" value: {{ string_value: "{path}" }} }}
"""

TRITON_TENSORS = {
    "lr": (4, 1, "TYPE_INT64"),
    "xgb": (30, 1, "TYPE_FP32"),
    "mlp": (784, 10, "TYPE_FP32"),
    "rowsum": (262_144, 1, "TYPE_FP32"),
    "same": (262_144, 262_144, "TYPE_FP32"),
}


def _triton(launch: Launch) -> Command:
    """The tritonserver binary that nvidia-pytriton carries, used directly, without PyTriton."""
    (package,) = launch.environment.glob("lib/python*/site-packages/pytriton")
    model = launch.folder / "models" / launch.case.model
    (model / "1").mkdir(parents=True)
    shutil.copy(PEERS / "triton_model.py", model / "1" / "model.py")
    shutil.copy(PEERS / "predictors.py", model / "1" / "predictors.py")
    width, out, datatype = TRITON_TENSORS[launch.case.model]
    config = TRITON_CONFIG.format(
        model=launch.case.model,
        input=launch.case.input_name,
        width=width,
        out=out,
        type=datatype,
        path=launch.model_path,
    )
    (model / "config.pbtxt").write_text(config)
    backends = _triton_backends(package / "tritonserver", launch.folder)
    arguments = [str(package / "tritonserver" / "bin" / "tritonserver")]
    arguments += ["--model-repository", str(model.parent), "--backend-directory", str(backends)]
    for name, port in (
        ("http", launch.http_port),
        ("grpc", launch.grpc_port),
        ("metrics", launch.metrics_port),
    ):
        arguments += [f"--{name}-address", "127.0.0.1", f"--{name}-port", str(port)]
    # The stub is linked to libpython: without the path it takes the system's, which lacks ours.
    # It ignores PYTHONPATH and takes the environment of the first python3 in PATH.
    libraries = f"{sysconfig.get_config_var('LIBDIR')}:{package.parent / 'nvidia_pytriton.libs'}"
    search = f"{launch.environment / 'bin'}:{os.environ['PATH']}"
    return Command(arguments, _peer_env(launch, LD_LIBRARY_PATH=libraries, PATH=search))


def _triton_backends(root: Path, folder: Path) -> Path:
    """The backends' folder with the Python stub of this version, which the wheel keeps apart.

    Linked, not copied: the binaries find their libraries by paths relative to themselves.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    for source in (*(root / "backends" / "python").iterdir(), stub):
        (backend / source.name).symlink_to(source)
    return backend.parent


def _echo(inlined: bool) -> Callable[[Launch], Command]:
    def recipe(launch: Launch) -> Command:
        source = str(launch.model_path.with_suffix(".json")) if inlined else "-"
        script = str(PEERS / "echo.py")
        return Command([launch.python, script, str(launch.http_port), source])

    return recipe


def _peer(
    name: str, package: str, family: str, recipe: Callable[[Launch], Command], *more: str
) -> Server:
    return Server(name, package, lambda: peer_environment(family), recipe, HTTP_JSON | set(more))


PEER_SERVERS = (
    _peer("triton", "nvidia-pytriton", "triton", _triton, *BINARY, "grpc"),
    _peer("mosec 32/5ms", "mosec", "mosec", _mosec(32, 5)),
    _peer("mosec 64/1ms", "mosec", "mosec", _mosec(64, 1)),
    _peer("mosec unbatched", "mosec", "mosec", _mosec(1, 0)),
    _peer("fastapi", "fastapi", "fastapi", _fastapi("typed", 1)),
    _peer("fastapi 2 workers", "fastapi", "fastapi", _fastapi("typed", 2)),
    _peer("fastapi raw", "fastapi", "fastapi", _fastapi("raw", 1), *BINARY),
    _peer("fastapi raw 2 workers", "fastapi", "fastapi", _fastapi("raw", 2), *BINARY),
    _peer("kserve", "kserve", "kserve", _kserve, *BINARY, "grpc"),
    _peer("mlserver", "mlserver", "mlserver", _mlserver(0), "grpc"),
    _peer("mlserver 1 worker", "mlserver", "mlserver", _mlserver(1), "grpc"),
    _peer("mlserver batching", "mlserver", "mlserver", _mlserver(0, batch=32), "grpc"),
    Server(
        "limit: echo + arithmetic",
        "",
        lambda: peer_environment("echo"),
        _echo(inlined=True),
        frozenset({"lr"}),
    ),
)


def choose(names: str) -> list[Server]:
    """Salver, always first, and the peers whose name starts with a named one; of none, all.

    Raises ValueError for a name that no server begins with.
    """
    own = salver("salver", own_environment)
    if not names:
        return [own, *PEER_SERVERS]
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if not any(server.name.startswith(name) for server in (own, *PEER_SERVERS)):
            known = ", ".join(server.name for server in (own, *PEER_SERVERS))
            raise ValueError(f"peer '{name}' is unknown; there are: {known}")
    return [own, *(s for s in PEER_SERVERS if s.name.startswith(tuple(wanted)))]
