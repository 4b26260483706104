"""Corrupt, truncated and hostile files are refused with the reason, and nothing of them runs."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from tests.frameworks.tensorflow.networks import tf
from tests.unit.runtimes.requests import load

from salver.errors import LoadFailed


def refused(path: Path, message: str, **fields: Any) -> str:
    with pytest.raises(LoadFailed, match=message) as caught:
        load(path, "tensorflow", **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copied(zoo: Any, tmp_path: Path, name: str) -> Path:
    return Path(shutil.copytree(zoo.folder / name, tmp_path / name))


def test_missing_variables_are_named(zoo: Any, tmp_path: Path) -> None:
    folder = copied(zoo, tmp_path, "mlp")
    (folder / "variables" / "variables.data-00000-of-00001").unlink()
    refused(folder, "its variables are missing .*variables.data-.*copy the whole folder")
    shutil.rmtree(folder / "variables")
    refused(folder, "its variables are missing .*variables.index")


@pytest.mark.parametrize("part", ["saved_model.pb", "variables/variables.index", "DATA"])
def test_truncated_saved_models_are_refused(zoo: Any, tmp_path: Path, part: str) -> None:
    part = part.replace("DATA", "variables/variables.data-00000-of-00001")
    folder = copied(zoo, tmp_path, "mlp")
    whole = (folder / part).read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 5):
        (folder / part).write_bytes(whole[:size])
        refused(folder, "could not load|holds no graph|has no|no graph")


def test_corrupt_variables_are_noticed(zoo: Any, tmp_path: Path) -> None:
    folder = copied(zoo, tmp_path, "mlp")
    data = folder / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[10] ^= 0xFF
    data.write_bytes(content)
    refused(folder, "(?i)checksum")


def test_models_without_signatures_are_told_how_to_get_some(zoo: Any) -> None:
    refused(zoo.folder / "unsigned", r"without signatures; .*tf.saved_model.save\(model, path, sig")


def test_unknown_tags_arguments_and_folders_are_named(zoo: Any, tmp_path: Path) -> None:
    refused(zoo.folder / "mlp", "no graph has the tags gpu", parameters={"tags": ["gpu"]})
    refused(zoo.folder / "mlp", "did you mean 'device'", parameters={"devise": "cpu"})
    refused(zoo.folder / "mlp", "device 'tpu' is none", parameters={"device": "tpu"})
    refused(tmp_path, "has no saved_model.pb")
    (tmp_path / "x.keras").write_bytes(b"nothing of Keras")
    refused(tmp_path / "x.keras", "neither a .keras archive nor HDF5")


def saved(tmp_path: Path, function: Any, *spec: Any) -> Path:
    module = tf.Module()
    module.f = tf.function(function, input_signature=list(spec))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.f)
    return tmp_path / "model"


def test_graphs_that_read_or_write_files_are_refused(tmp_path: Path) -> None:
    name = tf.TensorSpec([], tf.string, name="name")
    folder = saved(tmp_path / "a", lambda name: {"y": tf.io.read_file(name)}, name)
    refused(folder, "reads or writes files by the operator ReadFile")

    def write(name: Any) -> Any:
        tf.io.write_file(name, "x")
        return {"y": name}

    refused(saved(tmp_path / "b", write, name), "the operator WriteFile")

    def tell(name: Any) -> Any:
        tf.print(name, output_stream=f"file://{tmp_path}/told")
        return {"y": name}

    refused(saved(tmp_path / "c", tell, name), "the operator PrintV2")

    def save(name: Any) -> Any:
        tf.raw_ops.SaveV2(prefix=name, tensor_names=["x"], shape_and_slices=[""], tensors=[name])
        return {"y": name}

    refused(saved(tmp_path / "d", save, name), "the operator SaveV2 in the function")


def test_graphs_that_call_python_are_refused(tmp_path: Path) -> None:
    def call(x: Any) -> Any:
        return {"y": tf.numpy_function(lambda a: a, [x], tf.float32)}

    folder = saved(tmp_path, call, tf.TensorSpec([None], tf.float32, name="x"))
    refused(folder, r"calls Python code by the operator PyFunc.*serve it as a Python model")


def changed(zoo: Any, tmp_path: Path, change: Callable[[Any], None]) -> Path:
    from tensorflow.core.protobuf import saved_model_pb2

    folder = copied(zoo, tmp_path, "texts")
    message = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    change(message.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def test_an_unknown_operator_is_named(zoo: Any, tmp_path: Path) -> None:
    def rename(graph: Any) -> None:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                if node.op == "StringUpper":
                    node.op = "ShoutLoudly"

    refused(changed(zoo, tmp_path, rename), "ShoutLoudly")


def test_assets_outside_the_folder_are_refused(zoo: Any, tmp_path: Path) -> None:
    def reach(graph: Any) -> None:
        asset = graph.asset_file_def.add()
        asset.filename = "../../etc/passwd"
        asset.tensor_info.name = graph.graph_def.node[0].name + ":0"

    refused(changed(zoo, tmp_path, reach), "its asset '../../etc/passwd' leads out of the folder")


def test_signatures_of_ragged_tensors_are_refused_and_others_served(
    zoo: Any, tmp_path: Path
) -> None:
    def ragged(graph: Any) -> None:
        info = graph.signature_def["codes"].inputs["words"]
        info.ClearField("name")
        info.composite_tensor.SetInParent()

    folder = changed(zoo, tmp_path, ragged)
    names = {each.name for each in load(folder, "tensorflow").metadata.signatures}
    assert names == {"serving_default", "counts"}

    def only_ragged(graph: Any) -> None:
        ragged(graph)
        for name in ("serving_default", "counts"):
            del graph.signature_def[name]

    shutil.rmtree(folder)
    refused(changed(zoo, tmp_path, only_ragged), "'words' is a composite tensor .ragged or sparse")


def test_lambda_layers_are_refused_with_the_remedy_and_do_not_run(tmp_path: Path) -> None:
    ran, text = tmp_path / "ran", str(tmp_path / "ran")
    model = keras.Sequential([keras.Input((2,))])
    model.add(keras.layers.Lambda(lambda x: __import__("pathlib").Path(text).touch() or x))
    ran.unlink(missing_ok=True)
    for name in ("trap.keras", "trap.h5"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(tmp_path / name)
        refused(tmp_path / name, "is a Lambda, which runs Python code.*model.export")
    assert not ran.exists()


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return target


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"module": "trap_module", "class_name": "Dense"}, "class trap_module.Dense, .*not Keras"),
        ({"module": "os", "class_name": "system"}, "class os.system"),
        ({"registered_name": "mine>Layer", "class_name": "Layer"}, "class mine>Layer"),
        ({"class_name": "TFSMLayer", "config": {"filepath": "/tmp"}}, "is a TFSMLayer"),
        ({"module": "keras.utils", "class_name": "get_file"}, "could not load"),
    ],
)
def test_archives_whose_classes_are_not_kerass_import_nothing(
    zoo: Any, tmp_path: Path, part: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nDense = 1")
    monkeypatch.syspath_prepend(str(tmp_path))

    def edit(name: str, data: bytes) -> bytes:
        if name != "config.json":
            return data
        config = json.loads(data)
        config["config"]["layers"][1] |= part
        return json.dumps(config).encode()

    refused(rewritten(zoo.folder / "mlp.keras", tmp_path / "x.keras", edit), message)
    assert "trap_module" not in sys.modules
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["mlp.keras", "mlp.h5"])
def test_truncated_keras_files_are_refused(zoo: Any, tmp_path: Path, name: str) -> None:
    whole = (zoo.folder / name).read_bytes()
    for size in (0, 6, 40, len(whole) // 2, len(whole) - 30):
        (tmp_path / name).write_bytes(whole[:size])
        refused(tmp_path / name, "neither a .keras|could not load")


def test_a_zip_bomb_is_refused(zoo: Any, tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    shutil.copy(zoo.folder / "mlp.keras", path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/big", bytes(200 << 20))
    refused(path, "would grow to 200 MiB")


def test_weights_that_are_larger_than_their_file_or_elsewhere_are_refused(
    zoo: Any, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.h5"
    shutil.copy(zoo.folder / "mlp.h5", path)
    with h5py.File(path, "a") as file:
        file.create_dataset("big", (1 << 34,), "f4", chunks=(1 << 20,), compression="gzip")
    refused(path, "would grow to 65536 MiB")
    shutil.copy(zoo.folder / "mlp.h5", path)
    with h5py.File(path, "a") as file:
        file["out"] = h5py.ExternalLink("/etc/passwd", "/")
    refused(path, "/out is a link")
    shutil.copy(zoo.folder / "mlp.h5", path)
    with h5py.File(path, "a") as file:
        file.create_dataset("secret", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    refused(path, "the values of /secret are in another file")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["w"] = np.zeros(2)
    refused(tmp_path / "weights.h5", "holds weights without their model")
