"""Hostile and damaged files on a running server: refused with a reason, all else lives on.

One server knows all the files and reads each when it is asked to load it. `salver serve FILE`,
which reads at once, is held to the same words at the end.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from salver.protocol import inference_pb2 as pb
from tests import models
from tests.e2e.server import Server, command, environment, serving, wait_until

pytestmark = pytest.mark.e2e

ROW = [6.8, 2.8, 4.8, 1.4]
Write = Callable[[Path], object]
Case = tuple[str, Write, tuple[str, ...]]
"""A file's name, what writes it, and what its refusal must say."""


def content(data: bytes) -> Write:
    return lambda path: path.write_bytes(data)


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def zip_bomb(path: Path) -> None:
    """A description of 300 MiB, in a third of one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("schema.json", "w") as file:
            file.write(b'{"__module__": "sklearn.tree", "__class__": "')
            for _ in range(300):
                file.write(bytes(1 << 20))


def broken_zip() -> bytes:
    """Its directory is whole, the compressed entry is not."""
    data = bytearray(zipped({"schema.json": json.dumps(list(range(999))).encode()}))
    data[45:52] = bytes(byte ^ 0xFF for byte in data[45:52])
    return bytes(data)


def sparse(head: bytes, size: int) -> Write:
    def write(path: Path) -> None:
        path.write_bytes(head)
        os.truncate(path, size)

    return write


def part_of(save: Callable[[Path], Any], share: float) -> Write:
    """A good model's file, cut off."""

    def write(path: Path) -> None:
        save(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return write


class Trap:
    """Unpickling it exits; with a text, it is a file that a command has touched."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def trapped(function: Any, *arguments: Any) -> Write:
    """A pickle that begins like one of scikit-learn's, and calls a function when it is read."""

    def write(path: Path) -> None:
        from sklearn.linear_model import LogisticRegression

        path.write_bytes(pickle.dumps((LogisticRegression(), Trap(function, *arguments))))

    return write


def onnx_with(change: Callable[[Any], object]) -> Write:
    def write(path: Path) -> None:
        import onnx

        models.save_onnx_mlp(path, (4, 8, 3))
        model = onnx.load(str(path))
        change(model)
        path.write_bytes(model.SerializeToString())

    return write


def outside(location: str) -> Write:
    def change(model: Any) -> None:
        weights = model.graph.initializer[0]
        weights.ClearField("raw_data")
        weights.ClearField("float_data")
        weights.data_location = 1
        entry = weights.external_data.add()
        entry.key, entry.value = "location", location

    return onnx_with(change)


def linked(path: Path) -> None:
    (path.parent / "linked.bin").symlink_to("/etc/passwd")
    outside("linked.bin")(path)


def nested_onnx(path: Path) -> None:
    """Graphs within attributes of nodes, far deeper than any model has them."""
    inner = b""
    for _ in range(500):
        for tag in (0x32, 0x2A, 0x0A):  # of an attribute its graph, of a node that, of a graph it
            size, prefix = len(inner), b""
            while size >= 0x80:
                prefix, size = prefix + bytes([size & 0x7F | 0x80]), size >> 7
            inner = bytes([tag]) + prefix + bytes([size]) + inner
    size, prefix = len(inner), b""
    while size >= 0x80:
        prefix, size = prefix + bytes([size & 0x7F | 0x80]), size >> 7
    path.write_bytes(b"\x08\x08\x3a" + prefix + bytes([size]) + inner)


def set_opset(model: Any) -> None:
    model.opset_import[0].version = 999


def set_ir(model: Any) -> None:
    model.ir_version = 999


def set_operator(model: Any) -> None:
    model.graph.node[0].op_type = "ShoutLoudly"


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    b'<PMML version="4.4"><Header copyright="&b;"/></PMML>'
)
ENTITY = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><PMML version="4.4">&a;</PMML>'
EXIT = "import os\nos._exit(7)\nclass M:\n    def predict(self, x): return x\n"
HANG = "import time\ntime.sleep(600)\nclass M:\n    def predict(self, x): return x\n"
CRASH = "import ctypes\nctypes.string_at(0)\nclass M:\n    def predict(self, x): return x\n"
RAISE = "raise SystemExit('no\\nlicence')\nclass M:\n    def predict(self, x): return x\n"

