"""get, describe, events, diff, explain and the help: what people read, as golden files."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.admin_api import AdminApi
from tests.unit.cli.conftest import NOW_S, Run
from tests.unit.cli.objects import MANIFEST, condition, event, failed_service, revision, service

from salver.cli.commands import COMMANDS, find_module
from salver.cli.description import describe_object
from salver.cli.parser import client_parser
from salver.cli.terminal import Style

Golden = Callable[[str, str], None]


def test_a_table_is_aligned(run: Run, api: AdminApi, golden: Golden) -> None:
    api.put(service())
    api.put(service("a-much-longer-name", condition("Ready", "False")))
    golden("get.txt", run("get", "isvc").out)
    golden("get-wide.txt", run("get", "isvc", "-o", "wide", "--show-labels").out)
    golden("get-all-namespaces.txt", run("get", "isvc", "-A").out)


def test_several_types_get_a_table_each_with_full_names(
    run: Run, api: AdminApi, golden: Golden
) -> None:
    api.put(service())
    api.put(revision("iris", 1, "gs://a"))
    golden("get-several.txt", run("get", "isvc,rev").out)
    # `all` may be of several types, so its names are full even if it is of one.
    assert "inferenceservice.serving.kserve.io/iris " in run("get", "all").out


def test_named_ones_are_shown_alone(run: Run, api: AdminApi) -> None:
    api.put(service())
    api.put(service("rose"))
    assert len(run("get", "isvc", "rose").out.splitlines()) == 2
    assert len(run("get", "isvc/rose", "isvc/iris", "--no-headers").out.splitlines()) == 2


def test_labels_select(run: Run, api: AdminApi) -> None:
    api.put(service())
    api.put(service("rose", metadata={"labels": {"team": "b"}}))
    assert run("get", "isvc", "-l", "team=b", "-o", "name").out == (
        "inferenceservice.serving.kserve.io/rose\n"
    )


def test_yaml_keeps_the_order_of_the_api(run: Run, api: AdminApi, golden: Golden) -> None:
    obj = service()
    obj["metadata"]["managedFields"] = [{"manager": "salver"}]
    obj["metadata"]["annotations"] = {"note": "two\nlines\n"}
    api.put(obj)
    golden("get.yaml", run("get", "isvc", "iris", "-o", "yaml").out)
    assert run("get", "isvc", "-o", "json").out.startswith('{\n  "apiVersion": "v1",')


def test_a_path_picks_values(run: Run, api: AdminApi) -> None:
    api.put(service())
    api.put(service("rose"))
    path = "jsonpath={range .items[*]}{.metadata.name}:{.spec.predictor.maxReplicas}{'\\n'}{end}"
    assert run("get", "isvc", "-o", path).out == "iris:3\nrose:3\n\n"


def test_what_is_not_there_is_an_error_unless_that_is_fine(run: Run) -> None:
    done = run("get", "isvc", "rose")
    assert done.code == 1
    assert done.err == 'salver: inferenceservices.serving.kserve.io "rose" not found\n'
    assert run("get", "isvc", "rose", "--ignore-not-found").code == 0
    assert run("get", "isvc").err == "No resources found in default namespace.\n"


def test_an_unknown_type_names_the_nearest(run: Run) -> None:
    assert run("get", "insvc").err == (
        "salver: there is no resource type 'insvc'; did you mean isvc?\n"
    )


def test_a_watch_prints_changes_below_the_first_table(run: Run, api: AdminApi) -> None:
    api.put(service("iris", condition("Ready", "False")))

    def change() -> None:
        while not any("watch=1" in path for _, path, _ in api.asked):
            time.sleep(0.005)
        api.put(service())

    thread = threading.Thread(target=change)
    thread.start()
    done = run("get", "isvc", "-w", "--timeout", "300ms")
    thread.join()
    assert [line.split()[2] for line in done.out.splitlines()] == ["READY", "False", "True"]
    assert [line.index("3m") for line in done.out.splitlines()[1:]] == [
        done.out.splitlines()[0].index("AGE")
    ] * 2


def test_a_service_is_described(run: Run, api: AdminApi, golden: Golden) -> None:
    api.put(service())
    api.put(event("iris", "RevisionCreated", "created revision iris-predictor-00002", count=2))
    api.put(event("rose", "RevisionCreated", "is of another"))
    golden("describe.txt", run("describe", "isvc", "iris").out)


def test_a_failed_service_is_described_with_its_reason(
    run: Run, api: AdminApi, golden: Golden
) -> None:
    api.put(failed_service())
    api.put(event("iris", "ModelLoadFailed", "model.joblib: no such object", kind="Warning"))
    golden("describe-failed.txt", run("describe", "isvc", "iris").out)


def test_other_resources_are_described_by_their_fields(
    run: Run, api: AdminApi, golden: Golden
) -> None:
    api.put(revision("iris", 1, "gs://a"))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "storage-config", "namespace": "default"},
        "type": "Opaque",
        "data": {"s3": "c2VjcmV0"},
    }
    api.put(secret)
    text = run("describe", "rev", "iris-predictor-00001").out
    text += "\n" + run("describe", "secret", "storage-config").out
    golden("describe-others.txt", text)
    assert "c2VjcmV0" not in text


def test_on_a_terminal_bars_are_blocks_and_states_have_colours() -> None:
    style = Style(is_coloured=True, is_unicode=True)
    text = "\n".join(describe_object(failed_service(), [], NOW_S, style))
    assert "██████████████████░░" in text
    assert "\x1b[31mFalse\x1b[0m" in text


def test_events_come_in_order_and_can_be_chosen(run: Run, api: AdminApi, golden: Golden) -> None:
    api.put(event("iris", "ModelLoadFailed", "no such object", kind="Warning", count=3))
    api.put(event("rose", "RevisionCreated", "made", lastTimestamp="2026-11-21T08:01:00Z"))
    golden("events.txt", run("events").out)
    assert "rose" not in run("events", "--for", "isvc/iris").out
    assert "rose" not in run("events", "--types", "Warning").out
    assert run("events", "-n", "other").err == "No events found.\n"


def test_a_diff_shows_what_apply_would_change(
    run: Run, api: AdminApi, tmp_path: Path, golden: Golden
) -> None:
    path = tmp_path / "isvc.yaml"
    path.write_text(MANIFEST)
    created = run("diff", "-f", str(path))
    assert created.code == 1
    golden("diff-new.txt", created.out)
    run("apply", "-f", str(path))
    assert run("diff", "-f", str(path)).code == 0
    path.write_text(MANIFEST.replace("minReplicas: 1", "minReplicas: 2"))
    changed = run("diff", "-f", str(path))
    assert changed.code == 1
    golden("diff.txt", changed.out)
    assert (
        api.objects["inferenceservices", "default", "iris"]["spec"]["predictor"]["minReplicas"] == 1
    )


def test_a_diff_that_fails_has_an_exit_code_of_its_own(run: Run) -> None:
    assert run("diff", "-f", "nothing.yaml").code == 2


def test_fields_are_explained_without_a_server(run: Run) -> None:
    types = run("explain").out.splitlines()
    assert types[0].split() == ["NAME", "SHORT", "APIVERSION", "NAMESPACED", "KIND"]
    assert types[1].split() == [
        *("inferenceservices", "isvc", "serving.kserve.io/v1beta1", "true", "InferenceService")
    ]
    done = run("explain", "isvc.spec.predictor.minReplicas", SALVER_SERVER="http://127.0.0.1:1")
    assert done.code == 0
    assert "minReplicas <integer>" in done.out
    assert "did you mean 'minReplicas'?" in run("explain", "isvc.spec.predictor.minReplica").err


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.module])
def test_every_help_teaches_with_examples(name: str, golden: Golden) -> None:
    text = client_parser(name, find_module(COMMANDS[name])).format_help()
    assert "examples:\n  " in text
    assert f"salver {name}" in text
    assert max(len(line) for line in text.splitlines()) <= 100
    golden(f"help-{name}.txt", text)
