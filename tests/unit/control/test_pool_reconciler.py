"""The control loop of pooled models on a store in memory and a pool that only remembers."""

from __future__ import annotations

from collections.abc import Iterator, Set
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.compiling import ObjectCompiler
from salver.control.pool_reconciler import PoolReconciler
from salver.control.resources import ObjectRef
from salver.graphs.pooled import PooledPlan
from salver.spec.kinds import KSERVE

NOW = "2026-01-02T03:04:05Z"


class FakePool:
    """Implements `Pool`."""

    def __init__(self) -> None:
        self.plans: dict[str, PooledPlan] = {}
        self.failures: dict[str, str] = {}
        self.exposed: dict[tuple[str, str], Set[str]] = {}
        self.registrations = 0

    def register(self, plan: PooledPlan) -> None:
        self.plans[plan.name] = plan
        self.registrations += 1

    def unregister(self, name: str) -> None:
        del self.plans[name]

    def failure(self, name: str) -> str:
        return self.failures.get(name, "")

    def expose(self, namespace: str, name: str, models: Set[str]) -> None:
        self.exposed[namespace, name] = models

    def withdraw(self, namespace: str, name: str) -> None:
        del self.exposed[namespace, name]


class World:
    """The store, the pool, and the loop between them."""

    def __init__(self) -> None:
        uids = count(1)
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.store = SqliteResourceStore(None, now=lambda: moment, new_uid=lambda: str(next(uids)))
        self.heard: list[tuple[str, str]] = []
        self.restart()

    def restart(self) -> None:
        self.pool = FakePool()
        self.loop = PoolReconciler(
            self.store,
            self.pool,
            ObjectCompiler(self.store),
            now=lambda: NOW,
            url_of=lambda namespace, name: f"http://here/{namespace}/{name}",
            on_service=lambda namespace, name: self.heard.append((namespace, name)),
        )
        self.loop.start()

    def put(
        self, plural: str, name: str, spec: Any, namespace: str = "default", **more: str
    ) -> None:
        kinds = {
            "inferenceservices": ("v1beta1", "InferenceService"),
            "trainedmodels": ("v1alpha1", "TrainedModel"),
            "predictors": ("v1alpha1", "Predictor"),
        }
        version, kind = kinds[plural]
        obj = {
            "apiVersion": f"{KSERVE}/{version}",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "annotations": more},
            "spec": spec,
        }
        ref = ObjectRef(KSERVE, plural, namespace, name)
        there = {each["metadata"]["name"] for each in self.store.list(KSERVE, plural, namespace)[0]}
        (self.store.update if name in there else self.store.create)(ref, obj)

    def delete(self, plural: str, name: str) -> None:
        self.store.delete(ObjectRef(KSERVE, plural, "default", name))

    def status(self, plural: str, name: str, namespace: str = "default") -> Any:
        return self.store.get(ObjectRef(KSERVE, plural, namespace, name)).get("status", {})

    def problem(self, plural: str, name: str, namespace: str = "default") -> str:
        """The reason why it is not ready; empty if it is."""
        conditions = {c["type"]: c for c in self.status(plural, name, namespace)["conditions"]}
        return str(conditions["Ready"].get("reason", ""))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.close()
    made.store.close()


POOL = {"predictor": {"model": {"modelFormat": {"name": "sklearn"}}}}
OWN = {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "gs://b/m"}}}
MESH = "serving.kserve.io/deploymentMode"


def trained(uri: str = "gs://b/x", service: str = "pool", framework: str = "sklearn") -> Any:
    model = {"storageUri": uri, "framework": framework, "memory": "1Mi"}
    return {"inferenceService": service, "model": model}


def test_a_trained_model_is_registered_once_its_service_is_there(world: World) -> None:
    world.put("trainedmodels", "rose", trained())
    assert world.problem("trainedmodels", "rose") == "InferenceServiceNotFound"
    world.put("inferenceservices", "pool", POOL)
    assert world.problem("trainedmodels", "rose") == ""
    assert world.pool.plans["rose"].runner.uri == "gs://b/x"
    assert world.pool.exposed["default", "pool"] == {"rose"}
    status = world.status("trainedmodels", "rose")
    assert status["url"] == "http://here/default/pool/v1/models/rose:predict"
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "FrameworkSupported": "True",
        "InferenceServiceReady": "True",
        "IsMMSPredictor": "True",
        "Ready": "True",
    }


