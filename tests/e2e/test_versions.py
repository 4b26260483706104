"""Old and new versions of a framework side by side in one server, each as its own library.

The light ones run always. The heavy ones take gigabytes and minutes, and run when asked for:

    scripts/test tests/e2e/test_versions.py -m versions
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import models
from tests.e2e.debian_torch import debian_torch, write_wheel
from tests.e2e.versions_kit import Version, check, make_all, side_by_side

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
FRAMEWORKS = Path(__file__).parents[1] / "frameworks"
FLOWERS = str(FRAMEWORKS / "tflite" / "models" / "flowers.tflite")


def at(runtime: str, package: str, *versions: str, file: str = "", **more: str) -> list[Version]:
    return [Version(runtime, each, (f"{package}=={each}",), file, **more) for each in versions]


def mlflow_at(version: str, scikit_learn: str) -> Version:
    """Its requirements leave MLflow itself out, so that a manifest says which."""
    packages = (f"mlflow-skinny=={version}", f"scikit-learn=={scikit_learn}", "pandas")
    return Version("mlflow", version, packages, by_manifest=True)


def transformers_at(version: str) -> Version:
    return Version("huggingface", version, (f"transformers=={version}", "torch==2.13.0+cpu"))


HEAVY = {
    "scikit-learn": at("sklearn", "scikit-learn", "1.2.2", "1.9.1", file="model.joblib"),
    "xgboost": [
        *at("xgboost", "xgboost", "1.7.6", file="model.json"),
        *at("xgboost", "xgboost-cpu", "3.2.0", file="model.json"),
    ],
    "catboost": at("catboost", "catboost", "1.2.2", "1.2.10", file="model.cbm"),
    "openvino": at("openvino", "openvino", "2023.3.0", "2026.4.1", file="model.xml"),
    "tflite": at("tflite", "ai-edge-litert", "1.0.1", "2.3.0", file="model.tflite", source=FLOWERS),
    "pmml": at("pmml", "pypmml", "1.0.2", "1.5.8", file="model.pmml", source="bayes.pmml"),
    "mlflow": [mlflow_at("2.14.1", "1.3.2"), mlflow_at("3.17.2", "1.9.1")],
    "tensorflow": at("tensorflow", "tensorflow-cpu", "2.15.1", "2.21.0"),
    "keras": at(
        *("tensorflow", "tensorflow-cpu", "2.15.1", "2.21.0"),
        file="model.keras",
        program="keras",
    ),
    "huggingface": [transformers_at("4.57.3"), transformers_at("5.23.0")],
}


def light() -> list[Version]:
    """One old version of each, and the server's own."""
    import lightgbm
    import onnxruntime
    import xgboost

    more = {"file": "model.onnx", "source": "mlp.onnx"}
    return [
        *at("xgboost", "xgboost-cpu", "2.1.1", xgboost.__version__, file="model.json"),
        *at("lightgbm", "lightgbm", "3.3.5", lightgbm.__version__, file="model.lgb"),
        *at("onnx", "onnxruntime", "1.15.1", onnxruntime.__version__, **more),
    ]


def write_sources(folder: Path) -> None:
    """The files that their frameworks serve and do not make."""
    from tests.frameworks.pmml.documents import naive_bayes

    (folder / "bayes.pmml").write_text(naive_bayes())
    models.save_onnx_mlp(folder / "mlp.onnx", (16, 8, 3))


def serve_and_check(versions: list[Version], folder: Path) -> None:
    write_sources(folder)
    state = folder / "state"
    made = make_all(versions, folder, state)
    assert len({each.told["version"] for each in made}) == len(versions)
    with side_by_side(made, folder, state) as server:
        for each in made:
            check(server, each)


def test_old_and_new_versions_answer_in_one_server_as_their_own_libraries_do(
    tmp_path: Path,
) -> None:
    serve_and_check(light(), tmp_path)


@pytest.mark.versions
@pytest.mark.parametrize("framework", HEAVY)
def test_heavy_versions_answer_in_one_server_as_their_own_libraries_do(
    framework: str, tmp_path: Path
) -> None:
    serve_and_check(HEAVY[framework], tmp_path)


@pytest.mark.versions
@pytest.mark.skipif(not debian_torch(), reason="needs Debian's package python3-torch")
def test_debians_old_pytorch_answers_beside_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [str(write_wheel(tmp_path / "wheels").parent), os.environ.get("PIP_FIND_LINKS", "")]
    monkeypatch.setenv("PIP_FIND_LINKS", " ".join(folders).strip())
    versions = (debian_torch(), "2.13.0+cpu")
    serve_and_check(at("torch", "torch", *versions, file="model.pt"), tmp_path)
