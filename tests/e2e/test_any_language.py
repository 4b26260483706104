"""Models in Java, R and Perl on a running server: every protocol, and all that can go wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from tests.documents import blocks
from tests.e2e.load import ask, post, under_load
from tests.e2e.pages import Run
from tests.e2e.program_environment import ROOT, build_jar, java, rscript
from tests.e2e.server import Server, serving, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

COEFFICIENTS = np.array([0.5, -1.0, 2.0, 0.25])
LANGUAGES = ["java", "r"]
ODD_JAVA = """
import dev.salver.*;
import java.util.List;

public final class OddJava implements Model {
    public Signature signature() {
        return new Signature().input("x", "FP64", -1).output("y", "FP64", -1).batchable();
    }

    public List<Tensor> predict(Request request) throws Exception {
        double[] x = request.input("x").doubles();
        for (int i = 0; i < x.length; i++) {
            if (x[i] == -1) throw new IllegalStateException("minus one");
            if (x[i] == -2) Thread.sleep(600_000);
            if (x[i] == -3) Runtime.getRuntime().halt(5);
            if (x[i] == -4) System.out.println("a print in Java");
            if (x[i] == -5) throw new InvalidInput("minus five: send another");
            x[i] = 2 * x[i];
        }
        return List.of(Tensor.of("y", x));
    }

    public static void main(String[] arguments) throws Exception {
        Salver.serve(new OddJava());
    }
}
"""
ODD_R = """
inputs <- list(x = list(datatype = "FP64", shape = -1))
outputs <- list(y = list(datatype = "FP64", shape = -1))
batchable <- TRUE

predict <- function(x) {
  if (any(x == -1)) stop("minus one")
  if (any(x == -2)) Sys.sleep(600)
  if (any(x == -3)) quit(status = 5)
  if (any(x == -4)) { print("a print in R"); system("echo from a shell") }
  if (any(x == -5)) invalid_input("minus five: send another")
  2 * x
}
"""
GIVES_BACK_R = "predict <- function(inputs) inputs\n"
NOISY = """
$| = 1;
sub put { print pack('a4 V V', 'SLVR', length $_[0], length $_[1]), $_[0], $_[1] }
put("hello\\t1\\ninput\\tx\\tFP64\\t-1\\noutput\\ty\\tFP64\\t-1", '');
while (read(STDIN, my $prefix, 12) == 12) {
    my (undef, $head_bytes, $body_bytes) = unpack 'a4 V V', $prefix;
    read(STDIN, my $head, $head_bytes);
    read(STDIN, my $body, $body_bytes);
    my ($kind, $id) = split /[\\t\\n]/, $head;
    if ($kind eq 'ping') { put("pong\\t$id", ''); next }
    print "Predicting...\\n" if unpack('d<', $body) == -1;
    put("answer\\t$id\\noutput\\ty\\tFP64\\t1\\t8", $body);
}
"""


def installed(*languages: str) -> None:
    """Skips the test where one of them is not to be had."""
    if "java" in languages and java() is None:
        pytest.skip("there is no Java compiler: apt install default-jdk-headless")
    if "r" in languages and rscript() is None:
        pytest.skip("there is no R, and it cannot be installed: apt install r-base-core")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples as they are shipped, and models that misbehave."""
    path = tmp_path_factory.mktemp("languages")
    examples = ROOT / "examples" / "languages"
    if java() is not None:
        for name in ("Regression", "Greeting"):
            build_jar(name, path / f"{name.lower()}.jar", examples / "java" / f"{name}.java")
        (path / "OddJava.java").write_text(ODD_JAVA)
        build_jar("OddJava", path / "odd-java.jar", path / "OddJava.java")
    if (interpreter := rscript()) is not None:
        train = [interpreter, str(examples / "r" / "train.R"), "stopping.rds"]
        subprocess.run(train, cwd=path, check=True, timeout=60)
        shutil.copy(examples / "r" / "stopping.R", path)
        (path / "odd-r.R").write_text(ODD_R)
        (path / "anything.R").write_text(GIVES_BACK_R)
    shutil.copytree(examples / "perl", path / "largest")
    (path / "noisy").mkdir()
    (path / "noisy" / "noisy.pl").write_text(NOISY)
    settings = {"command": ["perl", "noisy.pl"]}
    (path / "noisy" / "salver-program.json").write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(str(folder), "--request-timeout", "3", start_timeout_s=120) as running:
        yield running


