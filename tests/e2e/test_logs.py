"""What models print: in their own logs, on the server's stderr, in nobody's way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server, command, environment, serving, wait_until
from tests.e2e.test_kubectl import Kubectl, find_kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CHATTY = """
import os, sys
class Chatty:
    def load(self):
        print("loading on stdout")
        print("loading on stderr", file=sys.stderr)
    def predict(self, x):
        print("predicting", x.shape)
        os.write(2, b"half a line")
        return x
"""
BROKEN = """
class Broken:
    def load(self):
        print("about to fail")
        raise RuntimeError("no weights here")
    def predict(self, x):
        return x
"""
FLOOD = """
class Flood:
    def predict(self, x):
        if x.size > 1:
            for _ in range(300):
                # Many lines at once: on a busy machine too, it is more than what is kept.
                print(("x" * 100 + "\\n") * 1000, end="")
        return x
"""
QUIET = """
class Quiet:
    def predict(self, x):
        return x
"""
SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {name}}}
spec:
  predictor:
    model:
      modelFormat: {{name: python}}
      storageUri: file://{path}
"""
COMMAND = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: worker}}
spec:
  predictor:
    containers:
      - name: kserve-container
        image: local/worker
        command: [{python}, -u, {script}]
"""
PROGRAM = """
import http.server, os
print("listening on", os.environ["PORT"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def ask(server: Server, model: str, width: int = 1) -> None:
    tensor = {"name": "x", "shape": [width], "datatype": "FP64", "data": [0.0] * width}
    assert server.post(f"/v2/models/{model}/infer", {"inputs": [tensor]}).status_code == 200


def salver(*arguments: str) -> str:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pods(server: Server) -> list[str]:
    items = server.get("/api/v1/namespaces/default/pods").json()["items"]
    return [item["metadata"]["name"] for item in items]


def pending(server: Server) -> list[str]:
    return [name for name in pods(server) if name.endswith("-pending")]


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Kubectl]]:
    """A server with two services as manifests: one that prints, one that cannot be loaded."""
    folder = tmp_path_factory.mktemp("logs")
    (folder / "chatty.py").write_text(CHATTY)
    (folder / "broken.py").write_text(BROKEN)
    (folder / "program.py").write_text(PROGRAM)
    documents = [
        SERVICE.format(name="chatty", path=folder / "chatty.py"),
        SERVICE.format(name="broken", path=folder / "broken.py"),
        COMMAND.format(python=sys.executable, script=folder / "program.py"),
    ]
    (folder / "services.yaml").write_text("---".join(documents))
    state = folder / "state"
    with serving("-f", str(folder / "services.yaml"), "--state-dir", str(state)) as server:
        wait_until(lambda: "services settled" in server.log.read_text(), 60)
        wait_until(lambda: len(pods(server)) == 3 and len(pending(server)) == 1, 10)
        yield server, Kubectl(server.url, folder)


needs_kubectl = pytest.mark.skipif(not find_kubectl(), reason="kubectl is not installed")


@needs_kubectl
def test_kubectl_prints_what_a_worker_has_printed(declared: tuple[Server, Kubectl]) -> None:
    server, kubectl = declared
    ask(server, "chatty")
    (pod,) = [name for name in pods(server) if name.startswith("chatty-")]
    wait_until(lambda: "predicting" in kubectl("logs", pod), 10)
    lines = kubectl("logs", pod).splitlines()
    assert lines[:2] == ["loading on stdout", "loading on stderr"]
    assert kubectl("logs", pod, "--tail", "1").startswith("predicting")


@needs_kubectl
def test_kubectl_follows_a_log(declared: tuple[Server, Kubectl]) -> None:
    server, kubectl = declared
    (pod,) = [name for name in pods(server) if name.startswith("chatty-")]
    follow = subprocess.Popen(
        kubectl.command("logs", "-f", "--tail", "0", pod),
        stdout=subprocess.PIPE,
        text=True,
        env=kubectl.environment,
    )
    try:
        assert follow.stdout is not None
        time.sleep(1.0)
        ask(server, "chatty")
        assert "predicting (1,)" in follow.stdout.readline()
    finally:
        follow.kill()
        follow.wait()
        follow.stdout.close()


@needs_kubectl
def test_the_log_of_a_revision_that_failed_to_load_has_its_traceback(
    declared: tuple[Server, Kubectl],
) -> None:
    server, kubectl = declared
    (pod,) = [name for name in pods(server) if name.startswith("broken-")]
    text = kubectl("logs", pod)
    assert "about to fail" in text
    assert "RuntimeError: no weights here" in text
    assert "line 5, in load" in text


@needs_kubectl
def test_the_log_of_a_command_has_its_output(declared: tuple[Server, Kubectl]) -> None:
    server, kubectl = declared
    (pod,) = [name for name in pods(server) if name.startswith("worker-")]
    assert "listening on" in kubectl("logs", pod)


def test_salver_logs_prints_a_services_log(declared: tuple[Server, Kubectl]) -> None:
    server, _ = declared
    text = salver("logs", "chatty", "--server", server.url)
    assert text.startswith("loading on stdout\nloading on stderr\n")
    assert "no weights here" in salver("logs", "broken", "--server", server.url)


def test_what_models_print_is_on_the_servers_stderr_too(declared: tuple[Server, Kubectl]) -> None:
    server, _ = declared
    assert '"event": "loading on stdout"' in server.log.read_text()


def test_logs_are_files_in_the_state_directory(declared: tuple[Server, Kubectl]) -> None:
    _, kubectl = declared
    found = {path.name: path for path in (kubectl.home / "state" / "logs").iterdir()}
    assert "loading on stdout" in found["default.chatty-predictor-00001.log"].read_text()


def test_a_pod_that_is_not_there_is_404(declared: tuple[Server, Kubectl]) -> None:
    server, _ = declared
    answer = server.get("/api/v1/namespaces/default/pods/nobody/log")
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")


def test_models_of_the_command_line_have_logs_too(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(CHATTY)
    with serving(str(tmp_path / "chatty.py"), "--state-dir", str(tmp_path / "state")) as server:
        ask(server, "chatty")
        wait_until(lambda: pods(server) == [f"chatty-00001-{server.workers()[0]}"], 10)
        text = salver("logs", "chatty", "--server", server.url)
        assert "predicting (1,)" in text
    assert not (tmp_path / "state" / "logs").exists()


def test_a_model_that_prints_without_end_slows_down_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "flood.py").write_text(FLOOD)
    (tmp_path / "quiet.py").write_text(
        "class Quiet:\n    def predict(self, x):\n        return x\n"
    )
    state = ("--state-dir", str(tmp_path / "state"))
    with serving(str(tmp_path), *state) as server:
        ask(server, "flood", 1)
        flooding = threading.Thread(target=ask, args=(server, "flood", 2))
        flooding.start()
        slowest_s = 0.0
        while flooding.is_alive():
            start_s = time.monotonic()
            ask(server, "quiet")
            slowest_s = max(slowest_s, time.monotonic() - start_s)
        flooding.join()
        assert slowest_s < 5.0
        wait_until(
            lambda: "bytes of output dropped" in salver("logs", "flood", "--server", server.url), 20
        )
        assert server.log.stat().st_size < 30 << 20
