"""Models of old and new libraries side by side, each answering as its own library does.

The artifacts and the answers to compare with are made in environments of their own; the models
then go the way that a server takes: read, find out what they need, prepare, load, ask.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.artifacts.layout import discover
from salver.artifacts.requirements import requirements_of
from salver.backends.environments.manager import PreparedEnvironment, PythonEnvironments
from salver.backends.local.catalog import LocalCatalog, options_of
from salver.backends.local.model import LocalModel
from salver.backends.local.options import load_order
from salver.engine.call import Call
from salver.errors import ErrorKind, LoadFailed
from salver.inference.requirements import Requirements
from salver.protocol.wire_codes import Codec
from salver.settings import ServeSettings
from salver.telemetry.registry import Registry

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

OLD_SKLEARN = Requirements(
    ("scikit-learn==1.3.2", "joblib", "pandas"),
    constraints=("numpy<2", "scipy<1.12", "pandas<2.2", "joblib<1.4"),
)
XGBOOST_2_1 = Requirements(("xgboost-cpu==2.1.*", "joblib"))

TRAIN_FOREST = """
import json, sys, joblib, sklearn
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rows, classes = load_iris(return_X_y=True)
model = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0))
joblib.dump(model.fit(rows, classes), sys.argv[1])
answer = {"rows": rows.tolist(), "shape": list(model.predict_proba(rows).shape)}
answer |= {"expected": model.predict_proba(rows).tolist(), "version": sklearn.__version__}
print(json.dumps(answer))
"""
TRAIN_BOOSTER = """
import json, sys, warnings, numpy, xgboost
warnings.simplefilter("ignore")
rows = numpy.random.default_rng(7).standard_normal((200, 6)).astype("float32")
data = xgboost.DMatrix(rows, (rows[:, 0] + rows[:, 1] > 0).astype(int))
model = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, 20)
open(sys.argv[1], "wb").write(model.save_raw("deprecated"))
answer = {"rows": rows.tolist(), "expected": model.predict(data).tolist()}
print(json.dumps(answer | {"version": xgboost.__version__}))
"""


class AwaitedCall(Call):
    """A request of this test, whose answer can be awaited."""

    def __init__(self, body: bytes) -> None:
        now_s = time.monotonic()
        super().__init__(int(Codec.V2_JSON), 0, body, arrived_s=now_s, deadline_s=now_s + 30)
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def deliver(self, body: bytes, aux: int) -> None:
        self.answer.set_result(json.loads(body))

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.answer.set_exception(AssertionError(f"{kind.reason}: {message}"))


class Host:
    """A catalog of models and the environments they run in."""

    def __init__(self, root: Path) -> None:
        self.settings = ServeSettings()
        self.catalog = LocalCatalog(list, self.settings, Registry())
        self.environments = PythonEnvironments(root, timeout_s=300)

    async def load(self, path: Path, prepared: PreparedEnvironment | None = None) -> LocalModel:
        """Serves the model at `path` in the environment that it is found to need."""
        (target,) = discover(str(path))
        if prepared is None:
            needed = requirements_of(target.path, target.runtime)
            prepared = await self.environments.ensure(needed) if needed.is_needed else None
        environment = self.catalog.environment(target.runtime, target.preload, prepared)
        options = options_of(self.settings)
        order = load_order(target, options)
        model = self.catalog.add_model(target.name, target.version, environment, options)
        await asyncio.wait_for(model.load(order, environment), 60)
        return model


@asynccontextmanager
async def hosting(root: Path) -> AsyncIterator[Host]:
    host = Host(root)
    try:
        yield host
    finally:
        host.catalog.close()
        await host.environments.close()


async def ask(model: LocalModel, rows: list[list[float]], datatype: str, output: str) -> Any:
    """The output's data for these rows, in one V2 request."""
    tensor = {"name": "input-0", "shape": [len(rows), len(rows[0])], "datatype": datatype}
    call = AwaitedCall(
        json.dumps({"inputs": [tensor | {"data": rows}], "outputs": [{"name": output}]}).encode()
    )
    model.submit(call)
    answer = await asyncio.wait_for(call.answer, 30)
    return answer["outputs"][0]["data"]


