"""Services whose models are in the shared pool, as the directory has them."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes import FakeCatalog, FakeModel

from salver.engine.directory import ModelDirectory, PoolEntry
from salver.errors import ModelNotFound


@pytest.fixture
def models() -> set[str]:
    return {"rose"}


@pytest.fixture
def own() -> FakeCatalog:
    return FakeCatalog(FakeModel("rose"), FakeModel("tulip"))


@pytest.fixture
def directory(own: FakeCatalog, models: set[str]) -> ModelDirectory:
    made = ModelDirectory(own)
    made.expose_pool(PoolEntry("default", "pool", models, ("pool-default.example.com",)))
    return made


@pytest.mark.parametrize("scope", ["default/pool", "host:pool-default.example.com"])
def test_a_pools_address_has_its_models_alone(
    directory: ModelDirectory, own: FakeCatalog, models: set[str], scope: str
) -> None:
    assert directory.find_in(scope, "rose") is own.find("rose")
    with pytest.raises(ModelNotFound, match="'default/pool' has no model 'tulip': it has rose"):
        directory.find_in(scope, "tulip")
    models.add("tulip")
    assert directory.find_in(scope, "tulip", "1") is own.find("tulip")
    assert [each.name for each in directory.view(scope).statuses()] == ["rose", "tulip"]
    assert list(directory.view(scope).versions("tulip")) == ["1"]


def test_a_pool_that_is_withdrawn_has_no_address(directory: ModelDirectory) -> None:
    directory.withdraw_pool("default", "other")
    assert directory.view("default/pool").is_ready
    directory.withdraw_pool("default", "pool")
    with pytest.raises(ModelNotFound, match="unknown service 'default/pool'"):
        directory.find_in("default/pool", "rose")
    assert directory.view("host:pool-default.example.com") is directory


def test_a_pool_loads_and_unloads_its_own_models(
    directory: ModelDirectory, own: FakeCatalog
) -> None:
    view = directory.view("default/pool")
    asyncio.run(view.unload("rose"))
    assert not own.find("rose").is_ready
    asyncio.run(view.load("rose"))
    assert own.find("rose").is_ready
    for change in (view.load, view.unload):
        with pytest.raises(ModelNotFound):
            asyncio.run(change("tulip"))
    own.is_draining = True
    assert (view.is_draining, view.is_ready) == (True, False)
