"""Models made by old and new versions of a framework, and one server that serves them side by side.

Each version's environment is made as the server makes it, the model is trained and saved in it, and
what the library answers there is what the server must answer over every protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from salver.artifacts.requirements import requirements_of
from salver.backends.environments.manager import PreparedEnvironment, PythonEnvironments
from salver.inference.requirements import Requirements
from tests.e2e.every_protocol import judge
from tests.e2e.question import Question
from tests.e2e.server import Server, serving, wait_until
from tests.e2e.version_programs import PROGRAMS

LIMIT_S = 1800
PARQUET = {"parquet": "the environments are without PyArrow, which Parquet needs"}


@dataclass(frozen=True)
class Version:
    """A framework at a version: its runtime, the packages, the file that its model is.

    `program` is what makes the model (`version_programs.py`), the runtime's name if empty. `source`
    is a file that it serves, where it makes none. `by_manifest`: the version stands in a manifest's
    `runtimeVersion`, not beside the model.
    """

    runtime: str
    version: str
    packages: tuple[str, ...]
    file: str = ""
    program: str = ""
    source: str = ""
    by_manifest: bool = False

    @property
    def name(self) -> str:
        return f"{self.program or self.runtime}-{self.version.replace('.', '-').replace('+', '-')}"


@dataclass
class Made:
    """A model in its folder, and what its library answered."""

    version: Version
    folder: Path
    told: dict[str, Any] = field(default_factory=dict)


def make_all(versions: Sequence[Version], folder: Path, state: Path) -> list[Made]:
    """The models of all versions below `folder`; their environments are kept in `state`."""
    return asyncio.run(_make_all(versions, folder, state))


async def _make_all(versions: Sequence[Version], folder: Path, state: Path) -> list[Made]:
    environments = PythonEnvironments(state / "environments", timeout_s=LIMIT_S)
    made = [Made(version, folder / "models" / version.name) for version in versions]
    try:
        async with asyncio.TaskGroup() as group:
            for each in made:
                group.create_task(_make(each, environments, folder))
    finally:
        await environments.close()
    return made


async def _make(made: Made, environments: PythonEnvironments, sources: Path) -> None:
    version = made.version
    made.folder.mkdir(parents=True)
    if not version.by_manifest:
        (made.folder / "requirements.txt").write_text("\n".join(version.packages))
    declared = Requirements(version.packages)
    needed = requirements_of(
        made.folder, version.runtime, declared=declared, installed=lambda _: ""
    )
    prepared = await environments.ensure(needed)
    path = made.folder / version.file if version.file else made.folder / "model"
    source = sources / version.source
    made.told = await asyncio.to_thread(_run, version, prepared, path, source)
    if not version.file:
        _flatten(made.folder)


def _flatten(folder: Path) -> None:
    """What is a folder itself has its requirements.txt within."""
    for entry in (folder / "model").iterdir():
        if not (folder / entry.name).exists():
            entry.replace(folder / entry.name)
    shutil.rmtree(folder / "model")


def _run(
    version: Version, prepared: PreparedEnvironment, path: Path, source: Path
) -> dict[str, Any]:
    program = PROGRAMS[version.program or version.runtime]
    done = subprocess.run(
        [str(prepared.python), "-c", program, str(path), str(source)],
        capture_output=True,
        text=True,
        timeout=300,
        env=prepared.environ,
        # MLflow leaves a folder where it runs.
        cwd=path.parent,
    )
    assert done.returncode == 0, f"{version.name}: {done.stderr[-3000:]}"
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


@contextlib.contextmanager
def side_by_side(made: Sequence[Made], folder: Path, state: Path) -> Iterator[Server]:
    """One server with all of them."""
    manifests = [each for each in made if each.version.by_manifest]
    targets = [str(each.folder) for each in made if not each.version.by_manifest]
    for each in manifests:
        file = folder / f"{each.version.name}.yaml"
        file.write_text(json.dumps(_manifest(each)))
        targets += ["-f", str(file)]
    more = ("--state-dir", str(state), "--threads", "1")
    with serving(*targets, *more, start_timeout_s=LIMIT_S) as server:
        for each in manifests:
            path = f"/v2/models/{each.version.name}/ready"
            wait_until(lambda path=path: server.get(path).status_code == 200, LIMIT_S)
        yield server


def _manifest(made: Made) -> dict[str, Any]:
    model = {
        "modelFormat": {"name": made.version.runtime},
        "runtimeVersion": made.version.version,
        "storageUri": made.folder.as_uri(),
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": made.version.name},
        "spec": {"predictor": {"model": model}},
    }


def check(server: Server, made: Made) -> None:
    """The model runs in its version, and answers as its library did, over every protocol."""
    name, told = made.version.name, made.told
    metadata = server.get(f"/v2/models/{name}").json()
    shown = metadata.get("parameters", {}).get("framework_version", "")
    assert told["version"] == made.version.version
    assert made.version.version in shown, metadata
    inputs = _arrays(told["inputs"])
    expected = _arrays(told["expected"])
    if "?" in inputs:
        inputs = {metadata["inputs"][0]["name"]: inputs["?"]}
        expected = {metadata["outputs"][0]["name"]: expected["?"]}
    columns = tuple(told.get("columns", ()))
    question = Question(name, inputs, expected, columns, without=PARQUET)
    assert judge(server.url, server.grpc, question)


def _arrays(told: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(values, dtype) for name, (dtype, values) in told.items()}