def v1(server: Server, name: str, *instances: Any) -> httpx.Response:
    return server.post(f"/v1/models/{name}:predict", {"instances": list(instances)})


def infer(server: Server, name: str, *tensors: dict[str, Any]) -> httpx.Response:
    return server.post(f"/v2/models/{name}/infer", {"inputs": list(tensors)})


def tensor(name: str, values: Any, datatype: str = "FP64") -> dict[str, Any]:
    array = np.asarray(values)
    data = array.ravel().tolist()
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def grpc_infer(server: Server, name: str, rows: Any, *, raw: bool) -> Any:
    message = ModelInferRequest(model_name=name)
    entry = message.inputs.add(name="x", datatype="FP64", shape=rows.shape)
    if raw:
        message.raw_input_contents.append(rows.astype("<f8").tobytes())
    else:
        entry.contents.fp64_contents.extend(rows.ravel().tolist())
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = ModelInferResponse.FromString(call(message.SerializeToString(), timeout=30))
    if answer.raw_output_contents:
        return np.frombuffer(answer.raw_output_contents[0], "<f8")
    return np.array(answer.outputs[0].contents.fp64_contents)


def regression(rows: Any) -> Any:
    return rows @ COEFFICIENTS + 3.0


def child_of(server: Server, word: str) -> int:
    """The process of a program, by a word of its command."""
    for pid in server.descendants():
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        if word in line and "read -r" not in line:
            return pid
    raise AssertionError(f"no process has {word} in its command")


# --- every protocol --------------------------------------------------------------------------


def test_a_regression_in_java_answers_on_every_protocol(server: Server) -> None:
    installed("java")
    rows = np.random.default_rng(1).normal(size=(7, 4))
    expected = regression(rows)
    answer = v1(server, "regression", *rows.tolist())
    assert np.allclose(answer.json()["predictions"], expected)
    output = infer(server, "regression", tensor("x", rows)).json()["outputs"][0]
    assert (output["name"], output["shape"]) == ("y", [7])
    assert np.allclose(output["data"], expected)
    assert np.allclose(grpc_infer(server, "regression", rows, raw=False), expected)
    assert np.allclose(grpc_infer(server, "regression", rows, raw=True), expected)
    assert np.allclose(binary(server, "regression", rows), expected)


def binary(server: Server, name: str, rows: Any) -> Any:
    """V2 over HTTP with the values as bytes, there and back."""
    raw = rows.astype("<f8").tobytes()
    given = {"name": "x", "shape": list(rows.shape), "datatype": "FP64"}
    given["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = server.post(f"/v2/models/{name}/infer", head + raw, headers=headers)
    assert answer.status_code == 200, answer.text
    size = int(answer.headers["Inference-Header-Content-Length"])
    return np.frombuffer(answer.content[size:], "<f8")


def test_a_linear_model_in_r_answers_as_r_itself(server: Server, folder: Path) -> None:
    installed("r")
    code = (
        'm <- readRDS("stopping.rds"); p <- predict(m, data.frame(speed = c(4, 12.5, 25)));'
        'cat(sprintf("%.17g", p))'
    )
    interpreter = rscript()
    assert interpreter is not None
    words = [interpreter, "-e", code]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60)
    expected = [float(each) for each in done.stdout.split()]
    speeds = np.array([4, 12.5, 25])
    assert v1(server, "stopping", *speeds.tolist()).json()["predictions"] == expected
    found = infer(server, "stopping", tensor("speed", speeds)).json()["outputs"][0]["data"]
    assert found == expected
    assert grpc_infer(server, "stopping", speeds, raw=False).tolist() == expected
    assert grpc_infer(server, "stopping", speeds, raw=True).tolist() == expected
    assert binary(server, "stopping", speeds).tolist() == expected


