"""predict, top and completion."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.admin_api import AdminApi
from tests.unit.cli.conftest import Run
from tests.unit.cli.objects import service

from salver.cli import samples
from salver.cli.completion import bash_script, fish_script, zsh_script
from salver.cli.data_tables import answer_rows, plan_columns, read_csv, requests_of
from salver.cli.samples import Scrape
from salver.cli.top import graph_lines, model_lines, process_lines
from salver.errors import CommandFailed

Golden = Callable[[str, str], None]

MATRIX = {
    "name": "iris",
    "inputs": [{"name": "input-0", "datatype": "FP64", "shape": [-1, 2]}],
    "parameters": {"column_names": ["length", "width"]},
}
MIXED = {
    "name": "churn",
    "inputs": [{"name": "input-0", "datatype": "BYTES", "shape": [-1, 2]}],
    "parameters": {"column_names": ["age", "city"], "column_datatypes": ["INT64", "BYTES"]},
}
NAMED = {
    "name": "net",
    "inputs": [
        {"name": "a", "datatype": "FP32", "shape": [-1]},
        {"name": "b", "datatype": "BOOL", "shape": [-1, 1]},
    ],
}


def v2(text: str, metadata: dict[str, Any], rows_each: int = 1000) -> list[Any]:
    table = read_csv(text, "rows.csv")
    return list(requests_of(table, plan_columns(table, metadata), rows_each))


def test_columns_go_where_their_names_say() -> None:
    (request,) = v2("width,kind,length\n1,x,2\n3,y,4\n", MATRIX)
    assert request["inputs"] == [
        {"name": "input-0", "shape": [2, 2], "datatype": "FP64", "data": [2.0, 1.0, 4.0, 3.0]}
    ]


def test_without_a_header_columns_go_by_position() -> None:
    (request,) = v2("1;2\n3;4\n", MATRIX)
    assert request["inputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0]


def test_columns_of_several_types_become_an_input_each() -> None:
    (request,) = v2("city,age\nBonn,7\n", MIXED)
    assert request["inputs"] == [
        {"name": "age", "shape": [1, 1], "datatype": "INT64", "data": [7]},
        {"name": "city", "shape": [1, 1], "datatype": "BYTES", "data": ["Bonn"]},
    ]


def test_inputs_with_names_take_the_columns_of_those_names() -> None:
    (request,) = v2("b,a\nyes,1.5\n", NAMED)
    assert [(each["name"], each["shape"], each["data"]) for each in request["inputs"]] == [
        ("a", [1], [1.5]),
        ("b", [1, 1], [True]),
    ]


def test_many_rows_are_sent_in_parts() -> None:
    requests = v2("1,2\n" * 5, MATRIX, rows_each=2)
    assert [each["inputs"][0]["shape"] for each in requests] == [[2, 2], [2, 2], [1, 2]]


@pytest.mark.parametrize(
    ("text", "metadata", "message"),
    [
        ("", MATRIX, "rows.csv: has no rows"),
        ("a,b\n", MATRIX, "rows.csv: has a header and no rows"),
        ("length,width\n1\n", MATRIX, "rows.csv:2: has 1 cells and the first row 2"),
        (
            "length,widht\n1,2\n",
            MATRIX,
            "has no column 'width', which model 'iris' needs; is it 'w",
        ),
        ("1,2,3\n", MATRIX, "has 3 columns, and input 'input-0' of model 'iris' takes 2"),
        ("length,width\n1,x\n", MATRIX, "rows.csv:2: column 'width': 'x' is not a number"),
        ("age,city\n1.5,a\n", MIXED, "rows.csv:2: column 'age': '1.5' is not a whole number"),
        ("a,b\n1,perhaps\n", NAMED, "column 'b': 'perhaps' is neither true nor false"),
        ("1,2\n", NAMED, "model 'net' has the inputs a, b; give the file a header"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_the_place(
    text: str, metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandFailed) as caught:
        v2(text, metadata)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "header", "rows"),
    [
        ({"predictions": [1, 2]}, ["prediction"], [["1"], ["2"]]),
        (
            {"predictions": [[0.25, 0.75]]},
            ["prediction[0]", "prediction[1]"],
            [["0.25", "0.75"]],
        ),
        ({"predictions": [{"a": 1, "b": "x"}]}, ["a", "b"], [["1", "x"]]),
        ({"predictions": []}, ["prediction"], []),
        ({"outputs": {"a": [1, 2], "b": ["x", "y"]}}, ["a", "b"], [["1", "x"], ["2", "y"]]),
        (
            {
                "outputs": [
                    {"name": "label", "shape": [2], "datatype": "INT64", "data": [0, 1]},
                    {"name": "p", "shape": [2, 2], "datatype": "FP64", "data": [[1, 0], [0, 1]]},
                ]
            },
            ["label", "p[0]", "p[1]"],
            [["0", "1", "0"], ["1", "0", "1"]],
        ),
    ],
)
def test_answers_become_rows(answer: Any, header: list[str], rows: list[list[str]]) -> None:
    assert answer_rows(answer) == (header, rows)


def answering(api: AdminApi, path: str, answer: Any) -> None:
    api.pages[path] = ("application/json", json.dumps(answer).encode())


def test_a_request_goes_to_the_protocol_that_it_is_of(run: Run, api: AdminApi) -> None:
    answering(api, "/v1/models/iris:predict", {"predictions": [2]})
    output = {"name": "predict", "shape": [1], "datatype": "INT64", "data": [2]}
    answering(api, "/v2/models/iris/infer", {"outputs": [output]})
    assert (
        run("predict", "iris", "--data", '{"instances": [[1, 2]]}').out
        == "prediction\n         2\n"
    )
    assert run("predict", "iris", "-d", "[[1, 2]]").code == 0
    assert api.asked[-1][2] == {"instances": [[1, 2]]}
    tensor = {"name": "a", "shape": [1], "datatype": "FP32", "data": [1]}
    v2_done = run(
        "predict", "iris", "-f", "-", "-o", "json", stdin=json.dumps({"inputs": [tensor]})
    )
    assert json.loads(v2_done.out)["outputs"][0]["data"] == [2]
    assert "neither 'instances' (V1) nor 'inputs'" in run("predict", "iris", "-d", "{}").err


def test_rows_of_a_file_are_predicted(run: Run, api: AdminApi, tmp_path: Path) -> None:
    answering(api, "/serving/roses/iris/v2/models/iris", MATRIX)
    output = {"name": "predict", "shape": [1], "datatype": "INT64", "data": [2]}
    answering(api, "/serving/roses/iris/v2/models/iris/infer", {"outputs": [output]})
    path = tmp_path / "rows.csv"
    path.write_text("length,width,kind\n1,2,x\n")
    done = run("predict", "isvc/iris", "--data", str(path), "-n", "roses", "-o", "csv")
    assert done.out == "predict\n2\n"
    assert done.err == "note: not sent, the model has no such input: kind\n"


def test_data_that_is_not_there_is_named(run: Run) -> None:
    assert "rows.csv: cannot be read: No such file" in run("predict", "a", "-d", "rows.csv").err
    assert "give the data, with either -f FILE or --data" in run("predict", "a").err
    assert "--data: is no JSON" in run("predict", "a", "-d", "{").err


BEFORE = """\
# TYPE salver_requests_total counter
salver_model_ready{model="iris",version="1"} 1
salver_model_ready{model="a/b",version="1"} 1
salver_requests_total{model="iris",version="1"} 100
salver_request_duration_seconds_bucket{model="iris",version="1",le="0.001"} 50
salver_request_duration_seconds_bucket{model="iris",version="1",le="0.01"} 100
salver_request_duration_seconds_bucket{model="iris",version="1",le="+Inf"} 100
salver_batch_rows_sum{model="iris",version="1"} 100
salver_batch_rows_count{model="iris",version="1"} 100
salver_model_memory_bytes{model="iris",version="1"} 223346688
salver_process_cpu_seconds_total{role="gateway",process="gateway"} 5
salver_process_cpu_seconds_total{role="worker",process="iris/1/0"} 1
salver_process_resident_memory_bytes{role="worker",process="iris/1/0"} 223346688
"""
AFTER = """\
salver_model_ready{model="iris",version="1"} 1
salver_model_ready{model="a/b",version="1"} 1
salver_requests_total{model="iris",version="1"} 300
salver_request_errors_total{model="iris",version="1",reason="invalid_input"} 1
salver_requests_queued{model="iris",version="1"} 3
salver_request_duration_seconds_bucket{model="iris",version="1",le="0.001"} 200
salver_request_duration_seconds_bucket{model="iris",version="1",le="0.01"} 300
salver_request_duration_seconds_bucket{model="iris",version="1",le="+Inf"} 300
salver_batch_rows_sum{model="iris",version="1"} 300
salver_batch_rows_count{model="iris",version="1"} 140
salver_model_memory_bytes{model="iris",version="1"} 223346688
salver_process_cpu_seconds_total{role="gateway",process="gateway"} 5.25
salver_process_cpu_seconds_total{role="worker",process="iris/1/0"} 2
salver_process_resident_memory_bytes{role="worker",process="iris/1/0"} 223346688
"""


def test_the_load_is_what_changed_between_two_looks(golden: Golden) -> None:
    before, after = Scrape(BEFORE), Scrape(AFTER)
    models = model_lines(samples.model_loads(before, after, 2.0))
    processes = process_lines(samples.process_loads(before, after, 2.0))
    golden("top.txt", "\n".join([*models, "", *processes]) + "\n")


def test_hits_of_response_caches_are_shown_where_there_are_caches() -> None:
    hits = 'salver_cache_hits_total{model="iris",version="1"} '
    misses = 'salver_cache_misses_total{model="iris",version="1"} '
    before = Scrape(BEFORE + hits + "10\n" + misses + "10\n")
    after = Scrape(AFTER + hits + "40\n" + misses + "20\n")
    header, other, iris = model_lines(samples.model_loads(before, after, 2.0))
    assert [line.split()[-1] for line in (header, other, iris)] == ["CACHED", "-", "75%"]
    _, _, idle = model_lines(samples.model_loads(after, after, 2.0))
    assert idle.split()[-1] == "-"


GRAPHS = """\
salver_graph_requests_total{{graph="default/fraud",variant="main"}} {requests}
salver_graph_request_errors_total{{graph="default/fraud",variant="main",reason="unavailable"}} 1
salver_graph_request_errors_total{{graph="default/fraud",variant="main",reason="invalid_input"}} 0
salver_graph_requests_in_flight{{graph="default/fraud",variant="main"}} 4
salver_graph_requests_in_flight{{graph="team/other",variant="default"}} 0
salver_graph_request_duration_seconds_bucket{{graph="default/fraud",variant="main",le="0.001"}} 0
salver_graph_request_duration_seconds_bucket{{graph="default/fraud",variant="main",le="0.01"}} {requests}
salver_graph_request_duration_seconds_bucket{{graph="default/fraud",variant="main",le="+Inf"}} {requests}
"""  # noqa: E501


def test_the_load_of_graphs_is_that_of_their_variants() -> None:
    before, after = Scrape(GRAPHS.format(requests=0)), Scrape(GRAPHS.format(requests=20))
    assert graph_lines(samples.graph_loads(before, after, 2.0)) == [
        "GRAPH        VARIANT   REQ/S   ERR/S     P50      P99   UNDER-WAY",
        "fraud        main       10.0       0   5.5ms   9.91ms           4",
        "team/other   default       0       0       -        -           0",
    ]


@pytest.mark.parametrize(
    ("fraction", "value"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 2.0), (1.0, 2.0)]
)
def test_quantiles_are_interpolated_and_never_infinite(fraction: float, value: float) -> None:
    buckets = [(1.0, 2.0), (2.0, 3.0), (float("inf"), 4.0)]
    assert samples.quantile(buckets, fraction) == pytest.approx(value)


def test_top_asks_twice(run: Run, api: AdminApi) -> None:
    api.pages["/metrics"] = ("text/plain", AFTER.encode())
    assert run("top", "iris").out.splitlines()[1].split()[:3] == ["iris", "1", "0"]
    assert [path for _, path, _ in api.asked] == ["/metrics", "/metrics"]
    assert run("top", "processes").out.startswith("PROCESS")
    assert "the server has no model 'rose'" in run("top", "rose").err
    api.pages["/metrics"] = ("text/plain", GRAPHS.format(requests=1).encode())
    assert run("top", "graphs", "fraud").out.splitlines()[1].split()[:2] == ["fraud", "main"]
    assert "no graph 'rose' takes requests" in run("top", "graphs", "rose").err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["get", "inferences"], ["inferenceservices"]),
        (["get", "isvc", ""], ["iris", "rose"]),
        (["get", "-n", "default", "isvc", "r"], ["rose"]),
        (["get", "isvc/i"], ["isvc/iris"]),
        (["rollout", "status", "i"], ["iris"]),
        (["rollout", ""], []),
        (["logs", "ro"], ["rose"]),
        (["explain", "isvc.spec.predictor.minR"], ["isvc.spec.predictor.minReplicas"]),
        (["explain", "isv"], ["isvc"]),
        (["get", "nothing", ""], []),
        ([""], []),
    ],
)
def test_what_may_follow_is_offered(
    run: Run, api: AdminApi, words: list[str], found: list[str]
) -> None:
    api.put(service())
    api.put(service("rose"))
    assert run("__complete", "--", *words).out.splitlines() == found


def test_without_a_server_there_are_no_names(run: Run) -> None:
    done = run("__complete", "--", "get", "isvc", "", SALVER_SERVER="http://127.0.0.1:1")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_the_script_for_bash_is_one_and_knows_every_command() -> None:
    script = bash_script()
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=20)
    asked = "COMP_WORDS=(salver apply --dry-run cl); COMP_CWORD=3; _salver; echo ${COMPREPLY[@]}\n"
    asked += "COMP_WORDS=(salver rol); COMP_CWORD=1; _salver; echo ${COMPREPLY[@]}\n"
    asked += "COMP_WORDS=(salver -n a get --sh); COMP_CWORD=4; _salver; echo ${COMPREPLY[@]}\n"
    asked += "COMP_WORDS=(salver rollout un); COMP_CWORD=2; _salver; echo ${COMPREPLY[@]}\n"
    done = subprocess.run(
        ["bash", "--norc"], input=script + asked, text=True, capture_output=True, timeout=20
    )
    assert done.stdout.split() == ["client", "rollout", "--show-labels", "undo"]
    assert done.stderr == ""


def test_the_other_shells_have_scripts_too() -> None:
    assert "bashcompinit\n# salver: completion for bash" in zsh_script()
    assert 'complete -c salver -n "__fish_seen_subcommand_from apply" -l dry-run' in fish_script()
