"""The command line, as a process, against the real admin API."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.server import command, environment, serving

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
MANIFEST = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: iris
  labels: {team: flowers}
spec:
  predictor:
    minReplicas: 1
    model:
      modelFormat: {name: sklearn}
      storageUri: gs://kfserving-examples/models/sklearn/1.0/model
"""
TITLE = "inferenceservice.serving.kserve.io/iris"

Done = "subprocess.CompletedProcess[str]"
Salver = Callable[..., Done]


@pytest.fixture
def address() -> Iterator[str]:
    """The admin API in a process of its own, with a store in memory."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.api_server"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


@pytest.fixture
def salver(address: str, tmp_path: Path) -> Salver:
    (tmp_path / "isvc.yaml").write_text(MANIFEST)

    def run(*words: str, stdin: str = "") -> Done:
        return subprocess.run(
            command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**environment(), "SALVER_SERVER": address},
        )

    return run


def test_a_service_is_made_looked_at_changed_and_deleted(salver: Salver, tmp_path: Path) -> None:
    assert salver("diff", "-f", "isvc.yaml").returncode == 1
    assert salver("apply", "-f", "isvc.yaml").stdout == f"{TITLE} created\n"
    assert salver("apply", "-f", "isvc.yaml").stdout == f"{TITLE} unchanged\n"
    assert salver("diff", "-f", "isvc.yaml").returncode == 0
    header, row = salver("get", "isvc").stdout.splitlines()
    assert header.split()[:3] == ["NAME", "URL", "READY"]
    assert row.startswith("iris ")
    assert salver("get", "all", "-o", "name").stdout == f"{TITLE}\npod/iris-0\n"
    assert "  Model:     gs://kfserving-examples/" in salver("describe", "isvc/iris").stdout
    (tmp_path / "isvc.yaml").write_text(MANIFEST.replace("minReplicas: 1", "minReplicas: 2"))
    changed = salver("diff", "-f", "isvc.yaml")
    assert changed.returncode == 1
    assert "-    minReplicas: 1\n+    minReplicas: 2\n" in changed.stdout
    assert salver("apply", "-f", "isvc.yaml").stdout == f"{TITLE} configured\n"
    assert salver("scale", "iris", "--replicas", "3").returncode == 0
    path = "jsonpath={.spec.predictor.minReplicas}"
    assert salver("get", "isvc", "iris", "-o", path).stdout == "3\n"
    assert salver("delete", "-f", "isvc.yaml").returncode == 0
    assert "not found" in salver("get", "isvc", "iris").stderr


def test_what_the_server_refuses_is_printed_with_all_causes(salver: Salver) -> None:
    text = MANIFEST.replace("minReplicas: 1", "timeout: 5\n    containerConcurrency: 5")
    done = salver("apply", "-f", "-", stdin=text)
    assert done.returncode == 1
    assert "spec.predictor.timeout: no such field" in done.stderr
    assert "spec.predictor.containerConcurrency: no such field" in done.stderr
    assert all(line.startswith("salver: ") for line in done.stderr.splitlines())


def test_server_side_apply_meets_conflicts(salver: Salver, tmp_path: Path) -> None:
    assert salver("apply", "-f", "isvc.yaml", "--server-side").returncode == 0
    assert salver("scale", "iris", "--replicas", "3").returncode == 0
    refused = salver("apply", "-f", "isvc.yaml", "--server-side")
    assert refused.returncode == 1
    assert "conflict" in refused.stderr.lower()
    assert salver("apply", "-f", "isvc.yaml", "--server-side", "--force-conflicts").returncode == 0


def test_waiting_and_watching_see_what_another_does(salver: Salver) -> None:
    watching: list[Done] = []
    path = "jsonpath={.spec.predictor.minReplicas}=2"

    def watch() -> None:
        watching.append(salver("get", "isvc", "-w", "--timeout", "4s"))

    threads = [threading.Thread(target=watch)]
    salver("apply", "-f", "isvc.yaml")
    for thread in threads:
        thread.start()
    changer = threading.Timer(0.5, lambda: salver("scale", "iris", "--replicas", "2"))
    changer.start()
    waited = salver("wait", "isvc/iris", f"--for={path}", "--timeout=20s")
    for thread in [*threads, changer]:
        thread.join(30)
    assert waited.stdout == f"{TITLE} condition met\n"
    assert watching[0].returncode == 0
    assert len(watching[0].stdout.splitlines()) >= 2
    late = salver("wait", "isvc/iris", "--for=condition=Ready", "--timeout=200ms")
    assert (late.returncode, late.stderr) == (
        1,
        f"salver: timed out after 200ms waiting for {TITLE}\n",
    )


def test_logs_and_names_come_from_the_server(salver: Salver) -> None:
    assert salver("logs", "pod/iris-0", "--tail", "2").stdout == "two\nthree\n"
    assert salver("logs", "pod/iris-0", "-f").stdout == "one\ntwo\nthree\n"
    assert salver("__complete", "--", "get", "pods", "").stdout == "iris-0\n"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_and_salver_apply_the_same_file_in_turn(
    salver: Salver, address: str, tmp_path: Path
) -> None:
    def kubectl(*words: str) -> Done:
        return subprocess.run(
            ["kubectl", "--server", address, *words],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path), "KUBECONFIG": "none"},
        )

    salver("apply", "-f", "isvc.yaml")
    assert kubectl("apply", "-f", "isvc.yaml").stdout == f"{TITLE} unchanged\n"
    (tmp_path / "isvc.yaml").write_text(MANIFEST.replace("    minReplicas: 1\n", ""))
    assert kubectl("apply", "-f", "isvc.yaml").stdout == f"{TITLE} configured\n"
    assert salver("apply", "-f", "isvc.yaml").stdout == f"{TITLE} unchanged\n"
    assert "minReplicas" not in salver("get", "isvc", "iris", "-o", "yaml").stdout


REAL = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: iris
spec:
  predictor:
    model:
      modelFormat: {{name: sklearn}}
      storageUri: file://{path}
"""