def trained(python: Path, program: str, path: Path, environ: dict[str, str]) -> dict[str, Any]:
    """Runs a program that saves a model at `path` and prints what its library answers."""
    done = subprocess.run(
        [python, "-c", program, path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def flat(rows: list[list[float]]) -> list[float]:
    return [value for row in rows for value in row]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("environments")


def test_old_and_new_models_answer_in_one_server_as_their_own_libraries_do(
    root: Path, tmp_path: Path
) -> None:
    async def serve() -> None:
        async with hosting(root) as host:
            sklearn, xgboost = await asyncio.gather(
                host.environments.ensure(OLD_SKLEARN), host.environments.ensure(XGBOOST_2_1)
            )
            old, new, boosted = tmp_path / "old", tmp_path / "new", tmp_path / "boosted"
            paths = [old.with_suffix(".joblib"), new.with_suffix(".joblib")]
            paths.append(boosted.with_suffix(".bst"))
            own = dict(os.environ)
            facts = [
                trained(sklearn.python, TRAIN_FOREST, paths[0], sklearn.environ),
                trained(Path(sys.executable), TRAIN_FOREST, paths[1], own),
                trained(xgboost.python, TRAIN_BOOSTER, paths[2], xgboost.environ),
            ]
            models = [await host.load(path) for path in paths]
            versions = [model.metadata.framework_version for model in models]
            assert versions == [fact["version"] for fact in facts]
            assert (versions[0], versions[2][:3]) == ("1.3.2", "2.1")
            assert versions[1] != versions[0]
            for model, fact in zip(models[:2], facts[:2], strict=True):
                answer = await ask(model, fact["rows"], "FP64", "predict_proba")
                assert answer == flat(fact["expected"])
            answer = await ask(models[2], facts[2]["rows"], "FP32", "predict")
            assert np.asarray(answer, np.float32).tolist() == facts[2]["expected"]
            # The models have led to the environments that they were made in.
            assert host.catalog.environments_in_use == {sklearn.digest, xgboost.digest}
            await host.catalog.remove_model("boosted", "1")
            with pytest.raises(LoadFailed, match="binary format"):
                await host.load(paths[2], await host.environments.ensure(Requirements()))

    asyncio.run(serve())


def test_nothing_of_the_servers_own_packages_is_seen_in_an_environment(root: Path) -> None:
    async def prepare() -> PreparedEnvironment:
        environments = PythonEnvironments(root, environ=dict(os.environ) | {"PYTHONPATH": "/x"})
        try:
            return await environments.ensure(XGBOOST_2_1)
        finally:
            await environments.close()

    prepared = asyncio.run(prepare())
    program = "import sys, salver.errors, salver; print(sys.path); import httptools"
    done = subprocess.run(
        [prepared.python, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        env=prepared.environ,
    )
    assert "No module named 'httptools'" in done.stderr
    assert "'/x'" not in done.stdout


def test_an_environment_that_cannot_start_workers_fails_the_load_with_the_reason(
    root: Path, tmp_path: Path
) -> None:
    """Instead of a load that hangs, or of `it died three times`."""
    from tests.models import save_sklearn_lr

    path = tmp_path / "iris.joblib"
    save_sklearn_lr(path)

    async def reasons() -> list[str]:
        found = []
        async with hosting(root) as host:
            bare = await host.environments.ensure(XGBOOST_2_1)
            without_salver = {**bare.environ, "PYTHONPATH": ""}
            broken = tmp_path / "sitecustomize.py"
            broken.write_text("import sys\nsys.modules['msgspec'] = None\n")
            without_msgspec = {**bare.environ}
            without_msgspec["PYTHONPATH"] += os.pathsep + str(tmp_path)
            for number, (python, environ) in enumerate(
                [
                    (bare.python, without_salver),
                    (bare.python, without_msgspec),
                    (tmp_path / "no-python", bare.environ),
                    (Path("/bin/false"), bare.environ),
                ]
            ):
                prepared = PreparedEnvironment(python, environ, f"broken-{number}")
                started_s = time.monotonic()
                with pytest.raises(LoadFailed) as failure:
                    await host.load(path, prepared)
                assert time.monotonic() - started_s < 20
                await host.catalog.remove_model("iris", "1")
                found.append(str(failure.value))
        return found

    no_salver, no_msgspec, no_python, no_interpreter = asyncio.run(reasons())
    assert "model 'iris' could not be loaded: workers for 'sklearn' cannot" in no_salver
    assert "exited with code 1" in no_salver
    assert "ModuleNotFoundError: import of msgspec halted" in no_msgspec
    assert "No such file or directory" in no_python
    assert "exited with code 1" in no_interpreter
