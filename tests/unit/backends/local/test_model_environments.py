"""In which Python environment a model's workers run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from salver.artifacts.layout import ModelTarget
from salver.backends.environments.manager import PreparedEnvironment
from salver.backends.local.model_environments import ModelEnvironments
from salver.errors import EnvironmentFailed
from salver.inference.requirements import Requirements

PREPARED = PreparedEnvironment(Path("/env/bin/python"), {}, "d1")
OLD_PICKLE = (
    b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x1csklearn.linear_model._logistic\x94"
    b"\x8c\x12LogisticRegression\x94\x93\x94)\x81\x94}\x94\x8c\x10_sklearn_version\x94\x8c\x051.3.2"
    b"\x94sb."
)


class FakeEnvironments:
    """Makes an environment, or fails with a reason."""

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self.asked: list[Requirements] = []

    async def ensure(
        self, requirements: Requirements, on_progress: Callable[[str], None] = print
    ) -> PreparedEnvironment:
        self.asked.append(requirements)
        on_progress("solving")
        if self.failure:
            raise EnvironmentFailed(self.failure)
        return PREPARED


def fork_server(runtime: str, preload: Sequence[str], prepared: PreparedEnvironment | None) -> Any:
    return (runtime, prepared)


def target(folder: Path, content: bytes, **extra: Any) -> ModelTarget:
    path = folder / "model.pkl"
    path.write_bytes(content)
    return ModelTarget("iris", "1", path, "sklearn", **extra)


def suited(environments: FakeEnvironments | None, model: ModelTarget, **extra: Any) -> Any:
    return asyncio.run(ModelEnvironments(environments, fork_server).suited(model, **extra))


def test_a_model_that_needs_nothing_runs_in_the_servers_own(tmp_path: Path) -> None:
    environments = FakeEnvironments()
    found = suited(environments, target(tmp_path, b"\x80\x04}."))
    assert (found.environment, found.caveat) == (("sklearn", None), "")
    assert environments.asked == []


def test_a_recorded_version_has_its_environment_made_with_progress(tmp_path: Path) -> None:
    heard: list[str] = []
    environments = FakeEnvironments()
    found = suited(environments, target(tmp_path, OLD_PICKLE), on_progress=heard.append)
    assert found.environment == ("sklearn", PREPARED)
    assert environments.asked[0].packages[0] == "scikit-learn==1.3.2"
    assert heard == ["3 packages, recorded in the model", "solving"]


def test_without_a_recorded_environment_the_servers_own_is_tried_and_both_versions_named(
    tmp_path: Path,
) -> None:
    import sklearn

    found = suited(FakeEnvironments("the index is down"), target(tmp_path, OLD_PICKLE))
    assert found.environment == ("sklearn", None)
    assert found.caveat == (
        f"it runs with the server's own scikit-learn {sklearn.__version__} in place of "
        "scikit-learn==1.3.2, since the index is down"
    )


def test_what_a_person_asks_for_is_had_or_it_fails(tmp_path: Path) -> None:
    declared = Requirements(("scikit-learn==1.2.0",), origin="spec.predictor")
    for extra in ({"declared": declared}, {"runtime_version": "1.2.0"}):
        with pytest.raises(EnvironmentFailed, match="the index is down"):
            suited(FakeEnvironments("the index is down"), target(tmp_path, OLD_PICKLE), **extra)
    (tmp_path / "requirements.txt").write_text("scikit-learn==1.2.0\n")
    with pytest.raises(EnvironmentFailed, match="the index is down"):
        suited(FakeEnvironments("the index is down"), target(tmp_path, OLD_PICKLE))


def test_a_settings_files_packages_count_unless_the_manifest_has_its_own(tmp_path: Path) -> None:
    environments = FakeEnvironments()
    model = target(tmp_path, b"\x80\x04}.", requirements=Requirements(("pandas==1.0",)))
    suited(environments, model)
    suited(environments, model, declared=Requirements(("pandas==2.0",)))
    assert [each.packages[0] for each in environments.asked] == ["pandas==1.0", "pandas==2.0"]


def test_steps_are_shown_while_an_environment_is_made_and_gone_after(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: list[dict[str, str]] = []
        chooser = ModelEnvironments(FakeEnvironments(), fork_server)
        await chooser.suited(
            target(tmp_path, OLD_PICKLE), on_progress=lambda _: seen.append(dict(chooser.steps))
        )
        assert seen[-1] == {"iris": "building its environment: solving"}
        assert (chooser.steps, chooser.choosing) == ({}, 0)

    asyncio.run(scenario())
