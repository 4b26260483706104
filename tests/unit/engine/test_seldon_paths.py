"""What Seldon's paths mean: deployments, parts of graphs, the only thing that is served."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fakes import FakeCatalog, FakeModel

from salver.engine.directory import ModelDirectory, ServiceEntry
from salver.engine.seldon_component import ComponentModel, SeldonPart
from salver.errors import ModelNotFound, Unsupported


def directory(*entries: ServiceEntry, own: tuple[str, ...] = ()) -> ModelDirectory:
    made = ModelDirectory(FakeCatalog(*(FakeModel(name) for name in own)))
    for each in entries:
        made.expose(each)
    return made


def service(name: str, namespace: str = "default", **more: Any) -> ServiceEntry:
    hosts = (f"{name}.example.com",)
    return ServiceEntry(namespace, name, FakeModel(f"{name}-1"), hosts=hosts, **more)


def graph(name: str = "graph") -> ServiceEntry:
    nodes = {"one": SeldonPart(FakeModel("unit")), "mean": SeldonPart(FakeModel("steps"), "mean")}
    return service(name, is_graph=True, nodes=nodes)


def test_a_path_names_a_service_with_or_without_its_namespace() -> None:
    here, there = service("iris"), service("wine", "other")
    found = directory(here, there)
    assert found.find_seldon("seldon:default/iris") is here.entry
    assert found.find_seldon("seldon:iris") is here.entry
    assert found.find_seldon("seldon:other/wine") is there.entry
    assert found.find_seldon("host:wine.example.com") is there.entry
    with pytest.raises(ModelNotFound, match="there is no 'default/wine' here: ask /seldon/default"):
        found.find_seldon("seldon:default/wine")


def test_a_model_of_the_command_line_is_in_the_default_namespace() -> None:
    found = directory(own=("iris", "wine"))
    assert found.find_seldon("seldon:default/iris").name == "iris"
    assert found.find_seldon("seldon:wine").name == "wine"
    for scope in ("seldon:other/iris", "seldon:default/beer"):
        with pytest.raises(ModelNotFound, match="/seldon/default/iris/"):
            found.find_seldon(scope)


def test_no_path_means_the_only_graph_or_the_only_thing_served() -> None:
    only, iris = graph(), service("iris")
    assert directory(only, iris, own=("wine",)).find_seldon("") is only.entry
    assert directory(iris).find_seldon("") is iris.entry
    assert directory(own=("wine",)).find_seldon("host:anything").name == "wine"
    for several in (directory(iris, own=("wine",)), directory(graph("a"), graph("b"))):
        with pytest.raises(ModelNotFound, match="does not say which deployment is asked: ask /s"):
            several.find_seldon("")
    with pytest.raises(ModelNotFound, match="nothing is served yet"):
        directory().find_seldon("")


def test_parts_of_a_graph_are_found_by_name() -> None:
    only = graph()
    found = directory(only)
    assert found.find_seldon("", "one") is only.nodes["one"].model
    assert isinstance(found.find_seldon("", "mean", "aggregate"), ComponentModel)
    assert set(found.seldon_parts("seldon:graph")) == {"one", "mean"}
    assert found.find_in("seldon:default/graph", "one") is only.nodes["one"].model
    with pytest.raises(ModelNotFound, match="no part 'two': it has mean, one"):
        found.find_seldon("", "two")
    with pytest.raises(Unsupported, match="is a model and has no method route"):
        found.find_seldon("", "one", "route")
    with pytest.raises(ModelNotFound, match="'iris' is one model and has no part 'x'"):
        directory(own=("iris",)).find_seldon("", "x")


def test_a_prefix_narrows_what_is_seen() -> None:
    iris = service("iris")
    found = directory(iris, own=("wine",))
    assert [status.name for status in found.view("seldon:default/iris").statuses()] == ["iris"]
    assert found.view("seldon:default/wine") is found
    with pytest.raises(ModelNotFound):
        found.view("seldon:default/none")