def test_a_service_lives_on_a_real_server(tmp_path: Path) -> None:
    first, second = tmp_path / "first.skops", tmp_path / "second.skops"
    for path in (first, second):
        shutil.copy(ROOT / "examples/iris.skops", path)
    manifest = tmp_path / "isvc.yaml"
    manifest.write_text(REAL.format(path=first))
    (tmp_path / "rows.csv").write_text("5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n")
    with serving("-f", str(manifest), "--state-dir", str(tmp_path / "state")) as server:

        def salver(*words: str) -> str:
            done = subprocess.run(
                command(*words),
                capture_output=True,
                text=True,
                timeout=90,
                cwd=tmp_path,
                env={**environment(), "SALVER_SERVER": server.url},
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert "condition met" in salver(
            "wait", "isvc/iris", "--for=condition=Ready", "--timeout=60s"
        )
        assert salver("apply", "-f", "isvc.yaml") == f"{TITLE} unchanged\n"
        table = salver("predict", "iris", "--data", "rows.csv")
        assert [line.split() for line in table.splitlines()] == [["predict"], ["0"], ["2"]]
        canary = REAL.format(path=second).replace(
            "    model:", "    canaryTrafficPercent: 20\n    model:"
        )
        manifest.write_text(canary)
        assert salver("apply", "-f", "isvc.yaml", "--wait").endswith(f"{TITLE} ready\n")
        assert "20%  ████░░" in salver("describe", "isvc", "iris")
        assert "rolled back to iris-predictor-00001" in salver("rollout", "undo", "iris")
        everything = "jsonpath={.status.components.predictor.traffic[0].percent}=100"
        salver("wait", "isvc/iris", f"--for={everything}", "--timeout=20s")
        assert "100%" in salver("rollout", "history", "iris").splitlines()[2]
        # The file still says 20% to the second model, which is a revision already.
        salver("apply", "-f", "isvc.yaml")
        shared = "jsonpath={.status.components.predictor.traffic[0].percent}=20"
        salver("wait", "isvc/iris", f"--for={shared}", "--timeout=20s")
        salver("rollout", "promote", "iris")
        salver("rollout", "status", "iris", "--timeout=20s")
        revision = "jsonpath={.status.components.predictor.latestRolledoutRevision}"
        salver("wait", "isvc/iris", f"--for={revision}=iris-predictor-00002", "--timeout=20s")
        assert "iris" in salver("top", "--interval", "200ms")
        assert "RevisionCreated" in salver("events", "--for", "isvc/iris")
        assert "deleted" in salver("delete", "-f", "isvc.yaml")


def test_without_a_server_the_message_says_how_to_start_one(tmp_path: Path) -> None:
    done = subprocess.run(
        command("get", "isvc", "--server", "http://127.0.0.1:1"),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment(),
    )
    assert done.returncode == 1
    assert done.stderr == (
        "salver: cannot reach http://127.0.0.1:1: connection refused; "
        "start one with: salver serve\n"
    )


def test_a_reader_that_leaves_early_is_no_error(salver: Salver, address: str) -> None:
    salver("apply", "-f", "isvc.yaml")
    line = " ".join(command("explain", "isvc.spec", "-R"))
    done = subprocess.run(
        f"{line} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
    )
    assert done.stdout.startswith("GROUP:")
    assert done.stderr == ""
