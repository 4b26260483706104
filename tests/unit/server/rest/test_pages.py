"""The pages: what they show, and that nothing in them is taken for markup."""

from __future__ import annotations

import re

import pytest
from tests.asgi import ask
from tests.fakes import FakeCatalog, FakeModel

from salver.inference.metadata import ModelMetadata, TensorMetadata

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def start(*models: FakeModel) -> str:
    answer = ask(FakeCatalog(*models), "GET", "/", headers=BROWSER)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return answer.text


def test_the_start_page_shows_models_their_state_and_a_curl_line() -> None:
    page = start(FakeModel("iris"), FakeModel("bad", state="UNAVAILABLE", reason="out of memory"))
    assert page.count('<article class="card"') == 2
    assert "1 of 2 models ready" in page
    assert "out of memory" in page
    assert "curl http://host:8080/v2/models/iris/infer -d" in page
    assert "/v2/models/bad/infer" not in page


def test_the_start_page_of_an_empty_server_says_so() -> None:
    assert "No models yet." in start()


def test_a_draining_server_says_so_on_its_page() -> None:
    models = FakeCatalog(FakeModel("iris"))
    models.is_draining = True
    assert "the server is shutting down" in ask(models, "GET", "/", headers=BROWSER).text


def test_what_a_model_says_is_never_markup() -> None:
    evil = "<script>alert(1)</script>"
    tensor = TensorMetadata(evil, "FP32", (-1,), content_type=evil)
    metadata = ModelMetadata(evil, (tensor,), (tensor,), column_names=(evil,))
    page = start(
        FakeModel(evil, metadata=metadata), FakeModel("b", state="UNAVAILABLE", reason=evil)
    )
    assert page.count("&lt;script&gt;") >= 6
    assert evil not in page


def test_a_host_header_is_never_markup() -> None:
    headers = {**BROWSER, "Host": 'a"><script>x</script>'}
    page = ask(FakeCatalog(FakeModel("iris")), "GET", "/", headers=headers).text
    assert "<script>x" not in page


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_asks_no_other_host_and_leaves_no_placeholder(path: str) -> None:
    answer = ask(FakeCatalog(FakeModel("iris")), "GET", path, headers=BROWSER)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r"\{\{\w+\}\}", answer.text)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", answer.text)


def test_many_tensors_and_columns_are_cut_short() -> None:
    tensors = tuple(TensorMetadata(f"t{i}", "FP32", (-1,)) for i in range(30))
    columns = tuple(f"c{i}" for i in range(100))
    page = start(FakeModel("wide", metadata=ModelMetadata("x", tensors, (), column_names=columns)))
    assert "and 18 more" in page
    assert "and 60 more" in page
