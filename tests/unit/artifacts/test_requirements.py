"""Which packages a model gets: by its manifest, its files, its runtimeVersion or its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from salver.artifacts.requirements import RECORDED, requirements_of
from salver.errors import ArtifactError
from salver.inference.requirements import Requirements

SERVER = {"scikit-learn": "1.9.1", "xgboost-cpu": "3.2.0", "joblib": "1.6.0", "pandas": "3.1.1"}
OF_1_3 = ("numpy<2", "scipy<1.12", "pandas<2.2", "joblib<1.4")


class Model:
    """A model's folder, with a pickle that claims to be of some version."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model.pkl"
        self.recorded("")

    def recorded(self, sklearn: str, *, also: bytes = b"") -> Model:
        text = b"\x8c" + bytes([len(sklearn)]) + sklearn.encode()
        version = b"\x8c\x10_sklearn_version\x94" + text if sklearn else b""
        self.path.write_bytes(b"\x80\x04\x8c\x0csklearn.base\x94" + also + version + b".")
        return self

    def beside(self, name: str, text: str) -> Model:
        (self.path.parent / name).write_text(text)
        return self

    def needs(
        self,
        runtime: str = "sklearn",
        *,
        runtime_version: str = "",
        declared: Requirements | None = None,
        have: Mapping[str, str] = SERVER,
    ) -> Requirements:
        return requirements_of(
            self.path,
            runtime,
            runtime_version=runtime_version,
            declared=declared,
            installed=lambda name: have.get(name, ""),
            python_version="3.11.7",
        )


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path)


# --- what the model records ---------------------------------------------------------------


@pytest.mark.parametrize("version", ["", "1.9.1", "1.9.0"])
def test_the_servers_own_minor_version_needs_no_environment(model: Model, version: str) -> None:
    assert model.recorded(version).needs() == Requirements()


def test_another_minor_version_gets_its_own_with_what_was_there_in_its_time(model: Model) -> None:
    assert model.recorded("1.3.2").needs() == Requirements(
        ("scikit-learn==1.3.2", "joblib", "pandas"), origin=RECORDED, constraints=OF_1_3
    )


def test_a_server_without_the_framework_gets_the_recorded_one(model: Model) -> None:
    found = model.recorded("1.9.1").needs(have={})
    assert found.packages == ("scikit-learn==1.9.1", "joblib", "pandas")


@pytest.mark.parametrize("version", ["0.24.2", "1.0.2", "1.10.dev0"])
def test_what_cannot_be_installed_is_tried_with_the_servers_own(model: Model, version: str) -> None:
    found = model.recorded(version).needs()
    assert not found.is_needed
    assert f"scikit-learn {version}" in found.notes[0]


def test_a_pickle_brings_the_libraries_it_names_and_the_numpy_it_was_written_with(
    model: Model,
) -> None:
    also = b"imblearn.pipeline numpy._core.multiarray my_company.secrets "
    found = model.recorded("1.6.1", also=also).needs()
    assert found.packages[1:] == ("joblib", "pandas", "imbalanced-learn", "numpy>=2")


@pytest.mark.parametrize(
    ("major_minor", "have", "packages"),
    [
        ((2, 1), "3.2.0", ("xgboost-cpu==2.1.*", "joblib")),
        ((3, 0), "3.2.0", ("xgboost-cpu==3.0.*", "joblib")),
        ((1, 7), "3.2.0", ("xgboost==1.7.*", "joblib")),
        ((1, 3), "3.2.0", ("xgboost==1.7.*", "joblib")),
        ((0, 0), "3.2.0", ("xgboost-cpu>=2.1.1,<3.1", "joblib")),
        ((2, 1), "", ("xgboost-cpu==2.1.*", "joblib")),
        ((2, 1), "3.0.5", ()),
    ],
)
def test_an_old_binary_booster_gets_an_xgboost_that_reads_it(
    model: Model, major_minor: tuple[int, int], have: str, packages: tuple[str, ...]
) -> None:
    from tests.unit.artifacts.test_recorded import binary_xgboost

    model.path.write_bytes(binary_xgboost(*major_minor) + bytes(200))
    assert model.needs("xgboost", have={"xgboost-cpu": have}).packages == packages


@pytest.mark.parametrize(
    ("version", "packages"),
    [("[2,1,4]", ()), ("[3,2,9]", ()), ("[3,4,0]", ("xgboost-cpu==3.4.0", "joblib"))],
)
def test_boosters_in_json_need_another_xgboost_only_if_theirs_is_newer(
    model: Model, version: str, packages: tuple[str, ...]
) -> None:
    model.path.write_text(f'{{"learner":{{}},"version":{version}}}')
    assert model.needs("xgboost").packages == packages


