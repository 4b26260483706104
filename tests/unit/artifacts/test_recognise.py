"""Formats are told from content; nothing of the file is run and no framework imported."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests import models

from salver.artifacts.recognise import recognise
from salver.errors import UnrecognisedArtifact


@pytest.fixture(scope="module")
def pipeline() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(*models.iris())


@pytest.mark.parametrize("compress", [0, 1, 3, 9, "zlib", "gzip", "bz2", "xz", "lzma"])
def test_joblib_files_of_every_compression_are_sklearn(
    tmp_path: Path, pipeline: Any, compress: Any
) -> None:
    path = tmp_path / "model.bin"
    joblib.dump(pipeline, path, compress=compress if isinstance(compress, int) else (compress, 3))
    found = recognise(path)
    assert (found.runtime, found.detail) == ("sklearn", "pickle of sklearn.pipeline.Pipeline")
    assert "sklearn.linear_model._logistic" in found.preload


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_sklearn(
    tmp_path: Path, pipeline: Any, protocol: int
) -> None:
    path = tmp_path / "model"
    path.write_bytes(pickle.dumps(pipeline, protocol=protocol))
    assert recognise(path).runtime == "sklearn"
    assert recognise(path).detail == "pickle of sklearn.pipeline.Pipeline"


def test_modules_behind_large_arrays_are_preloaded_too(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import Pipeline

    rows, classes = models.wide_rows(5000)
    neighbours = KNeighborsClassifier().fit(rows, classes)
    joblib.dump(Pipeline([("n", neighbours), ("l", LogisticRegression())]), tmp_path / "m")
    assert "sklearn.linear_model._logistic" in recognise(tmp_path / "m").preload


def test_skops_is_told_from_other_zip_files(tmp_path: Path) -> None:
    models.save_sklearn_skops(tmp_path / "m.zip")
    found = recognise(tmp_path / "m.zip")
    assert (found.runtime, found.preload[0]) == ("sklearn", "skops.io")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(2))
    with pytest.raises(UnrecognisedArtifact, match=r"zip archive of no known kind"):
        recognise(tmp_path / "arrays.npz")


@pytest.mark.parametrize("suffix", [".json", ".ubj", ".bst", ".model"])
def test_xgboost_is_told_by_content_whatever_the_suffix(tmp_path: Path, suffix: str) -> None:
    models.save_xgboost(tmp_path / f"m{suffix}", trees=2)
    assert recognise(tmp_path / f"m{suffix}").runtime == "xgboost"


def test_a_bst_file_may_be_lightgbm(tmp_path: Path) -> None:
    models.save_lightgbm(tmp_path / "m.bst", trees=2)
    assert recognise(tmp_path / "m.bst").runtime == "lightgbm"


def test_onnx_is_told_by_its_fields(tmp_path: Path) -> None:
    models.save_onnx_mlp(tmp_path / "m", (4, 2))
    assert recognise(tmp_path / "m").runtime == "onnx"
    models.save_onnx_zipmap(tmp_path / "z")
    assert recognise(tmp_path / "z").runtime == "onnx"


def test_wrappers_are_sklearn_and_boosters_their_librarys(tmp_path: Path) -> None:
    import lightgbm
    import xgboost

    rows, classes = models.wide_rows(50, 4)
    wrapper = xgboost.XGBClassifier(n_estimators=2).fit(rows, classes)
    light = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(rows, classes)
    expected = {
        "a": (wrapper, "sklearn"),
        "b": (light, "sklearn"),
        "c": (wrapper.get_booster(), "xgboost"),
        "d": (light.booster_, "lightgbm"),
    }
    for name, (model, runtime) in expected.items():
        joblib.dump(model, tmp_path / name)
        assert recognise(tmp_path / name).runtime == runtime


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"", "it is empty"),
        (b"binf" + bytes(40), "old format, but goes on as none"),
        (b"version https://git-lfs.github.com/spec/v1\noid x", "Git LFS pointer"),
        (b"hello, world", "text that begins with 'hello, world'"),
        (b"\x00\x01\x02\x03", "begins with the bytes 00 01 02 03"),
        (pickle.dumps({"a": 1}), "a pickle of plain Python values"),
        (pickle.dumps(np.zeros(2)), "a pickle of numpy"),
        (b'{"a": 1}', "text that begins with"),
    ],
)
def test_what_is_no_model_is_refused_with_what_was_seen(
    tmp_path: Path, content: bytes, fact: str
) -> None:
    path = tmp_path / "thing.joblib"
    path.write_bytes(content)
    with pytest.raises(UnrecognisedArtifact) as caught:
        recognise(path)
    message = str(caught.value)
    assert fact in message
    assert str(path) in message
    assert "\n" not in message


def test_a_class_of_a_script_cannot_be_loaded_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"c__main__\nMyModel\n(tR.")
    with pytest.raises(UnrecognisedArtifact, match="MyModel from the script that saved it"):
        recognise(tmp_path / "m.pkl")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (witness,)

    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UnrecognisedArtifact):
        recognise(tmp_path / "m.pkl")
    assert not witness.exists()


def test_recognising_imports_no_framework(tmp_path: Path) -> None:
    models.save_sklearn_lr(tmp_path / "m.joblib")
    code = (
        "import sys; from pathlib import Path; from salver.artifacts.recognise import recognise;"
        f"recognise(Path({str(tmp_path / 'm.joblib')!r}));"
        "print([m for m in ('numpy', 'sklearn', 'joblib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


ONE_CLASS = (
    "import numpy\nimport os\n\nclass Iris:\n    async def predict(self, x): ...\n\nclass A: ..."
)


def test_the_one_class_with_predict_is_found(tmp_path: Path) -> None:
    path = tmp_path / "my_model.py"
    path.write_text(ONE_CLASS)
    found = recognise(path)
    assert (found.runtime, found.attribute, found.preload) == ("python", "Iris", ("numpy",))
    assert recognise(path, "A").attribute == "A"


@pytest.mark.parametrize(
    ("code", "attribute", "fact"),
    [
        ("x = 1", "", "has no class with a predict method"),
        (ONE_CLASS, "Rose", "has no class Rose; it has Iris, A"),
        (ONE_CLASS.replace("A: ...", "A:\n    def predict(self, x): ..."), "", "several classes"),
        ("class A(:\n", "", "is not valid Python at line 1"),
        ("\x00", "", "is not valid Python"),
    ],
)
def test_a_python_file_without_the_class_is_refused(
    tmp_path: Path, code: str, attribute: str, fact: str
) -> None:
    path = tmp_path / "my_model.py"
    path.write_text(code)
    with pytest.raises(UnrecognisedArtifact, match=fact):
        recognise(path, attribute)


@pytest.fixture(scope="module")
def folder() -> Any:
    made = Path(tempfile.mkdtemp())
    yield made
    shutil.rmtree(made)


@settings(max_examples=300, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda start, rest: start + rest,
            st.sampled_from(
                [
                    b"\x80\x04",
                    b"PK\x03\x04",
                    b"x\x9c",
                    b"\x1f\x8b",
                    b"BZh9",
                    b"\x08\x08",
                    b"{L",
                    b"c",
                ]
            ),
            st.binary(max_size=100),
        ),
    )
)
@example(content=b"\x80\x04\x8c\x05a.b.c\x93.")
@example(content=b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff")
@example(content=b"x\x9c")
@example(content=b"\x08\x08\x3a")
def test_any_bytes_are_recognised_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "any"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert recognise(path).runtime
        except UnrecognisedArtifact as error:
            assert "\n" not in str(error)


def test_a_mutated_pickle_is_recognised_or_refused(tmp_path: Path, pipeline: Any) -> None:
    whole = pickle.dumps(pipeline)
    generator = np.random.default_rng(5)
    path = tmp_path / "m"
    for _ in range(300):
        mutated = bytearray(whole[: generator.integers(1, len(whole))])
        for _ in range(3):
            mutated[generator.integers(len(mutated))] = generator.integers(256)
        path.write_bytes(mutated)
        try:
            assert recognise(path).runtime
        except UnrecognisedArtifact as error:
            assert str(path) in str(error)
