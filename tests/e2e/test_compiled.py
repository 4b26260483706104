"""Models compiled beside their first requests: the switch, the verdicts, what is told of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import joblib
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

from tests.e2e.server import Server, serving

ROWS, CLASSES = make_classification(500, 6, random_state=0)
FOREST = RandomForestClassifier(60, random_state=0).fit(ROWS, CLASSES)
_WAIT_S = 40.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    joblib.dump(FOREST, folder / "forest.joblib")
    return folder


def _told(server: Server) -> dict[str, Any]:
    (version,) = server.get("/salver/v1/models/forest").json()["versions"]
    assert isinstance(version, dict)
    return version


def _compiled(server: Server) -> dict[str, Any]:
    deadline_s = time.monotonic() + _WAIT_S
    while (_told(server)["compiled"] or {}).get("is_pending"):
        assert time.monotonic() < deadline_s, "it is still being compiled"
        time.sleep(0.05)
    report = _told(server)["compiled"]
    assert isinstance(report, dict)
    return report


def _answers(server: Server, count: int = 20) -> list[Any]:
    rows = ROWS[:count].tolist()
    answer = server.infer("forest", rows)
    assert answer.status_code == 200, answer.text
    found = answer.json()["outputs"][0]["data"]
    assert isinstance(found, list)
    return found


def test_a_model_answers_at_once_then_by_engines_and_the_next_start_knows(folder: Path) -> None:
    expected = FOREST.predict(ROWS[:20]).tolist()
    state = str(folder / "state")
    target = str(folder / "forest.joblib")
    with serving(target, "--state-dir", state) as server:
        assert _answers(server) == expected
        report = _compiled(server)
        assert report["mode"] == "auto" and not report["is_reused"]
        assert {each["name"] for each in report["engines"]} >= {"direct"}
        assert report["choices"][0]["engine"] != "native"
        for rows in ROWS[:15]:
            assert server.infer("forest", [rows.tolist()]).status_code == 200
        assert _answers(server) == expected
        deadline_s = time.monotonic() + _WAIT_S
        while server.metric("salver_compiled_answers_total", model="forest") < 15:
            assert time.monotonic() < deadline_s, "the workers' counts never came"
            time.sleep(0.1)
        assert _told(server)["counts"]["mismatched"] == 0
        assert server.metric("salver_compiled_speedup_ratio", model="forest", rows="1") > 1
        assert server.metric("salver_compiled_accepted", engine="direct") == 1
        assert "compiled: " in server.log.read_text()
    with serving(target, "--state-dir", state, "--workers", "2") as server:
        assert _compiled(server)["is_reused"]
        assert _answers(server) == expected


def test_requests_are_answered_while_a_model_is_compiled(folder: Path) -> None:
    target = str(folder / "forest.joblib")
    with serving(target, "--state-dir", str(folder / "fresh")) as server:
        expected = FOREST.predict(ROWS[:3]).tolist()
        count = 0
        while _told(server)["compiled"]["is_pending"]:
            assert _answers(server, 3) == expected
            count += 1
            assert count < 5000
        for _ in range(20):
            assert _answers(server, 3) == expected
        stats = server.get("/v2/models/forest/stats").json()["model_stats"][0]
        assert stats["inference_stats"]["success"]["count"] == count + 20
        assert stats["inference_stats"]["fail"]["count"] == 0


def test_off_is_off_and_a_shared_pool_does_not_compile(folder: Path) -> None:
    target = str(folder / "forest.joblib")
    with serving(target, "--compile", "off", "--state-dir", str(folder / "off")) as server:
        assert _told(server)["compiled"] is None
        assert _answers(server) == FOREST.predict(ROWS[:20]).tolist()
    with serving(target, "--memory-budget", "4GiB", "--state-dir", str(folder / "pool")) as server:
        assert _answers(server) == FOREST.predict(ROWS[:20]).tolist()
        assert _told(server)["compiled"] is None


def test_exact_is_compiled_before_the_first_request_and_checked_live(folder: Path) -> None:
    settings = {
        "name": "forest",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {
            "uri": "./forest.joblib",
            "extra": {"compile": "exact", "compile_check": 1},
        },
    }
    model = folder / "settings" / "forest"
    model.mkdir(parents=True)
    (model / "forest.joblib").write_bytes((folder / "forest.joblib").read_bytes())
    (model / "model-settings.json").write_text(json.dumps(settings))
    with serving(str(model.parent), "--state-dir", str(folder / "exact")) as server:
        report = _told(server)["compiled"]
        assert report["mode"] == "exact" and not report["is_pending"]
        for rows in ROWS[:10]:
            server.infer("forest", [rows.tolist()])
        deadline_s = time.monotonic() + _WAIT_S
        while _told(server)["counts"]["checked"] < 10:
            assert time.monotonic() < deadline_s, "no request was compared"
            time.sleep(0.1)
        assert _told(server)["counts"]["mismatched"] == 0


def test_a_mode_that_there_is_not_is_refused_with_those_there_are(folder: Path) -> None:
    with pytest.raises(AssertionError, match="'quick' is not one of auto, exact, fast, off"):
        with serving(str(folder / "forest.joblib"), "--compile", "quick"):
            pass