def test_models_go_with_their_service_and_come_back_with_it(world: World) -> None:
    world.put("inferenceservices", "pool", POOL)
    world.put("trainedmodels", "rose", trained())
    world.delete("inferenceservices", "pool")
    assert (world.pool.plans, world.pool.exposed) == ({}, {})
    assert world.problem("trainedmodels", "rose") == "InferenceServiceNotFound"
    world.put("inferenceservices", "pool", OWN)
    world.put("trainedmodels", "rose", trained("gs://b/y"))
    assert world.problem("trainedmodels", "rose") == "NotMultiModel"
    world.put("inferenceservices", "pool", POOL)
    assert set(world.pool.plans) == {"rose"}


def test_a_deleted_model_is_unregistered(world: World) -> None:
    world.put("inferenceservices", "pool", POOL)
    world.put("trainedmodels", "rose", trained())
    world.delete("trainedmodels", "rose")
    assert world.pool.plans == {}
    assert world.pool.exposed["default", "pool"] == set()


def test_a_new_source_is_registered_and_a_mistake_takes_nothing_away(world: World) -> None:
    world.put("inferenceservices", "pool", POOL)
    world.put("trainedmodels", "rose", trained())
    world.put("trainedmodels", "rose", trained("gs://b/y"))
    assert world.pool.plans["rose"].runner.uri == "gs://b/y"
    world.put("trainedmodels", "rose", trained(framework="cobol"))
    assert world.problem("trainedmodels", "rose") == "NoSupportingRuntime"
    assert world.pool.plans["rose"].runner.uri == "gs://b/y"


def test_a_name_belongs_to_whoever_had_it_first(world: World) -> None:
    spec = {"modelType": {"name": "sklearn"}, "path": "/m"}
    world.put("predictors", "rose", spec)
    world.put("predictors", "rose", spec, namespace="other")
    assert world.problem("predictors", "rose") == ""
    assert world.problem("predictors", "rose", "other") == "NameTaken"
    assert world.pool.plans["rose"].namespace == "default"


def test_a_failed_load_shows_and_goes_when_it_is_better(world: World) -> None:
    world.put("predictors", "rose", {"modelType": {"name": "sklearn"}, "path": "/m"})
    assert world.status("predictors", "rose")["httpEndpoint"] == "http://here//rose"
    world.pool.failures["rose"] = "it is no model"
    world.loop.look()
    status = world.status("predictors", "rose")
    assert (status["available"], status["activeModelState"]) == (False, "FailedToLoad")
    assert status["lastFailureInfo"] == {"reason": "ModelLoadFailed", "message": "it is no model"}
    world.pool.failures.clear()
    world.loop.look()
    assert world.status("predictors", "rose")["available"] is True
    assert world.pool.registrations == 1


def test_a_service_in_modelmesh_s_mode_is_its_own_model(world: World) -> None:
    world.put("inferenceservices", "iris", OWN, **{MESH: "ModelMesh"})
    assert world.pool.plans["iris"].runner.uri == "gs://b/m"
    assert world.pool.exposed["default", "iris"] == {"iris"}
    assert world.loop.problem("default", "iris") is None
    world.pool.failures["iris"] = "it is no model"
    world.loop.look()
    assert world.loop.problem("default", "iris") == ("ModelLoadFailed", "it is no model")
    assert world.heard == [("default", "iris")]
    world.put("inferenceservices", "iris", OWN)
    assert (world.pool.plans, world.pool.exposed) == ({}, {})
    assert world.loop.problem("default", "iris") is None


def test_a_status_of_a_service_changes_nothing(world: World) -> None:
    world.put("inferenceservices", "iris", OWN, **{MESH: "ModelMesh"})
    ref = ObjectRef(KSERVE, "inferenceservices", "default", "iris")
    world.store.update_status(ref, {**world.store.get(ref), "status": {"url": "x"}})
    assert world.pool.registrations == 1


def test_after_a_restart_all_are_registered_again(world: World) -> None:
    world.put("inferenceservices", "pool", POOL)
    world.put("trainedmodels", "rose", trained())
    world.loop.close()
    version = world.store.list(KSERVE, "trainedmodels")[1]
    world.restart()
    assert set(world.pool.plans) == {"rose"}
    assert world.pool.exposed["default", "pool"] == {"rose"}
    assert world.store.list(KSERVE, "trainedmodels")[1] == version
