"""The services that are declared, on the start page."""

from __future__ import annotations

from typing import Any

from salver.server.rest.services import service_row, service_summary, service_table


def service(name: str, status: str, message: str = "", **more: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": status, "message": message}]
    status_of = {"conditions": conditions, **more}
    return {"metadata": {"name": name, "namespace": "shop"}, "status": status_of}


ROWS = [
    service_row(service("iris", "True", url="http://here/serving/shop/iris")),
    service_row(service("fraud", "False", "no <weights>\nat all")),
    service_row({"metadata": {"name": "new"}}),
]


def test_a_row_has_an_address_or_what_it_waits_for() -> None:
    assert [(row.is_ready, row.why) for row in ROWS] == [
        (True, ""),
        (False, "no <weights> at all"),
        (False, "waiting for the control loop"),
    ]
    assert ROWS[0].url == "http://here/serving/shop/iris"


def test_what_a_service_says_is_never_markup() -> None:
    table = service_table(ROWS)
    assert "no &lt;weights&gt; at all" in table and "<weights>" not in table


def test_many_services_are_cut_short_and_none_are_nothing() -> None:
    assert service_table(ROWS * 50).count("<tr>") == 102
    assert (service_table([]), service_summary([])) == ("", "")
    assert service_summary(ROWS) == ", 1 of 3 services ready"