def test_a_pickled_wrapper_needs_the_xgboost_that_wrote_it(model: Model) -> None:
    ubjson = b"version[#L" + bytes(7) + b"\x03i\x01i\x07i\x06}"
    found = model.recorded("", also=b"xgboost.sklearn " + ubjson).needs()
    assert found.packages == ("xgboost==1.7.6", "scikit-learn", "joblib", "pandas")
    assert "scikit-learn<1.6" in found.constraints


# --- runtimeVersion -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runtime", "version", "line"),
    [
        ("sklearn", "1.3.2", "scikit-learn==1.3.2"),
        ("sklearn", "1.3", "scikit-learn==1.3.*"),
        ("xgboost", "2.1.0", "xgboost==2.1.0"),
        ("xgboost", "2.1.3", "xgboost-cpu==2.1.3"),
        ("xgboost", "1.7.6", "xgboost==1.7.6"),
        ("lightgbm", "4.1.0", "lightgbm==4.1.0"),
        ("onnx", "1.18.1", "onnxruntime==1.18.1"),
    ],
)
def test_a_runtime_version_is_the_frameworks(
    model: Model, runtime: str, version: str, line: str
) -> None:
    found = model.recorded("1.5.0").needs(runtime, runtime_version=version)
    assert found.packages[0] == line
    assert found.origin == f"runtimeVersion {version}"


@pytest.mark.parametrize("version", ["1.9.1", "1.9", "1"])
def test_a_runtime_version_that_the_server_has_needs_no_environment(
    model: Model, version: str
) -> None:
    assert not model.needs(runtime_version=version).is_needed


@pytest.mark.parametrize("version", ["v0.14.0", "0.14.0", "1.3.2-mlserver", "latest", "23.05-py3"])
def test_an_images_tag_chooses_nothing_and_is_noted(model: Model, version: str) -> None:
    found = model.recorded("1.3.2").needs(runtime_version=version)
    assert (found.packages[0], found.origin) == ("scikit-learn==1.3.2", RECORDED)
    assert found.notes == (
        f"runtimeVersion {version} is no version of scikit-learn: it chooses no packages",
    )


# --- files beside the model, and the manifest ------------------------------------------------


def test_a_requirements_file_goes_before_the_runtime_version(model: Model) -> None:
    model.recorded("1.3.2").beside("requirements.txt", "scikit-learn==1.4.2\npandas==2.2.0\n")
    found = model.needs(runtime_version="1.5.0")
    assert found.packages == ("scikit-learn==1.4.2", "pandas==2.2.0", "joblib")
    assert found.origin == "requirements.txt"
    assert found.notes == ("runtimeVersion 1.5.0 has no effect: requirements.txt decides",)
    assert found.constraints == ("scipy<1.14",), "pandas is pinned already"


def test_a_list_without_the_framework_gets_it_from_the_next_source(model: Model) -> None:
    model.recorded("1.3.2").beside("requirements.txt", "pandas==2.1.4\n")
    assert "scikit-learn==1.5.0" in model.needs(runtime_version="1.5.0").packages
    assert "scikit-learn==1.3.2" in model.needs().packages


def test_a_list_that_the_server_satisfies_needs_no_environment(model: Model) -> None:
    text = "scikit-learn>=1.4,<2\npandas==3.1.*\nwinloop; sys_platform == 'win32'\n"
    found = model.beside("requirements.txt", text).needs()
    assert (found.packages, found.origin) == ((), "requirements.txt")


@pytest.mark.parametrize("line", ["pandas==2.0", "polars", "pandas[excel]", "not a package"])
def test_one_line_that_it_does_not_is_enough_to_need_one(model: Model, line: str) -> None:
    assert model.beside("requirements.txt", f"scikit-learn\n{line}\n").needs().is_needed


def test_the_manifest_goes_before_all(model: Model) -> None:
    model.beside("requirements.txt", "scikit-learn==1.4.2\n")
    declared = Requirements(("scikit-learn==1.2.2",), python="3.11", origin="the manifest")
    found = model.needs(declared=declared)
    assert found.packages == ("scikit-learn==1.2.2", "joblib", "pandas")
    assert (found.python, found.origin) == ("3.11", "the manifest")


def test_another_python_needs_an_environment_even_for_the_same_packages(model: Model) -> None:
    declared = Requirements(("scikit-learn",), python="3.12", origin="the manifest")
    assert model.needs(declared=declared).python == "3.12"


def test_a_numbered_version_finds_the_file_in_its_models_folder(tmp_path: Path) -> None:
    (tmp_path / "iris" / "2").mkdir(parents=True)
    (tmp_path / "iris" / "requirements.txt").write_text("scikit-learn==1.4.2\n")
    model = Model(tmp_path / "iris" / "2")
    assert model.needs().packages[0] == "scikit-learn==1.4.2"


