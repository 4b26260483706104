"""`curl` on a running server: what people type first, the banner's own line among it."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.e2e.server import command, environment, serving
from tests.e2e.zoo import COMPARED, TOLERANCE, Zoo

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


def curl(*arguments: str, body: bytes | None = None) -> bytes:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "30", *arguments],
        input=body,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def shell(line: str) -> Any:
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", COMPARED)
def test_v1_answers_as_the_library_does(zoo: Zoo, model: str) -> None:
    case = zoo.cases[model]
    answer = curl(
        f"{zoo.url}/v1/models/{model}:predict",
        "--data-binary",
        "@-",
        body=json.dumps({"instances": case.rows.tolist()}).encode(),
    )
    np.testing.assert_allclose(json.loads(answer)["predictions"], case.expected, **TOLERANCE)


@pytest.mark.parametrize("model", COMPARED)
def test_v2_answers_as_the_library_does(zoo: Zoo, model: str) -> None:
    case = zoo.cases[model]
    name = json.loads(curl(f"{zoo.url}/v2/models/{model}"))["inputs"][0]["name"]
    tensor = {
        "name": name,
        "shape": list(case.rows.shape),
        "datatype": case.datatype,
        "data": case.rows.tolist(),
    }
    answer = curl(
        f"{zoo.url}/v2/models/{model}/infer",
        "--header",
        "Content-Type: application/json",
        "--data-binary",
        "@-",
        body=json.dumps({"inputs": [tensor]}).encode(),
    )
    (output,) = json.loads(answer)["outputs"]
    values = np.reshape(output["data"], output["shape"])
    np.testing.assert_allclose(values, case.expected, **TOLERANCE)


def test_a_gzipped_body_and_a_compressed_answer(zoo: Zoo) -> None:
    case = zoo.cases["mlp"]
    answer = curl(
        f"{zoo.url}/v1/models/mlp:predict",
        "--compressed",
        "--header",
        "Content-Encoding: gzip",
        "--data-binary",
        "@-",
        body=gzip.compress(json.dumps({"instances": case.rows.tolist()}).encode()),
    )
    np.testing.assert_allclose(json.loads(answer)["predictions"], case.expected, **TOLERANCE)


def test_a_large_body_is_sent_after_100_continue(zoo: Zoo, tmp_path: Path) -> None:
    rows = np.ones((4000, 30)).tolist()
    file = tmp_path / "body.json"
    file.write_text(json.dumps({"instances": rows}))
    assert file.stat().st_size > 1 << 19
    answer = curl(
        f"{zoo.url}/v1/models/leaves:predict",
        "--header",
        "Expect: 100-continue",
        "--data-binary",
        f"@{file}",
    )
    assert len(json.loads(answer)["predictions"]) == 4000


def test_a_chunked_upload(zoo: Zoo) -> None:
    answer = curl(
        f"{zoo.url}/v1/models/sum:predict",
        "--header",
        "Transfer-Encoding: chunked",
        "--data-binary",
        "@-",
        body=b'{"instances": [[1, 2], [3, 4]]}',
    )
    assert json.loads(answer) == {"predictions": [3, 7]}


@pytest.mark.parametrize(
    "save",
    [
        (models.save_sklearn_mixed, "people.joblib"),
        (models.save_onnx_two_inputs, "pair.onnx"),
        (models.save_python_class, "sum.py"),
    ],
)
def test_the_line_that_the_server_prints_works(save: Any, tmp_path: Path) -> None:
    write, file = save
    write(tmp_path / file)
    with serving(str(tmp_path / file)) as server:
        line = server.up["try"]
        assert line.startswith("curl ")
        assert shell(line.replace("curl ", "curl -sS --fail-with-body ", 1))["outputs"]


def test_the_banner_of_a_person_has_the_line_too(tmp_path: Path) -> None:
    models.save_python_class(tmp_path / "sum.py")
    arguments = ("serve", str(tmp_path / "sum.py"), "--http-port", "0", "--grpc-port", "0")
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=errors, text=True, env=environment()
        ) as process,
    ):
        assert process.stdout is not None
        printed: list[str] = []
        while "Ctrl-C stops it." not in "".join(printed[-1:]):
            printed.append(process.stdout.readline())
            assert printed[-1], log.read_text()
        line = next(each.strip() for each in printed if each.strip().startswith("curl "))
        assert shell(line.replace("curl ", "curl -sS --fail-with-body ", 1))["outputs"]
        process.terminate()
        assert process.wait(20) == 0
