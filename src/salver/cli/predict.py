"""`salver predict`: sends a request, or the rows of a CSV file, to a model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from salver.cli.data_tables import (
    answer_rows,
    is_number,
    is_v1,
    plan_columns,
    read_csv,
    requests_of,
)
from salver.cli.session import DEFAULT_NAMESPACE, Session
from salver.cli.terminal import columns
from salver.errors import CommandFailed

USAGE = "NAME (-f FILE | --data DATA) [options]"
DESCRIPTION = """\
Sends data to a model and prints its answer as a table. A request is sent as it is: V1 if it
has 'instances', V2 if it has 'inputs' with datatypes. The columns of a CSV file go to the
inputs or columns of the model that have their names; without a header, by position.
"""
EXAMPLES = """\
examples:
  salver predict iris --data '{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
  salver predict iris -f request.json -o json
  salver predict churn --data customers.csv
  tail -n 100 customers.csv | salver predict churn -f -
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver predict`."""
    parser.add_argument("name", metavar="NAME", help="the model, or the InferenceService")
    parser.add_argument(
        "-f",
        "--filename",
        default="",
        metavar="FILE",
        help="a request (JSON) or rows (CSV); '-' is stdin",
    )
    parser.add_argument(
        "-d", "--data", default="", metavar="DATA", help="a request itself, or the name of a file"
    )
    parser.add_argument("--model-version", default="", metavar="VERSION", help="this version of it")
    parser.add_argument(
        "--rows",
        type=int,
        default=1000,
        metavar="N",
        help="rows of a CSV file in one request (default: 1000)",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="table",
        choices=("table", "json", "csv"),
        metavar="FORMAT",
        help="table, json or csv (default: table)",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Sends it all, then prints."""
    if arguments.rows < 1:
        raise CommandFailed(f"--rows: {arguments.rows} is below 1; give 1 or more")
    text, source = _text(arguments, session)
    path = _model_path(arguments.name, session)
    if text.lstrip()[:1] in ("{", "["):
        answers: Iterable[Any] = [_send_json(text, source, path, arguments, session)]
    else:
        answers = _send_table(text, source, path, arguments, session)
    _print(list(answers), arguments.output, session)
    return 0


def _text(arguments: argparse.Namespace, session: Session) -> tuple[str, str]:
    """What is to be sent, and what to call it."""
    given, data = arguments.filename, arguments.data
    if bool(given) == bool(data):
        raise CommandFailed("predict: give the data, with either -f FILE or --data")
    if data.lstrip()[:1] in ("{", "["):
        return data, "--data"
    name = given or data.removeprefix("@")
    if name == "-":
        return session.stdin.read(), "stdin"
    try:
        return Path(name).expanduser().read_text(encoding="utf-8"), name
    except OSError as error:
        raise CommandFailed(f"{name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{name}: is not UTF-8 text; give JSON or CSV") from error


def _model_path(name: str, session: Session) -> str:
    """The prefix of its routes; a namespace other than the default has routes of its own."""
    bare = name.rpartition("/")[2]
    if session.namespace == DEFAULT_NAMESPACE:
        return ""
    return f"/serving/{quote(session.namespace, safe='')}/{quote(bare, safe='')}"


def _v2_path(prefix: str, arguments: argparse.Namespace) -> str:
    name = quote(arguments.name.rpartition("/")[2], safe="")
    version = arguments.model_version
    suffix = f"/versions/{quote(version, safe='')}" if version else ""
    return f"{prefix}/v2/models/{name}{suffix}"


def _send_json(
    text: str, source: str, prefix: str, arguments: argparse.Namespace, session: Session
) -> Any:
    try:
        body = json.loads(text)
    except ValueError as error:
        raise CommandFailed(f"{source}: is no JSON: {error}") from error
    if isinstance(body, list):
        body = {"instances": body}
    if is_v1(body):
        name = quote(arguments.name.rpartition("/")[2], safe="")
        path = f"{prefix}/v1/models/{name}:predict"
    else:
        path = f"{_v2_path(prefix, arguments)}/infer"
    return session.client.send("POST", path, body=json.dumps(body).encode()).json()


def _send_table(
    text: str, source: str, prefix: str, arguments: argparse.Namespace, session: Session
) -> Iterator[Any]:
    table = read_csv(text, source)
    path = _v2_path(prefix, arguments)
    plan = plan_columns(table, session.client.get(path))
    if plan.unused:
        session.err.write(
            f"note: not sent, the model has no such input: {', '.join(plan.unused)}\n"
        )
    for request in requests_of(table, plan, arguments.rows):
        body = json.dumps(request).encode()
        yield session.client.send("POST", f"{path}/infer", body=body).json()


def _print(answers: list[Any], form: str, session: Session) -> None:
    if form == "json":
        whole = answers[0] if len(answers) == 1 else answers
        session.say(json.dumps(whole, indent=2, ensure_ascii=False))
        return
    parts = [answer_rows(answer) for answer in answers]
    header = parts[0][0]
    rows = [row for _, part in parts for row in part]
    if form == "csv":
        import csv

        csv.writer(session.out, lineterminator="\n").writerows([header, *rows])
        return
    numeric = frozenset(
        index
        for index in range(len(header))
        if all(is_number(row[index]) for row in rows if index < len(row))
    )
    session.say(*columns([header, *rows], right=numeric))