def test_a_python_class_gets_only_what_it_lists(model: Model) -> None:
    assert model.needs("python") == Requirements()
    model.beside("requirements.txt", "polars==1.0\n")
    assert model.needs("python").packages == ("polars==1.0",)


# --- the syntax of the files ------------------------------------------------------------------


def test_requirement_files_include_others_and_say_what_has_no_effect(model: Model) -> None:
    model.beside(
        "requirements.txt",
        "--index-url https://elsewhere/simple\n-r more.txt  # more\n-c limits.txt\n"
        "scikit-learn==1.4.2 \\\n  --hash=sha256:00\nmlflow==2.9\n\n# a comment\n",
    )
    model.beside("more.txt", "polars>=1 ; python_version > '3.8'\n")
    model.beside("limits.txt", "numpy<2\n")
    found = model.needs()
    assert found.packages[:2] == ("polars>=1 ; python_version > '3.8'", "scikit-learn==1.4.2")
    assert found.constraints[0] == "numpy<2"
    assert found.notes == (
        "requirements.txt: '--index-url' has no effect: the machine's package index is used",
        "requirements.txt: 'mlflow==2.9' is left out: serving does not need it",
    )


@pytest.mark.parametrize("line", ["-r absent.txt", "-r ../outside.txt", "-r requirements.txt"])
def test_an_inclusion_that_is_not_there_or_never_ends_is_refused(model: Model, line: str) -> None:
    (model.path.parent.parent / "outside.txt").write_text("")
    with pytest.raises(ArtifactError, match="includes"):
        model.beside("requirements.txt", line).needs()


def test_a_conda_file_is_read_as_pip_would_say_it(model: Model) -> None:
    model.beside(
        "conda.yaml",
        "channels: [conda-forge]\ndependencies:\n- python=3.10.12\n- pip\n"
        "- conda-forge::scikit-learn=1.4.2=py310h\n- numpy=1.26\n- pandas>=2,<2.3\n"
        "- libgomp\n- pip:\n  - polars==1.0\n",
    )
    found = model.needs()
    assert found.packages[:4] == (
        "scikit-learn==1.4.2",
        "numpy==1.26.*",
        "pandas>=2,<2.3",
        "polars==1.0",
    )
    assert (found.python, found.python_is_preferred, found.origin) == (
        "3.10.12",
        True,
        "conda.yaml",
    )
    assert found.notes[-1] == "conda.yaml: 'libgomp' is no Python package: left out"


def test_an_mlflow_model_brings_its_own_environment(model: Model) -> None:
    model.beside(
        "MLmodel",
        "flavors:\n  python_function:\n    env:\n      conda: conda.yaml\n"
        "      virtualenv: python_env.yaml\n",
    )
    model.beside(
        "python_env.yaml",
        "python: 3.10.12\nbuild_dependencies: [pip==23]\ndependencies: ['-r requirements.txt']\n",
    )
    model.beside("requirements.txt", "mlflow==2.9.2\nscikit-learn==1.4.2\n")
    found = model.needs()
    assert (found.packages[0], found.python, found.origin) == (
        "scikit-learn==1.4.2",
        "3.10.12",
        "MLmodel",
    )


@pytest.mark.parametrize("text", ["a: [", "- list", "text"])
def test_a_conda_file_that_is_none_is_refused(model: Model, text: str) -> None:
    with pytest.raises(ArtifactError, match=r"conda\.yaml"):
        model.beside("conda.yaml", text).needs()


@pytest.mark.parametrize(
    ("runtime", "line", "packages", "constraints"),
    [
        ("catboost", "catboost==1.2.2", (), ("numpy<2", "scipy<1.14", "pandas<3")),
        ("catboost", "catboost==1.2.10", (), ()),
        ("tflite", "ai-edge-litert==1.0.1", (), ("numpy<2",)),
        ("torch", "torch==2.2.2", ("safetensors",), ("numpy<2",)),
        ("torch", "torch==2.3.0", ("safetensors",), ()),
        ("mlflow", "mlflow-skinny==2.14.1", ("setuptools<81", "pandas"), ()),
        ("mlflow", "mlflow-skinny==2.22.5", ("pandas",), ()),
    ],
)
def test_an_old_framework_gets_what_it_was_written_against(
    model: Model,
    runtime: str,
    line: str,
    packages: tuple[str, ...],
    constraints: tuple[str, ...],
) -> None:
    found = model.needs(runtime, declared=Requirements((line,)))
    assert found.packages[0] == line
    assert set(found.packages[1:]) == set(packages)
    assert found.constraints == constraints