def test_text_goes_in_and_comes_out_in_java(server: Server) -> None:
    installed("java")
    answer = v1(server, "greeting", "Ada", "Zoë\t\\\n")
    assert answer.json()["predictions"] == ["Hello, Ada!", "Hello, Zoë\t\\\n!"]
    given = tensor("name", ["Ada"], "BYTES")
    output = infer(server, "greeting", given).json()["outputs"][0]
    assert output["data"] == ["Hello, Ada!"]


def test_a_script_of_thirty_lines_in_perl_answers(server: Server) -> None:
    assert v1(server, "largest", [1, 5, 2], [-3, -1, -2]).json()["predictions"] == [5.0, -1.0]
    rows = np.random.default_rng(2).normal(size=(5, 3))
    assert np.array_equal(grpc_infer(server, "largest", rows, raw=True), rows.max(axis=1))


@pytest.mark.parametrize(
    ("datatype", "values", "given_back"),
    [
        ("FP64", [[1.5, -2.0], [0.0, 1e300]], "FP64"),
        ("FP32", [1.5, -2.0], "FP64"),
        ("INT64", [2**53, -(2**53), 2**31, -1, 0], "FP64"),
        ("UINT64", [2**53, 0], "FP64"),
        ("UINT32", [2**32 - 1, 2**31, 0], "FP64"),
        ("INT32", [2**31 - 1, -(2**31) + 1, 0], "INT32"),
        ("INT16", [-(2**15), 2**15 - 1], "INT32"),
        ("UINT16", [2**16 - 1, 0], "INT32"),
        ("INT8", [-128, 127], "INT32"),
        ("UINT8", [255, 0], "INT32"),
        ("BOOL", [True, False], "BOOL"),
        ("BYTES", ["", "é", "a\tb\n\\"], "BYTES"),
        ("FP64", np.arange(24.0).reshape(2, 3, 4), "FP64"),
    ],
)
def test_r_gives_back_what_it_gets(
    server: Server, datatype: str, values: Any, given_back: str
) -> None:
    installed("r")
    answer = infer(server, "anything", tensor("x y", values, datatype))
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"][0]
    assert (output["name"], output["datatype"]) == ("x y", given_back)
    assert output["shape"] == list(np.shape(values))
    assert output["data"] == np.ravel(values).tolist()


