"""The versions that files record are read from real files, whatever they are packed in."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import joblib
import pytest
import sklearn
import skops.io
import xgboost
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.models import iris, save_lightgbm, save_onnx_two_inputs, save_xgboost

from salver.artifacts.recorded import Recorded, recorded_in, xgboost_binary_version


@pytest.fixture(scope="module")
def forest() -> Any:
    return make_pipeline(StandardScaler(), RandomForestClassifier(10)).fit(*iris())


def binary_xgboost(major: int, minor: int, *, magic: bytes = b"binf") -> bytes:
    """The beginning of a model in the old format, as XGBoost 2.1 writes it."""
    head = struct.pack("<fIIIIII", 0.5, 4, 0, 1, 0, major, minor).ljust(136, b"\0")
    return magic + head + struct.pack("<Q", 15) + b"binary:logistic" + struct.pack("<Q", 6)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_any_protocol_tells_its_scikit_learn(
    tmp_path: Path, forest: Any, protocol: int
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(forest, protocol))
    found = recorded_in(path)
    assert (found.scikit_learn, found.is_pickle) == (sklearn.__version__, True)
    assert "sklearn" in found.modules
    assert "numpy._core" in found.modules


@pytest.mark.parametrize("packing", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3)])
def test_a_joblib_file_tells_it_however_it_is_compressed(
    tmp_path: Path, forest: Any, packing: Any
) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(forest, path, compress=packing)
    assert recorded_in(path).scikit_learn == sklearn.__version__


def test_the_version_is_found_behind_megabytes_of_arrays(tmp_path: Path) -> None:
    rows, classes = iris()
    model = StandardScaler().fit(rows, classes)
    model.big_ = bytes(3 << 20)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    assert recorded_in(path).scikit_learn == sklearn.__version__


def test_a_skops_file_tells_its_scikit_learn(tmp_path: Path, forest: Any) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(forest, path)
    found = recorded_in(path)
    assert (found.scikit_learn, found.is_skops) == (sklearn.__version__, True)


@pytest.mark.parametrize("name", ["model.json", "model.ubj", "model.bst"])
def test_xgboosts_own_formats_tell_its_version(tmp_path: Path, name: str) -> None:
    save_xgboost(tmp_path / name, trees=3)
    assert recorded_in(tmp_path / name) == Recorded(xgboost=xgboost.__version__)


def test_a_pickled_booster_tells_its_version(tmp_path: Path) -> None:
    rows, classes = iris()
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(xgboost.XGBClassifier(n_estimators=3).fit(rows, classes)))
    assert recorded_in(path).xgboost == xgboost.__version__


@pytest.mark.parametrize("magic", [b"binf", b""])
def test_the_old_binary_format_tells_major_and_minor(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "model.bst"
    path.write_bytes(binary_xgboost(2, 1, magic=magic) + bytes(100))
    assert recorded_in(path) == Recorded(xgboost="2.1", is_xgboost_binary=True)


def test_before_xgboost_1_the_old_format_had_no_version() -> None:
    assert xgboost_binary_version(binary_xgboost(0, 0)) == ""
    assert xgboost_binary_version(binary_xgboost(2, 1)[:100]) is None
    assert xgboost_binary_version(b"binf" + bytes(300)) is None


def test_formats_with_versions_of_their_own_record_no_library(tmp_path: Path) -> None:
    save_lightgbm(tmp_path / "model.txt", trees=2)
    save_onnx_two_inputs(tmp_path / "model.onnx")
    assert recorded_in(tmp_path / "model.txt") == Recorded()
    assert recorded_in(tmp_path / "model.onnx") == Recorded()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04N.", b"PK\x03\x04x", b"\x1f\x8bdamaged", b"x\x9cdamaged", b"{", bytes(500)],
)
def test_what_is_no_model_records_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    assert recorded_in(path).scikit_learn == ""
    assert recorded_in(path).xgboost == ""
    assert recorded_in(tmp_path / "absent") == Recorded()
