import pytest

from salver.cli.resource_names import (
    collection_path,
    find_type,
    object_path,
    read_service,
    read_targets,
)
from salver.errors import CommandFailed


@pytest.mark.parametrize(
    "word",
    [
        *("isvc", "inferenceservice", "inferenceservices", "InferenceService"),
        *("inferenceservices.serving.kserve.io", "isvc.v1beta1.serving.kserve.io"),
        "inferenceservices.serving.kubeflow.org",
    ],
)
def test_a_type_has_many_names(word: str) -> None:
    assert find_type(word).kind == "InferenceService"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("inferenceservce", "did you mean inferenceservice?"),
        ("pod.apps", "did you mean pod?"),
        ("xyzzy", "there are inferenceservices, "),
    ],
)
def test_an_unknown_one_names_what_there_is(word: str, hint: str) -> None:
    with pytest.raises(CommandFailed, match="there is no resource type") as caught:
        find_type(word)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["isvc"], [("InferenceService", "")]),
        (["isvc", "a", "b"], [("InferenceService", "a"), ("InferenceService", "b")]),
        (["isvc/a", "tm/b"], [("InferenceService", "a"), ("TrainedModel", "b")]),
        (["isvc,tm", "a"], [("InferenceService", "a"), ("TrainedModel", "a")]),
        (
            ["all"],
            [
                ("InferenceService", ""),
                ("InferenceGraph", ""),
                ("SeldonDeployment", ""),
                ("Model", ""),
                ("Pipeline", ""),
                ("Experiment", ""),
                ("Graph", ""),
                ("Pod", ""),
            ],
        ),
    ],
)
def test_words_name_resources(words: list[str], named: list[tuple[str, str]]) -> None:
    assert [(target.type.kind, target.name) for target in read_targets(words)] == named


@pytest.mark.parametrize("words", [[], ["isvc/"], ["/a"], ["isvc/a/b"], ["isvc/a", "b"]])
def test_other_words_are_refused(words: list[str]) -> None:
    with pytest.raises(CommandFailed):
        read_targets(words)


def test_a_name_alone_is_a_service() -> None:
    assert read_service(["iris"]) == read_service(["isvc/iris"]) == read_service(["isvc", "iris"])
    with pytest.raises(CommandFailed, match="give one resource, as NAME or TYPE/NAME"):
        read_service(["isvc", "a", "b"])


def test_paths_are_those_of_the_kubernetes_api() -> None:
    isvc, node = find_type("isvc"), find_type("clusterservingruntimes")
    assert collection_path(isvc, "") == "/apis/serving.kserve.io/v1beta1/inferenceservices"
    assert object_path(isvc, "a", "b/c", "scale") == (
        "/apis/serving.kserve.io/v1beta1/namespaces/a/inferenceservices/b%2Fc/scale"
    )
    assert object_path(node, "a", "b") == (
        "/apis/serving.kserve.io/v1alpha1/clusterservingruntimes/b"
    )
    assert collection_path(find_type("po"), "a") == "/api/v1/namespaces/a/pods"
