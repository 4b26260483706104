"""The CatBoost runtime in this process, against CatBoost itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
from tests.unit.runtimes.requests import arrays, ask, load, matrix, only, texts

from salver.errors import InvalidInput, LoadFailed
from salver.inference.tensor import InferRequest, tensor_from_array
from salver.runtimes.compiled.model import CompiledModel
from salver.runtimes.warmup import warmup_request

NUMERIC = ("binary", "texts", "uneven", "ova", "value", "count")
CLASSIFIERS = ("binary", "texts", "uneven", "ova")


def same(found: Any, wanted: Any) -> None:
    wanted = np.asarray(wanted)
    if wanted.dtype.kind in "OU":
        assert [str(each, "utf-8") for each in found] == wanted.ravel().tolist()
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("compiled", ["off", "auto"])
@pytest.mark.parametrize("name", NUMERIC)
def test_it_predicts_as_the_model_that_was_saved(zoo: Any, name: str, compiled: str) -> None:
    model = load(zoo.folder / f"{name}.cbm", "catboost", parameters={"compile": compiled})
    for count in (1, 7, 300):
        rows = zoo.rows[:count]
        same(only(model.predict(matrix(rows))), zoo.models[name].predict(rows).reshape(-1))


@pytest.mark.parametrize("compiled", ["off", "auto"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_probabilities_come_with_the_names_of_their_classes(
    zoo: Any, name: str, compiled: str
) -> None:
    model = load(zoo.folder / f"{name}.cbm", "catboost", parameters={"compile": compiled})
    native = zoo.models[name]
    same(only(model.predict(matrix(zoo.rows, "probability"))), native.predict_proba(zoo.rows))
    (output,) = [each for each in model.metadata.outputs if each.name == "probability"]
    assert output.labels == tuple(map(str, native.classes_))
    assert output.shape == (-1, len(native.classes_))


def test_all_other_outputs_are_the_librarys(zoo: Any) -> None:
    model, native = load(zoo.folder / "texts.cbm", "catboost"), zoo.models["texts"]
    wanted = matrix(zoo.rows[:9], "raw_score", "leaf", "contributions")
    found = arrays(model.predict(wanted))
    same(found["raw_score"], native.predict(zoo.rows[:9], prediction_type="RawFormulaVal"))
    same(found["leaf"], native.calc_leaf_indexes(zoo.rows[:9]))
    shap = native.get_feature_importance(catboost.Pool(zoo.rows[:9]), type="ShapValues")
    same(found["contributions"], shap)


def test_several_labels_a_row_stay_a_matrix(zoo: Any) -> None:
    model = load(zoo.folder / "labels.cbm", "catboost")
    same(only(model.predict(matrix(zoo.rows[:9]))), zoo.models["labels"].predict(zoo.rows[:9]))


def test_the_librarys_json_is_a_model_too(zoo: Any) -> None:
    model = load(zoo.folder / "value.json", "catboost")
    same(only(model.predict(matrix(zoo.rows))), zoo.models["value"].predict(zoo.rows))


def test_columns_go_by_name_and_hold_categories_and_texts(zoo: Any) -> None:
    model = load(zoo.folder / "people.cbm", "catboost")
    assert model.metadata.column_names == ("age", "city", "floor", "said")
    assert model.metadata.column_datatypes == ("FP64", "BYTES", "BYTES", "BYTES")
    people = zoo.people[:40]
    columns = [
        tensor_from_array(name, people[name].to_numpy(dtype=object if name != "age" else None))
        for name in reversed(people.columns)
    ]
    found = arrays(model.predict(InferRequest(tuple(columns), ("predict", "probability"))))
    same(found["probability"], zoo.models["people"].predict_proba(people))
    assert found["predict"].tolist() == texts(zoo.models["people"].predict(people))


def test_a_model_of_named_numbers_takes_columns_or_its_matrix(zoo: Any) -> None:
    model = load(zoo.folder / "named.cbm", "catboost")
    wanted = zoo.models["named"].predict(zoo.rows)
    columns = {name: zoo.rows[:, index] for index, name in enumerate("abcde")}
    same(only(model.predict(ask(**dict(reversed(columns.items()))))), wanted)
    same(only(model.predict(matrix(zoo.rows))), wanted)
    with pytest.raises(InvalidInput, match="column 'e' is missing"):
        model.predict(ask(**dict.fromkeys("abcd", zoo.rows[:, 0])))


def test_engines_are_accepted_by_the_probes_and_named_in_the_report(zoo: Any) -> None:
    parameters = {"compile": "exact"}
    for name in ("binary", "texts", "value", "count"):
        model = load(zoo.folder / f"{name}.cbm", "catboost", parameters=parameters)
        assert isinstance(model, CompiledModel)
        engines = {each.name: each for each in model.compile_report.engines}
        assert set(engines) == {"lignum", "numpy"}
        assert all(each.accepts for each in engines.values()), engines


def test_trees_that_are_not_symmetric_are_the_librarys(zoo: Any) -> None:
    model = load(zoo.folder / "uneven.cbm", "catboost", parameters={"compile": "exact"})
    assert isinstance(model, CompiledModel)
    (numpy,) = [each for each in model.compile_report.engines if each.name == "numpy"]
    assert "not symmetric" in numpy.reason


def test_warmed_up_it_answers(zoo: Any) -> None:
    for path in sorted(zoo.folder.iterdir()):
        model = load(path, "catboost")
        request = warmup_request(model.metadata)
        assert request is not None
        model.predict(request)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"CBM1", "4 bytes"),
        (b"CBM1" + b"\xff" * 300, "cut off"),
        (b"CBM1\x10\0\0\0" + b"\xff" * 300, "verification failed"),
        (b"nothing", "7 bytes"),
        (b"no model at all", "begins neither"),
        (b'{"features_info": {}, "oblivious_trees": [{}]}', "tree 0 lacks"),
        (b'{"features_info":', "JSONDecodeError"),
    ],
)
def test_a_hostile_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.cbm"
    path.write_bytes(content)
    with pytest.raises(LoadFailed, match=message):
        load(path, "catboost")


def test_a_file_cut_anywhere_is_refused(zoo: Any, tmp_path: Path) -> None:
    content = (zoo.folder / "binary.cbm").read_bytes()
    for at in range(0, len(content) - 1, len(content) // 12):
        (tmp_path / "m.cbm").write_bytes(content[:at])
        with pytest.raises(LoadFailed):
            load(tmp_path / "m.cbm", "catboost")


TRIAL = """
import os, sys
from pathlib import Path
import numpy as np
from salver.errors import LoadFailed
from tests.unit.runtimes.requests import load, matrix
content = Path(sys.argv[1]).read_bytes()
path = Path(sys.argv[1]).with_name("flipped.cbm")
for position in range(0, len(content), len(content) // 5):
    flipped = bytearray(content)
    flipped[position] ^= 0xFF
    path.write_bytes(flipped)
    if os.fork():
        print(os.waitstatus_to_exitcode(os.wait()[1]))
        continue
    try:
        model = load(path, "catboost", parameters={"compile": "off"})
    except LoadFailed:
        os._exit(3)
    try:
        model.predict(matrix(np.zeros((2, int(sys.argv[2])))))
    finally:
        os._exit(0)
"""


def test_flipped_bytes_are_refused_or_end_a_load_alone(zoo: Any, tmp_path: Path) -> None:
    """CatBoost keeps no sum of its content: a value may be another, the process may end."""
    path = tmp_path / "m.cbm"
    path.write_bytes((zoo.folder / "binary.cbm").read_bytes())
    command = [sys.executable, "-c", TRIAL, str(path), str(zoo.rows.shape[1])]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    ends = [int(line) for line in done.stdout.split()]
    assert len(ends) >= 5
    assert 3 in ends
    assert all(end in (0, 3) or end < 0 for end in ends), done.stderr


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ('"float_feature_index":', '"float_feature_index":99', "splits on feature"),
        (r'"leaf_values":\s*\[[^\]]*\]', '"leaf_values": [1.0]', "1 leaf values"),
    ],
)
def test_trees_that_do_not_fit_are_refused(
    zoo: Any, tmp_path: Path, pattern: str, replacement: str, message: str
) -> None:
    text = re.sub(pattern, replacement, (zoo.folder / "value.json").read_text())
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(LoadFailed, match=message):
        load(tmp_path / "m.json", "catboost")
