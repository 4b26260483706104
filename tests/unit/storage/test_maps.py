import pytest

from salver.errors import StorageError
from salver.storage.maps import mapped_uri, parse_maps

MAPS = (
    ("gs://kfserving-examples", "./models"),
    ("gs://kfserving-examples/models/xgboost", "s3://mine/xgb"),
    ("s3://", "http://127.0.0.1:9000/"),
    ("pvc://claim", "/data"),
    ("https://example.com/", "/site/"),
)


@pytest.mark.parametrize(
    ("uri", "mapped"),
    [
        ("gs://kfserving-examples/models/sklearn", "./models/models/sklearn"),
        ("gs://kfserving-examples", "./models"),
        ("gs://kfserving-examples-2/models", "gs://kfserving-examples-2/models"),
        ("gs://kfserving-examples/models/xgboost/iris", "http://127.0.0.1:9000/mine/xgb/iris"),
        ("s3://bucket/a", "http://127.0.0.1:9000/bucket/a"),
        ("pvc://claim/a", "/data/a"),
        ("pvc://claim2/a", "pvc://claim2/a"),
        ("https://example.com/a.bst#sha256=0", "/site/a.bst#sha256=0"),
        ("pvc://claim#sha256=0", "/data#sha256=0"),
        ("/data/model", "/data/model"),
    ],
)
def test_the_longest_prefix_wins_and_ends_at_a_slash(uri: str, mapped: str) -> None:
    assert mapped_uri(uri, MAPS) == mapped


def test_the_order_of_maps_does_not_matter() -> None:
    uri = "gs://kfserving-examples/models/xgboost"
    assert mapped_uri(uri, MAPS) == mapped_uri(uri, MAPS[::-1])


def test_maps_in_a_circle_are_an_error() -> None:
    with pytest.raises(StorageError, match="in a circle"):
        mapped_uri("a://x", (("a://x", "b://x"), ("b://x", "a://x")))


def test_a_map_to_itself_is_harmless() -> None:
    assert mapped_uri("a://x/y", (("a://x", "a://x"),)) == "a://x/y"


def test_maps_are_read_from_words() -> None:
    assert parse_maps(["gs://a=./b", "s3://=http://h/?x=1"]) == (
        ("gs://a", "./b"),
        ("s3://", "http://h/?x=1"),
    )


@pytest.mark.parametrize("word", ["gs://a", "=x", "gs://a="])
def test_a_map_without_both_sides_is_an_error(word: str) -> None:
    with pytest.raises(StorageError, match="give it as PREFIX=TARGET"):
        parse_maps([word])
