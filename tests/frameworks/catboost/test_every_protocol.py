"""CatBoost over every protocol: its own answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.e2e.every_protocol import judge
from tests.e2e.question import Question
from tests.e2e.server import Server, serving

NAMES = ("texts", "value", "named", "people", "labels")
EXACT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(scope="module")
def server(zoo: Any) -> Iterator[Server]:
    with serving(*(str(zoo.folder / f"{name}.cbm") for name in NAMES)) as running:
        yield running


def question(zoo: Any, name: str) -> Question:
    rows, columns = np.nan_to_num(zoo.rows[:5]), ()
    given: dict[str, Any] = {"input-0": rows}
    if name == "named":
        columns = tuple("abcde")
    elif name == "people":
        people = zoo.people[:5].fillna(0.0)
        given = {each: people[each].to_numpy() for each in people}
        rows = people
    answer = zoo.models[name].predict(rows)
    if answer.ndim == 2 and answer.shape[1] == 1:
        answer = answer[:, 0]
    return Question(name, given, {"predict": answer}, columns, tolerance=EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_gives_catboosts_answer(server: Server, zoo: Any, name: str) -> None:
    assert judge(server.url, server.grpc, question(zoo, name))


def test_missing_values_are_missing_in_every_protocol(server: Server, zoo: Any) -> None:
    rows = zoo.rows[np.isnan(zoo.rows).any(axis=1)][:4]
    answer = zoo.models["value"].predict(rows)
    assert judge(server.url, server.grpc, Question("value", {"input-0": rows}, {"predict": answer}))