def test_numbers_that_r_does_not_have_are_refused(server: Server) -> None:
    installed("r")
    answer = infer(server, "anything", tensor("x", [1.0], "FP16"))
    assert answer.status_code == 400
    assert "R has no numbers of datatype FP16; send FP32" in answer.json()["error"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_mebibyte_goes_through(server: Server, language: str) -> None:
    installed(language)
    values = np.random.default_rng(3).normal(size=131072)
    assert np.array_equal(binary(server, f"odd-{language}", values), 2 * values)


@pytest.mark.parametrize("language", LANGUAGES)
def test_64_connections_each_get_their_own_in_batches(server: Server, language: str) -> None:
    installed(language)
    name = f"odd-{language}"
    before = server.metric("salver_batch_requests_count", model=name)
    path = f"/v1/models/{name}:predict"
    loads = []
    threads = []
    for value in range(4):
        request = post(path, json.dumps({"instances": [value, value + 0.5]}).encode())
        run = lambda request=request: loads.append(ask(server.port, request, 100, 16))  # noqa: E731
        threads.append(threading.Thread(target=run))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
    assert not [failure for load in loads for failure in load.failures]
    answers = {body for load in loads for body in load.answers}
    wanted = [[2.0 * value, 2.0 * value + 1] for value in range(4)]
    assert sorted(json.loads(body)["predictions"] for body in answers) == wanted
    assert sum(load.count for load in loads) == 400
    batches = server.metric("salver_batch_requests_count", model=name) - before
    assert 0 < batches < 400


# --- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "reason"), [("java", "IllegalState"), ("r", "minus one")])
def test_an_error_of_the_code_is_told_with_the_models_name(
    server: Server, language: str, reason: str
) -> None:
    installed(language)
    pid = child_of(server, f"odd-{language}")
    answer = v1(server, f"odd-{language}", -1)
    assert answer.status_code == 500
    assert f"model 'odd-{language}'" in answer.json()["error"]
    assert reason in answer.json()["error"]
    assert v1(server, f"odd-{language}", 4).json()["predictions"] == [8.0]
    assert child_of(server, f"odd-{language}") == pid


@pytest.mark.parametrize("language", LANGUAGES)
def test_wrong_input_is_the_callers_fault(server: Server, language: str) -> None:
    installed(language)
    name = f"odd-{language}"
    for instances, reason in [([-5], "minus five"), (["a"], "FP64"), ([[1, 2]], "shape")]:
        answer = v1(server, name, *instances)
        assert answer.status_code == 400, answer.text
        assert name in answer.json()["error"]
        assert reason in answer.json()["error"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_print_in_the_code_breaks_nothing(server: Server, language: str) -> None:
    installed(language)
    assert v1(server, f"odd-{language}", -4, 1).json()["predictions"] == [-8.0, 2.0]
    wanted = "a print in Java" if language == "java" else "from a shell"
    wait_until(lambda: wanted in server.log.read_text())


def test_garbage_among_the_answers_is_refused_and_shown(server: Server) -> None:
    answer = v1(server, "noisy", -1)
    assert answer.status_code == 500
    assert "model 'noisy' failed: its program wrote 'Predicting...'" in answer.json()["error"]
    assert "print to standard error" in answer.json()["error"]
    assert v1(server, "noisy", 3).json()["predictions"] == [3.0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_kill_9_under_load_loses_no_request(server: Server, language: str) -> None:
    installed(language)
    name = f"odd-{language}"
    request = post(f"/v1/models/{name}:predict", b'{"instances":[21.0]}')
    with under_load(server.port, request, connections=16, least=200) as load:
        for _ in range(3):
            os.kill(child_of(server, name), signal.SIGKILL)
            before = load.count
            wait_until(lambda before=before: load.count > before + 20, 30)
    assert load.failures == []
    assert set(load.answers) == {b'{"predictions":[42.0]}'}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_request_that_ends_the_program_is_answered_503_and_its_neighbours_200(
    server: Server, language: str
) -> None:
    installed(language)
    name = f"odd-{language}"
    request = post(f"/v1/models/{name}:predict", b'{"instances":[21.0]}')
    with under_load(server.port, request, connections=8, least=50) as load:
        answer = v1(server, name, -3)
    assert answer.status_code == 503
    assert "its program exited with code 5" in answer.json()["error"]
    assert load.failures == []
    assert set(load.answers) == {b'{"predictions":[42.0]}'}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_that_hangs_is_killed_at_the_time_limit(server: Server, language: str) -> None:
    installed(language)
    name = f"odd-{language}"
    pid = child_of(server, name)
    answer = v1(server, name, -2)
    assert answer.status_code == 504
    assert name in answer.json()["error"]
    wait_until(lambda: v1(server, name, 1).status_code == 200, 20)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


def test_nothing_is_left_when_the_server_is_killed(folder: Path) -> None:
    installed("java", "r")
    with serving(str(folder / "odd-java.jar"), str(folder / "odd-r.R")) as running:
        pids = running.descendants()
        assert len(pids) >= 6
        running.process.kill()
        running.process.wait()
    wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], 15)


def test_a_program_that_cannot_be_started_is_refused_with_the_reason(tmp_path: Path) -> None:
    installed("r")
    (tmp_path / "broken.R").write_text("predict <- function(x) x\nstop('no weights')\n")
    with pytest.raises(AssertionError, match="exited with code 1 before it was ready") as caught:
        with serving(str(tmp_path / "broken.R")):
            pass
    assert "model 'broken'" in str(caught.value)


# --- the documents ---------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_how_to_does_what_it_says(tmp_path: Path) -> None:
    installed("java", "r")
    run = Run(tmp_path)
    (tmp_path / "wrappers").symlink_to(ROOT / "wrappers")
    try:
        run.read(ROOT / "docs/how-to/any-language.md")
    finally:
        run.stop()


def test_the_r_file_shown_is_the_one_shipped() -> None:
    shown = blocks(ROOT / "docs/how-to/any-language.md", "r")[0].text
    assert (ROOT / "examples/languages/r/stopping.R").read_text().endswith(shown)
