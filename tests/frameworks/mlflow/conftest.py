"""The saved models, MLflow's own scoring server for each, and one running Salver with all."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.e2e.server import Server, serving

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
with warnings.catch_warnings():
    # It warns of its own type hints.
    warnings.simplefilter("ignore")
    from tests.frameworks.mlflow import zoo


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder for each model."""
    folder = tmp_path_factory.mktemp("mlflow")
    zoo.save_all(folder)
    return folder


@pytest.fixture(scope="session")
def scoring(saved: Path) -> Callable[[str], Any]:
    """A client of MLflow's own scoring server, by the model's name."""
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    with warnings.catch_warnings():
        # It would rather have another client.
        warnings.simplefilter("ignore")
        from starlette.testclient import TestClient

    @cache
    def client(name: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            app = scoring_server.init(mlflow.pyfunc.load_model(str(saved / name)))
            return TestClient(app, raise_server_exceptions=False)

    return client


@pytest.fixture(scope="session")
def server(saved: Path) -> Iterator[Server]:
    """Salver with all the models."""
    with serving(str(saved), start_timeout_s=120) as running:
        yield running
