"""Which model answers to which address: by name, by path, by host, beside the server's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.fakes import FakeCatalog, FakeModel

from salver.engine.directory import LOCAL_HOST, ModelDirectory, ServiceEntry
from salver.errors import ModelNotFound, Unsupported


def entry(name: str, namespace: str = "default", **more: Any) -> ServiceEntry:
    """A service whose predictor has an address of its own."""
    model = FakeModel(f"{name}-{namespace}", "3")
    return ServiceEntry(
        namespace,
        name,
        more.pop("entry", model),
        components={f"{name}-predictor": model},
        hosts=(f"{name}-{namespace}.example.com",),
        **more,
    )


def directory(*entries: ServiceEntry, own: FakeCatalog | None = None) -> ModelDirectory:
    made = ModelDirectory(own or FakeCatalog(FakeModel("wine")))
    for each in entries:
        made.expose(each)
    return made


def test_services_and_the_servers_own_models_answer_by_name() -> None:
    iris = entry("iris")
    found = directory(iris)
    assert found.find("iris") is iris.entry
    assert found.find("iris", "3") is iris.entry
    assert found.find("wine").name == "wine"
    assert (list(found.versions("iris")), list(found.versions("wine"))) == (["3"], ["1"])


def test_a_service_hides_a_model_of_the_servers_own() -> None:
    wine = entry("wine")
    assert directory(wine).find("wine") is wine.entry


def test_what_is_unknown_names_what_there_is() -> None:
    with pytest.raises(ModelNotFound, match="unknown model 'x': this server has iris, wine"):
        directory(entry("iris")).find("x")
    with pytest.raises(ModelNotFound, match="there is no model 'x'"):
        directory().find("x")
    many = directory(*(entry(f"s{number:02d}") for number in range(11)))
    with pytest.raises(ModelNotFound, match=r"s00, .*, s09, \.\.\."):
        many.find("x")


def test_a_version_that_a_service_does_not_have_is_not_found() -> None:
    found = directory(entry("iris"))
    for ask in (
        lambda: found.find("iris", "2"),
        lambda: found.find_in("default/iris", "iris", "2"),
    ):
        with pytest.raises(ModelNotFound, match="has no version '2': it has 3"):
            ask()


def test_a_name_means_the_service_of_the_default_namespace_first() -> None:
    here, there = entry("iris"), entry("iris", "team-a")
    for order in ((here, there), (there, here)):
        assert directory(*order).find("iris") is here.entry
    assert directory(there).find("iris") is there.entry


@pytest.mark.parametrize("scope", ["team-a/iris", f"{LOCAL_HOST}iris-team-a.example.com"])
def test_path_and_host_mean_one_service(scope: str) -> None:
    here, there = entry("iris"), entry("iris", "team-a")
    found = directory(here, there)
    assert found.find_in(scope, "iris") is there.entry
    assert found.find_in(scope, "") is there.entry
    assert found.find_in(scope, "iris", "3") is there.entry
    with pytest.raises(ModelNotFound, match="has no model 'wine': it has 'iris'"):
        found.find_in(scope, "wine")


def test_a_component_has_an_address_of_its_own_also_with_a_version() -> None:
    around = FakeModel("around", "7")
    iris = entry("iris", entry=around)
    found = directory(iris)
    predictor = iris.components["iris-predictor"]
    assert found.find_in("default/iris", "iris") is around
    assert found.find_in("default/iris-predictor", "iris") is predictor
    assert found.find_in("default/iris-predictor", "iris", "3") is predictor
    with pytest.raises(ModelNotFound, match="it has 3"):
        found.find_in("default/iris-predictor", "iris", "7")


def test_a_tagged_revision_has_a_host_of_its_own() -> None:
    newest = FakeModel("newest", "4")
    found = directory(entry("iris", tagged={"latest-iris.example.com": newest}))
    assert found.find_in(f"{LOCAL_HOST}latest-iris.example.com", "iris") is newest


def test_a_host_of_nobodys_is_the_server_itself_and_a_path_of_nobodys_is_nothing() -> None:
    found = directory(entry("iris"))
    assert found.find_in(f"{LOCAL_HOST}localhost", "wine").name == "wine"
    assert found.view(f"{LOCAL_HOST}localhost") is found
    for ask in (found.find_in, lambda scope, _: found.view(scope)):
        with pytest.raises(ModelNotFound, match="unknown service 'default/x'"):
            ask("default/x", "iris")


def test_a_service_that_is_withdrawn_answers_no_more() -> None:
    found = directory(entry("iris"), entry("iris", "team-a"))
    assert found.service("default", "iris") is not None
    found.withdraw("default", "iris")
    found.withdraw("default", "never-there")
    assert found.service("default", "iris") is None
    assert found.find("iris").name == "iris-team-a"
    with pytest.raises(ModelNotFound):
        found.find_in("default/iris", "iris")


def test_an_exposed_service_is_replaced_whole() -> None:
    found = directory(entry("iris", explainer=FakeModel("why")))
    newer = entry("iris")
    found.expose(newer)
    assert found.find("iris") is newer.entry
    with pytest.raises(Unsupported):
        found.find_explainer("", "iris")


def test_the_explainer_is_asked_by_name_path_or_host() -> None:
    why = FakeModel("why")
    found = directory(entry("iris", explainer=why), entry("plain"))
    for scope in ("", "default/iris", f"{LOCAL_HOST}iris-default.example.com"):
        assert found.find_explainer(scope, "iris") is why
    with pytest.raises(ModelNotFound, match="has no model 'other'"):
        found.find_explainer("default/iris", "other")
    for name in ("plain", "wine"):
        with pytest.raises(Unsupported, match=f"model '{name}' has no explainer"):
            found.find_explainer("", name)
    with pytest.raises(ModelNotFound):
        found.find_explainer("", "nobody")


def test_what_answers_any_path_is_found_by_path_host_and_component() -> None:
    whole, part, tagged = object(), object(), object()
    found = directory(
        entry(
            "any",
            forward=whole,
            forwards={"any-predictor": part, "latest-any.example.com": tagged},
            tagged={"latest-any.example.com": FakeModel("newest")},
            is_opaque=True,
        )
    )
    assert found.forwarder("default/any") is whole
    assert found.forwarder(f"{LOCAL_HOST}any-default.example.com") is whole
    assert found.forwarder("default/any-predictor") is part
    assert found.forwarder(f"{LOCAL_HOST}latest-any.example.com") is tagged
    assert found.forwarder("default/other") is None
    with pytest.raises(ModelNotFound, match="speaks a protocol of its own"):
        found.find_in("default/any", "any")


def test_statuses_are_by_the_services_names_then_the_servers_own() -> None:
    names = [status.name for status in directory(entry("b"), entry("a")).statuses()]
    assert names == ["a", "b", "wine"]


def test_the_server_is_ready_when_all_that_is_exposed_is() -> None:
    iris = entry("iris")
    found = directory(iris)
    assert found.is_ready
    iris.entry.state = "LOADING"
    assert not found.is_ready


def test_services_are_not_loaded_and_unloaded_by_the_repository_api() -> None:
    own = FakeCatalog(FakeModel("wine"))
    found = directory(entry("iris"), own=own)
    with pytest.raises(Unsupported, match="is an InferenceService: change its manifest"):
        asyncio.run(found.load("iris"))
    with pytest.raises(Unsupported, match="is an InferenceService: delete it"):
        asyncio.run(found.unload("iris"))
    asyncio.run(found.unload("wine"))
    assert not own.find("wine").is_ready
    asyncio.run(found.load("wine"))
    assert own.find("wine").is_ready


# The view of one service.


def test_a_view_shows_one_service_and_nothing_else() -> None:
    own = FakeCatalog(FakeModel("wine"))
    iris = entry("iris", "team-a")
    view = directory(iris, own=own).view("team-a/iris")
    assert view.find("iris") is view.find("iris", "3") is iris.entry
    assert list(view.versions("iris")) == ["3"]
    assert [status.name for status in view.statuses()] == ["iris"]
    assert view.is_ready
    with pytest.raises(ModelNotFound, match="'team-a/iris' has no model 'wine'"):
        view.find("wine")
    with pytest.raises(ModelNotFound, match="has no model 'iris' version '2'"):
        view.find("iris", "2")
    own.is_draining = True
    assert view.is_draining
    assert not view.is_ready


def test_a_view_loads_and_unloads_as_the_directory_does() -> None:
    view = directory(entry("iris")).view("default/iris")
    with pytest.raises(Unsupported):
        asyncio.run(view.load("iris"))
    with pytest.raises(Unsupported):
        asyncio.run(view.unload("iris"))


def test_a_path_that_names_no_service_finds_no_explainer_of_another() -> None:
    found = directory(entry("iris", explainer=FakeModel("why")))
    with pytest.raises(ModelNotFound, match="unknown service 'prod/iris'"):
        found.find_explainer("prod/iris", "iris")


def test_an_address_that_two_claim_goes_to_the_other_when_one_leaves() -> None:
    there, here = entry("iris", "team"), entry("iris")
    found = directory(there, here)
    assert found.find("iris") is here.entry
    # A service that is called like another's component.
    other = entry("iris-predictor")
    found.expose(other)
    assert found.find_in("default/iris-predictor", "") is other.entry
    found.withdraw("default", "iris-predictor")
    assert found.find_in("default/iris-predictor", "") is here.components["iris-predictor"]
    found.withdraw("default", "iris")
    assert found.find("iris") is there.entry
    found.withdraw("team", "iris")
    with pytest.raises(ModelNotFound):
        found.find("iris")
    found.withdraw("team", "iris")


def test_a_replaced_service_leaves_no_old_address() -> None:
    found = directory(entry("iris", tagged={"old.example.com": FakeModel("old")}))
    found.expose(entry("iris"))
    assert found.find_in(f"{LOCAL_HOST}old.example.com", "wine").name == "wine"


def test_other_names_of_a_service_mean_it_at_its_own_address_only() -> None:
    found = directory(entry("iris", also_called=frozenset({"flowers"})))
    assert found.find_in("default/iris", "flowers").name == "iris-default"
    assert found.find_in(f"{LOCAL_HOST}iris-default.example.com", "flowers").name == "iris-default"
    assert found.find_seldon("seldon:default/iris", "flowers").name == "iris-default"
    assert found.view("default/iris").find("flowers").name == "iris-default"
    with pytest.raises(ModelNotFound, match="unknown model 'flowers'"):
        found.find("flowers")
    with pytest.raises(ModelNotFound, match="has no model 'roses'"):
        found.find_in("default/iris", "roses")
