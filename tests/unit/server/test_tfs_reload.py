"""The declarative list of models: what is loaded and unloaded, and when labels move."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes import FakeCatalog, FakeModel

from salver.engine.directory import ModelDirectory, ServiceEntry
from salver.errors import InvalidInput, LoadFailed, ModelNotFound, ModelNotReady, SalverError
from salver.server.tfs_facts import Spec, find
from salver.server.tfs_reload import DeclaredModel, reload


def states(models: FakeCatalog) -> dict[str, str]:
    return {f"{each.name}/{each.version}": each.state for each in models.models}


def small(**more: str) -> FakeCatalog:
    return FakeCatalog(
        FakeModel("iris", "1"),
        FakeModel("iris", "2"),
        FakeModel("wine", state="UNAVAILABLE", reason="unloaded"),
        FakeModel("old"),
        broken=more,
    )


def test_what_is_listed_is_loaded_and_what_is_not_is_unloaded() -> None:
    models = small()
    asyncio.run(reload(ModelDirectory(models), [DeclaredModel("iris"), DeclaredModel("wine")]))
    assert states(models) == {
        "iris/1": "READY",
        "iris/2": "READY",
        "wine/1": "READY",
        "old/1": "UNAVAILABLE",
    }


def test_labels_move_to_loaded_versions_and_are_found() -> None:
    directory = ModelDirectory(small())
    first = DeclaredModel("iris", labels={"stable": 1, "canary": 2})
    asyncio.run(reload(directory, [first]))
    assert find(directory, Spec("iris", None, "canary"), directory).version == "2"
    asyncio.run(reload(directory, [DeclaredModel("iris", labels={"stable": 2})]))
    assert find(directory, Spec("iris", None, "stable"), directory).version == "2"
    with pytest.raises(InvalidInput, match="no version label 'canary'"):
        find(directory, Spec("iris", None, "canary"), directory)


class Stuck(FakeCatalog):
    """Loads nothing, whatever it is told."""

    async def load(self, name: str) -> None:
        self.find(name)


@pytest.mark.parametrize(
    ("models", "listed", "error"),
    [
        (small(), [DeclaredModel("iris"), DeclaredModel("nope")], ModelNotFound),
        (small(), [DeclaredModel("iris"), DeclaredModel("iris")], InvalidInput),
        (small(), [DeclaredModel("")], InvalidInput),
        (small(), [DeclaredModel("iris", labels={"x": 9})], ModelNotFound),
        (small(), [DeclaredModel("iris", versions=(9,))], ModelNotFound),
        (small(wine="cut off"), [DeclaredModel("iris"), DeclaredModel("wine")], LoadFailed),
        (
            Stuck(FakeModel("iris", "1"), FakeModel("iris", "2", state="LOADING"), FakeModel("b")),
            [DeclaredModel("iris", labels={"canary": 2})],
            ModelNotReady,
        ),
    ],
)
def test_a_list_that_cannot_be_carried_out_changes_neither_labels_nor_what_is_served(
    models: FakeCatalog, listed: list[DeclaredModel], error: type[SalverError]
) -> None:
    directory, before = ModelDirectory(models), states(models)
    with pytest.raises(error):
        asyncio.run(reload(directory, listed))
    assert states(models) == before
    assert dict(directory.labels.of("iris")) == {}


def test_services_of_manifests_are_left_alone() -> None:
    models = small()
    directory = ModelDirectory(models)
    directory.expose(ServiceEntry("default", "svc", FakeModel("svc")))
    asyncio.run(reload(directory, [DeclaredModel("iris"), DeclaredModel("svc")]))
    asyncio.run(reload(directory, [DeclaredModel("iris")]))
    assert directory.find("svc").is_ready
    assert states(models)["old/1"] == "UNAVAILABLE"


def test_a_version_is_found_by_the_number_at_its_end() -> None:
    directory = ModelDirectory(small())
    directory.expose(ServiceEntry("default", "svc", FakeModel("svc", "svc-00002")))
    assert find(directory, Spec("svc", 2), directory).version == "svc-00002"
    with pytest.raises(ModelNotFound):
        find(directory, Spec("svc", 3), directory)