CASES: dict[str, Case] = {
    "an empty file": ("empty.onnx", content(b""), ("is empty", "copy the model again")),
    "another file": (
        "page.joblib",
        content(b"<!DOCTYPE html><html>"),
        ("'<!DOCTYPE html><html>'",),
    ),
    "a pointer": (
        "lfs.onnx",
        content(b"version https://git-lfs.github.com/spec/v1"),
        ("lfs pull",),
    ),
    "a cut joblib": ("cut.joblib", part_of(models.save_sklearn_lr, 0.5), ("save the model again",)),
    "a cut skops": ("cut.skops", part_of(models.save_sklearn_skops, 0.5), ("is cut short",)),
    "a cut XGBoost": ("cutx.ubj", part_of(models.save_xgboost, 0.25), ("copy or save", "again")),
    "a cut LightGBM": ("cutl.txt", part_of(models.save_lightgbm, 0.5), ("is cut off", "again")),
    "a cut ONNX": ("cuto.onnx", part_of(models.save_onnx_zipmap, 0.75), ("is cut off", "save it")),
    "zeros behind ONNX": ("zeros.onnx", sparse(b"\x08\x08\x3a\x00", 10 << 30), ("08 08 3a",)),
    "an endless Python file": ("zeros.py", sparse(b"class A: pass\n", 10 << 30), ("16 MiB",)),
    "deep Python": ("deep.py", content(b"-" * 100_000 + b"1"), ("nested too deep",)),
    "a zip bomb": ("bomb.skops", zip_bomb, ("would grow to 300 MiB", "save the model again")),
    "a broken entry": ("entry.skops", content(broken_zip()), ("damaged",)),
    "deep JSON": ("deep.skops", content(zipped({"schema.json": b"[" * 200_000})), ("damaged",)),
    "a list for a model": ("list.skops", content(zipped({"schema.json": b"[1]"})), ("damaged",)),
    "a gzip bomb": ("gz.joblib", content(gzip.compress(bytes(64 << 20))), ("1f 8b",)),
    "deep XGBoost": (
        "deep.json",
        content(b'{"learner":' + b"[" * 200_000),
        ("while loading", "copy or"),
    ),
    "entities": ("laughs.pmml", content(LAUGHS), ("DTD", "entities")),
    "another file's text": ("entity.pmml", content(ENTITY), ("DTD",)),
    "deep XML": ("deep.pmml", content(b"<PMML>" + b"<a>" * 100_000), ("400 levels deep",)),
    "weights of /etc": ("etc.onnx", outside("/etc/passwd"), ("'/etc/passwd'", "outside", "beside")),
    "weights above": ("above.onnx", outside("../../etc/passwd"), ("'../../etc/passwd'", "outside")),
    "weights by a link": ("link.onnx", linked, ("'linked.bin'", "outside")),
    "weights not there": ("gone.onnx", outside("gone.bin"), ("'gone.bin'", "not there")),
    "a newer opset": ("opset.onnx", onnx_with(set_opset), ("opset 999", "knows up to", "export")),
    "a newer format": ("ir.onnx", onnx_with(set_ir), ("format 999", "knows up to", "export")),
    "an unknown operator": ("op.onnx", onnx_with(set_operator), ("ShoutLoudly", "export")),
    "deep ONNX": ("nested.onnx", nested_onnx, ("64 levels deep",)),
    "a pickle that exits": ("exits.pkl", trapped(os._exit, 3), ("while loading", "copy or")),
    "a pickle that crashes": ("crash.pkl", trapped(os.abort), ("while loading", "copy or")),
    "a pickle that raises": ("raises.pkl", trapped(int, "x"), ("could not load", "ValueError")),
    "code that exits": ("exit.py", content(EXIT.encode()), ("while loading", "copy or")),
    "code that hangs": (
        "hang.py",
        content(HANG.encode()),
        ("did not load within 8 s and was killed",),
    ),
    "code that crashes": ("segv.py", content(CRASH.encode()), ("while loading", "copy or")),
    "code that ends": ("ends.py", content(RAISE.encode()), ("SystemExit: no licence", "line 1")),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    models.save_sklearn_lr(folder / "good.joblib")
    for name, write, _ in CASES.values():
        (folder / name).parent.mkdir(exist_ok=True)
        target = folder / name
        # A model of its name each: two suffixes of one stem would be one name.
        write(target)
        target.rename(folder / named(name, target.suffix))
    limits = ("--worker-memory", "2GiB", "--load-timeout", "8s", "--compile", "off")
    with serving(str(folder), "--memory-budget", "4GiB", *limits) as running:
        # Its framework is imported once, which may take longer than a load.
        wait_until(lambda: good(running).status_code == 200, timeout_s=60)
        yield running


def named(name: str, suffix: str) -> str:
    return f"{Path(name).stem}-{suffix[1:]}{suffix}"


def good(server: Server) -> Any:
    return server.post("/v1/models/good:predict", {"instances": [ROW]})


@pytest.mark.parametrize("what", CASES)
def test_it_is_refused_with_a_reason(server: Server, what: str) -> None:
    name, _, said = CASES[what]
    file = named(name, Path(name).suffix)
    model = Path(file).stem
    gateway = server.process.pid
    refused = server.post(f"/v2/repository/models/{model}/load", {})
    assert refused.status_code == 400, refused.text
    message = refused.json()["error"]
    assert len(message.splitlines()) == 1
    assert model in message
    for each in said:
        assert each in message, message
    # Whoever asks it for an answer is told the same, and all others are answered.
    assert server.post(f"/v1/models/{model}:predict", {"instances": [ROW]}).status_code == 503
    assert good(server).json() == {"predictions": [1]}
    assert peak_bytes(gateway) < 500 << 20


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def test_what_needs_an_answer_over_grpc_is_told_too(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        asked = pb.ModelInferRequest(model_name="empty-onnx")
        asked.inputs.add(name="x", datatype="FP32", shape=[1, 4])
        asked.raw_input_contents.append(np.zeros((1, 4), np.float32).tobytes())
        with pytest.raises(grpc.RpcError) as refused:
            ask(asked.SerializeToString(), timeout=30)
    error: Any = refused.value
    assert error.code().name == "UNAVAILABLE"
    assert "is empty" in error.details()


def serve(target: Path) -> subprocess.CompletedProcess[str]:
    words = command("serve", str(target), "--http-port", "0", "--grpc-port", "0")
    return subprocess.run(
        words, capture_output=True, text=True, timeout=30, env=environment(), cwd=target.parent
    )


@pytest.mark.parametrize("name", ["pipe.onnx", "pipe.py"])
def test_serve_does_not_wait_for_a_pipe(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    done = serve(tmp_path / name)
    assert done.returncode == 1
    assert "is neither file nor folder but a pipe" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_serve_does_not_read_a_device_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    done = serve(tmp_path / "zero.py")
    assert done.returncode == 1
    assert "device; copy the model into a file" in done.stderr


def test_a_folder_of_very_many_files_is_refused_at_once(tmp_path: Path) -> None:
    for index in range(5_000):
        (tmp_path / str(index)).touch()
    done = serve(tmp_path)
    assert done.returncode == 1
    assert "holds no model: it has 0, 1, 10, 100, 1000 and 4995 more" in done.stderr


def test_a_link_out_of_a_repository_serves_what_it_leads_to(tmp_path: Path) -> None:
    """A link is the operator's wish, as a mounted volume is made of links; loops are refused."""
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    done = serve(tmp_path / "loop.onnx")
    assert done.returncode == 1
    assert "loop.onnx" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_no_model_stops_no_other_of_its_folder(tmp_path: Path) -> None:
    """Without a memory budget all files are read at the start."""
    models.save_sklearn_lr(tmp_path / "good.joblib")
    (tmp_path / "bad.joblib").write_bytes(b"<!DOCTYPE html>")
    (tmp_path / "two" / "1").mkdir(parents=True)
    with serving(str(tmp_path), "--compile", "off") as server:
        index = {each["name"]: each for each in server.post("/v2/repository/index").json()}
        assert index["good"]["state"] == "READY"
        for name, said in (("bad", "<!DOCTYPE html>"), ("two", "must hold exactly one model")):
            assert index[name]["state"] == "UNAVAILABLE"
            assert said in index[name]["reason"]
            refused = server.post(f"/v1/models/{name}:predict", {"instances": [ROW]})
            assert refused.status_code == 503
            assert said in refused.json()["error"]
        assert "model 'bad' could not be loaded" in server.log.read_text()
        assert server.post("/v2/repository/models/good/load").status_code == 200
        assert good(server).json() == {"predictions": [1]}
        models.save_sklearn_lr(tmp_path / "bad.joblib")
        assert server.post("/v2/repository/models/bad/load").status_code == 200
        answer = server.post("/v1/models/bad:predict", {"instances": [ROW]})
        assert answer.json() == {"predictions": [1]}


def test_a_folder_without_a_model_that_can_be_read_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in ("a.joblib", "b.onnx"):
        (tmp_path / "models" / name).write_bytes(b"<!DOCTYPE html>")
    done = serve(tmp_path / "models")
    assert done.returncode == 1
    assert "a.joblib is no model that Salver knows" in done.stderr
    assert len(done.stderr.splitlines()) == 1
