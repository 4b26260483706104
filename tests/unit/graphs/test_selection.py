"""Which runtime serves a model: KServe's rules, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from salver.graphs.builtin_runtimes import builtin_runtimes, known_server
from salver.graphs.selection import PlanError, Runtime, Wanted, select_runtime
from salver.spec.kserve import ClusterServingRuntime, ModelFormat, ServingRuntime
from salver.spec.kserve_runtimes import ServingRuntimeSpec, SupportedModelFormat
from salver.spec.metadata import ObjectMeta


def formats(*names: str) -> tuple[SupportedModelFormat, ...]:
    """`name`, `name:version`, each with `!priority`; with `-` before it, not selected by itself."""
    found = []
    for text in names:
        name, _, priority = text.removeprefix("-").partition("!")
        name, _, version = name.partition(":")
        found.append(
            SupportedModelFormat(
                name, version or None, not text.startswith("-"), int(priority) if priority else None
            )
        )
    return tuple(found)


def cluster(name: str, *names: str, created: str = "", **spec: Any) -> ClusterServingRuntime:
    metadata = ObjectMeta(name=name, creation_timestamp=created or None)
    return ClusterServingRuntime(
        metadata, ServingRuntimeSpec(supported_model_formats=formats(*names), **spec)
    )


def local(name: str, *names: str, namespace: str = "", **spec: Any) -> ServingRuntime:
    metadata = ObjectMeta(name=name, namespace=namespace)
    return ServingRuntime(
        metadata, ServingRuntimeSpec(supported_model_formats=formats(*names), **spec)
    )


def wanted(text: str, **more: Any) -> Wanted:
    name, _, version = text.partition(":")
    return Wanted(ModelFormat(name, version or None), **more)


def chosen(want: Wanted, *runtimes: Runtime) -> str:
    return select_runtime(want, runtimes).metadata.name


def refusal(want: Wanted, *runtimes: Runtime) -> tuple[str, str]:
    with pytest.raises(PlanError) as caught:
        select_runtime(want, runtimes)
    return caught.value.reason, str(caught.value)


def test_the_highest_priority_for_the_format_wins() -> None:
    runtimes = (cluster("a", "sk:1!1", "xgb!9"), cluster("b", "sk:1!2"), cluster("c", "sk:1"))
    assert chosen(wanted("sk"), *runtimes) == "b"


def test_of_equal_priorities_the_newest_wins_then_the_first_by_name() -> None:
    old = cluster("a", "sk", created="2026-01-01T00:00:00Z")
    new = cluster("z", "sk", created="2026-02-01T00:00:00Z")
    assert chosen(wanted("sk"), old, new) == "z"
    assert chosen(wanted("sk"), cluster("b", "sk"), cluster("a", "sk")) == "a"


def test_a_runtime_of_the_namespace_comes_before_the_clusters() -> None:
    assert chosen(wanted("sk"), cluster("a", "sk!9"), local("b", "sk")) == "b"
    there = local("b", "sk", namespace="there")
    assert chosen(wanted("sk"), cluster("a", "sk"), there) == "a"
    assert chosen(wanted("sk", namespace="there"), cluster("a", "sk"), there) == "b"


def test_a_version_that_is_asked_for_must_be_supported() -> None:
    runtimes = (cluster("zero", "sk:0"), cluster("one", "sk:1"))
    assert chosen(wanted("sk:1"), *runtimes) == "one"
    reason, text = refusal(wanted("sk:2"), *runtimes)
    assert reason == "NoSupportingRuntime"
    assert "'sk' version 2" in text
    assert "zero has sk:0 over v1; one has sk:1 over v1" in text


@pytest.mark.parametrize(
    "runtime",
    [
        cluster("x", "-sk"),
        cluster("x", "sk", disabled=True),
        cluster("x", "sk", multi_model=True),
        cluster("x", "sk", protocol_versions=("v2",)),
    ],
    ids=["not selected by itself", "disabled", "for many models", "of another protocol"],
)
def test_what_may_not_be_chosen_is_not(runtime: ClusterServingRuntime) -> None:
    assert refusal(wanted("sk"), runtime)[0] == "NoSupportingRuntime"
    assert chosen(wanted("sk"), runtime, cluster("other", "sk")) == "other"


def test_an_unknown_format_names_the_known_ones() -> None:
    _, text = refusal(wanted("sklearns"), cluster("a", "sk:1"), cluster("b", "onnx"))
    assert "known formats are onnx, sk" in text
    assert "known formats are none" in refusal(wanted("sk"))[1]


def test_a_runtime_by_name_needs_no_auto_select() -> None:
    runtimes = (cluster("a", "-sk:1"), cluster("b", "sk:1"))
    assert chosen(wanted("sk", runtime="a"), *runtimes) == "a"


def test_a_name_in_the_namespace_hides_the_clusters() -> None:
    own = local("a", "sk")
    assert select_runtime(wanted("sk", runtime="a"), (cluster("a", "sk"), own)) is own


@pytest.mark.parametrize(
    ("want", "reason", "words"),
    [
        (wanted("sk", runtime="none"), "RuntimeNotRecognized", "no runtime 'none' (there are off"),
        (wanted("sk", runtime="off"), "RuntimeDisabled", "'off' is disabled"),
        (wanted("tf", runtime="on"), "NoSupportingRuntime", "it supports sk:1"),
        (wanted("sk:2", runtime="on"), "NoSupportingRuntime", "'sk' version 2"),
        (
            wanted("sk", runtime="on", protocol="grpc-v2"),
            "NoSupportingRuntime",
            "does not speak protocol grpc-v2: it speaks v2",
        ),
    ],
)
def test_a_named_runtime_that_will_not_do_says_why(want: Wanted, reason: str, words: str) -> None:
    runtimes = (
        cluster("on", "sk:1", protocol_versions=("v2",)),
        cluster("off", "sk", disabled=True),
    )
    found = refusal(want, *runtimes)
    assert found[0] == reason
    assert words in found[1]


@pytest.mark.parametrize(
    ("text", "protocol", "name"),
    [
        ("sklearn", "v1", "kserve-sklearnserver"),
        ("sklearn", "v2", "kserve-mlserver"),
        ("sklearn:0", "v2", "kserve-mlserver"),
        ("xgboost", "v1", "kserve-xgbserver"),
        ("lightgbm", "v1", "kserve-lgbserver"),
        ("onnx", "v2", "kserve-tritonserver"),
        ("onnx", "v1", "salver"),
        ("python", "v1", "salver"),
        ("sklearn", "grpc-v2", "salver"),
    ],
)
def test_the_built_in_runtimes_are_chosen_as_on_a_cluster(
    text: str, protocol: Any, name: str
) -> None:
    assert chosen(wanted(text, protocol=protocol), *builtin_runtimes()) == name


@pytest.mark.parametrize(
    ("image", "served"),
    [
        ("kserve/sklearnserver:v0.15", "sklearn"),
        ("docker.io/seldonio/mlserver@sha256:00", ""),
        ("nvcr.io/nvidia/tritonserver:23.05-py3", ""),
        ("example.com/mine:1", None),
    ],
)
def test_images_of_known_servers_are_known(image: str, served: str | None) -> None:
    assert known_server(image) == served
