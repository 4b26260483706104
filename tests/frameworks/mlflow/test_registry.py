"""`models:/` and `runs:/` against MLflow's own tracking server, its database and its folder."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from salver.errors import StorageError
from salver.storage.ports import FetchOrder, StorageSettings
from salver.storage.store import ArtifactStore

pytestmark = pytest.mark.frameworks

CODE = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Marked(PythonModel):
    def predict(self, context, model_input, params=None):
        return {mark}


set_model(Marked())
"""


class NoSecrets:
    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        return None

    def service_account_secrets(self, namespace: str, name: str) -> Sequence[str]:
        return ()


def registered(folder: Path, uri: str, location: str | None) -> Any:
    """Two versions of a model at the tracking URI, one of them the champion, and a run's model."""
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        experiment = mlflow.create_experiment("e", artifact_location=location)
        with mlflow.start_run(experiment_id=experiment) as run:
            for mark in (1, 2):
                (folder / f"code{mark}.py").write_text(CODE.format(mark=mark))
                info = mlflow.pyfunc.log_model(
                    name="net",
                    python_model=str(folder / f"code{mark}.py"),
                    registered_model_name="marked",
                    pip_requirements=["mlflow"],
                )
        mlflow.MlflowClient().set_registered_model_alias("marked", "champion", 1)
    return SimpleNamespace(run=run.info.run_id, model=info.model_id)


def fetched(uri: str, environ: dict[str, str], folder: Path) -> str:
    """What the fetched model's code says, and where its MLmodel is."""

    async def fetch() -> str:
        settings = StorageSettings(cache_dir=folder / "cache")
        store = ArtifactStore(settings, NoSecrets(), environ=environ)
        try:
            artifact = await store.fetch(FetchOrder(uri))
            assert (artifact.path / "MLmodel").is_file()
            return next(artifact.path.glob("code*.py")).name
        finally:
            await store.aclose()

    return asyncio.run(fetch())


SERVER = """
from mlflow.server import app
from werkzeug.serving import make_server

running = make_server("127.0.0.1", 0, app, threaded=True)
print(running.server_port, flush=True)
running.serve_forever()
"""


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """MLflow's own server application, which hands artifacts out, with models registered there."""
    folder = tmp_path_factory.mktemp("server")
    environ = {
        **os.environ,
        # As `mlflow server` sets them for the processes that it starts.
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    with (folder / "log.txt").open("w") as log:
        command = [sys.executable, "-c", SERVER]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, cwd=folder, env=environ, text=True
        )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, (folder / "log.txt").read_text()
        url = f"http://127.0.0.1:{port}"
        yield SimpleNamespace(url=url, **vars(registered(folder, url, None)))
    finally:
        process.kill()
        process.communicate(timeout=20)


def uris(known: Any) -> dict[str, str]:
    """Each form of URI, and the code that it leads to."""
    return {
        "models:/marked/1": "code1.py",
        "models:/marked/2": "code2.py",
        "models:/marked/latest": "code2.py",
        "models:/marked@champion": "code1.py",
        f"models:/{known.model}": "code2.py",
    }


def test_a_tracking_server_s_models_are_fetched_through_it(tracking: Any, tmp_path: Path) -> None:
    environ = {"MLFLOW_TRACKING_URI": tracking.url}
    for uri, code in uris(tracking).items():
        assert fetched(uri, environ, tmp_path) == code, uri
    assert fetched(f"runs:/{tracking.run}/net", environ, tmp_path).startswith("code")
    for uri in ("models:/marked/9", "models:/nobody/1", "models:/marked@nobody", "runs:/no/net"):
        with pytest.raises(StorageError, match=uri):
            fetched(uri, environ, tmp_path)


def test_models_are_fetched_from_a_database_and_from_a_folder(tmp_path: Path) -> None:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    for name, uri in (
        ("base", f"sqlite:///{tmp_path}/mlflow.db"),
        ("folder", f"file://{tmp_path}/runs"),
    ):
        (tmp_path / name).mkdir()
        location = f"file://{tmp_path}/{name}/files"
        known = registered(tmp_path / name, uri, location)
        environ = {"MLFLOW_TRACKING_URI": uri}
        for each, code in uris(known).items():
            assert fetched(each, environ, tmp_path / name) == code, (uri, each)
        found = fetched(f"runs:/{known.run}/net", environ, tmp_path / name)
        assert found.startswith("code")
        for each in ("models:/marked/9", "models:/nobody/latest", "runs:/no/net"):
            with pytest.raises(StorageError, match=each):
                fetched(each, environ, tmp_path / name)


def test_without_a_tracking_uri_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="MLFLOW_TRACKING_URI is not set"):
        fetched("models:/marked/1", {}, tmp_path)
