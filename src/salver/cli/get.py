"""`salver get`: resources as a table, or in a format for programs; and how they change (`-w`).

The tables are the server's own (`Table` of the Kubernetes API); here they are only laid out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

from salver.cli.ages import age, duration
from salver.cli.client import ApiError
from salver.cli.printing import FORMATS, as_text
from salver.cli.resource_names import (
    Target,
    collection_path,
    full_name,
    object_path,
    read_targets,
)
from salver.cli.session import Session
from salver.cli.terminal import column_widths, columns
from salver.cli.watching import DeadlinePassed, changes
from salver.errors import CommandFailed
from salver.spec.kinds import ResourceType

USAGE = "TYPE [NAME...] [options]"
DESCRIPTION = """\
Lists resources. TYPE is a plural, singular or short name (isvc, tm, rev, po, ...), several of
them with commas, or 'all'.
"""
EXAMPLES = """\
examples:
  salver get isvc
  salver get isvc iris -o yaml
  salver get isvc -A -l team=flowers -o wide
  salver get isvc iris -o 'jsonpath={.status.url}'
  salver get isvc -w
"""

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver get`."""
    parser.add_argument(
        "resources", nargs="+", metavar="RESOURCE", help="TYPE [NAME...] or TYPE/NAME"
    )
    parser.add_argument("-o", "--output", default="", metavar="FORMAT", help=FORMATS)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="in all namespaces")
    parser.add_argument(
        "-l", "--selector", default="", metavar="LABELS", help="those with these labels, e.g. a=b"
    )
    parser.add_argument("-w", "--watch", action="store_true", help="go on and print changes")
    parser.add_argument(
        "--timeout",
        default="",
        metavar="DURATION",
        help="with -w: for how long (default: until Ctrl-C)",
    )
    parser.add_argument("--no-headers", action="store_true", help="leave out the column names")
    parser.add_argument("--show-labels", action="store_true", help="add a column of labels")
    parser.add_argument(
        "--ignore-not-found",
        action="store_true",
        help="say nothing, and succeed, if it is not there",
    )


class Shape(NamedTuple):
    """How a table is laid out."""

    is_wide: bool = False
    has_namespace: bool = False
    has_labels: bool = False
    prefix: ResourceType | None = None


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints them; with `-w`, their changes too, until it is interrupted."""
    targets = read_targets(arguments.resources)
    is_table = arguments.output in ("", "wide")
    if arguments.watch:
        return _watch(targets, arguments, session)
    if is_table:
        return _tables(targets, arguments, session)
    found = _objects(targets, arguments, session)
    if not found and arguments.ignore_not_found:
        return 0
    is_one = len(targets) == 1 and bool(targets[0].name)
    whole = found[0] if is_one else {"apiVersion": "v1", "kind": "List", "items": found}
    text = as_text(whole, arguments.output)
    if text:
        session.say(text)
    return 0


def _objects(
    targets: Sequence[Target], arguments: argparse.Namespace, session: Session
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for type, name in targets:
        if name:
            path = object_path(type, session.namespace, name)
            try:
                found.append(session.client.get(path))
            except ApiError as error:
                if error.status != 404 or not arguments.ignore_not_found:
                    raise
            continue
        listed = session.client.get(collection_path(type, session.scope), _query(arguments))
        group = f"{type.group}/" if type.group else ""
        of_type = {"apiVersion": f"{group}{type.versions[0]}", "kind": type.kind}
        found += [{**of_type, **each} for each in listed["items"]]
    return found


def _query(arguments: argparse.Namespace) -> dict[str, str]:
    return {"labelSelector": arguments.selector}


def _tables(targets: Sequence[Target], arguments: argparse.Namespace, session: Session) -> int:
    types = list(dict.fromkeys(target.type for target in targets))
    failed = False
    printed = False
    for type in types:
        names = [target.name for target in targets if target.type == type and target.name]
        try:
            table = _table(type, names, arguments, session)
        except ApiError as error:
            if error.status == 404 and arguments.ignore_not_found:
                continue
            if len(types) == 1:
                raise
            failed = True
            session.complain(str(error))
            continue
        if not table["rows"]:
            continue
        shape = shape_of(arguments, type if len(types) > 1 else None)
        lines = table_lines(table, shape, session.clock(), with_header=not arguments.no_headers)
        session.say(*([""] if printed else []), *lines)
        printed = True
    if not printed and not failed and not arguments.ignore_not_found:
        scope = f" in {session.scope} namespace" if session.scope else ""
        session.err.write(f"No resources found{scope}.\n")
    return 1 if failed else 0


def shape_of(arguments: argparse.Namespace, prefix: ResourceType | None) -> Shape:
    """The layout that the flags ask for."""
    return Shape(
        arguments.output == "wide", arguments.all_namespaces, arguments.show_labels, prefix
    )


def _table(
    type: ResourceType, names: Sequence[str], arguments: argparse.Namespace, session: Session
) -> dict[str, Any]:
    if not names:
        path = collection_path(type, session.scope)
        return _as_table(
            session.client.send("GET", path, query=_query(arguments), accept=TABLE).json()
        )
    if session.scope == "" and type.namespaced:
        raise CommandFailed("get: a name and -A exclude each other; leave out -A, or the name")
    tables = [
        _as_table(
            session.client.send(
                "GET", object_path(type, session.namespace, name), accept=TABLE
            ).json()
        )
        for name in names
    ]
    return {**tables[0], "rows": [row for table in tables for row in table["rows"]]}


def _as_table(answer: dict[str, Any]) -> dict[str, Any]:
    """The table; names and ages only, from a server that makes none."""
    if answer.get("kind") == "Table":
        return {**answer, "rows": answer.get("rows") or []}
    items = answer.get("items")
    objects = items if isinstance(items, list) else [answer]
    definitions = [{"name": "Name", "priority": 0}, {"name": "Age", "priority": 0, "type": "date"}]
    rows = [
        {
            "cells": [each["metadata"]["name"], each["metadata"].get("creationTimestamp", "")],
            "object": each,
        }
        for each in objects
    ]
    return {"metadata": answer.get("metadata"), "columnDefinitions": definitions, "rows": rows}


def table_lines(
    table: dict[str, Any], shape: Shape, now_s: float, *, with_header: bool = True
) -> list[str]:
    """The table as aligned lines."""
    header, rows = table_cells(table, shape, now_s)
    return columns([header, *rows] if with_header else rows)


def table_cells(
    table: dict[str, Any], shape: Shape, now_s: float
) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a table, as texts."""
    definitions = table.get("columnDefinitions") or []
    chosen = [
        index
        for index, each in enumerate(definitions)
        if shape.is_wide or not each.get("priority", 0)
    ]
    header = [str(definitions[index]["name"]).upper() for index in chosen]
    rows = [_row(row, definitions, chosen, shape, now_s) for row in table["rows"]]
    if shape.has_namespace:
        header.insert(0, "NAMESPACE")
    if shape.has_labels:
        header.append("LABELS")
    return header, rows


def _row(
    row: dict[str, Any],
    definitions: Sequence[dict[str, Any]],
    chosen: Sequence[int],
    shape: Shape,
    now_s: float,
) -> list[str]:
    metadata = (row.get("object") or {}).get("metadata") or {}
    cells = []
    for index in chosen:
        text = _cell(row["cells"][index], definitions[index], now_s)
        is_name = str(definitions[index]["name"]).lower() == "name"
        cells.append(full_name(shape.prefix, text) if is_name and shape.prefix else text)
    if shape.has_namespace:
        cells.insert(0, str(metadata.get("namespace", "")))
    if shape.has_labels:
        labels = metadata.get("labels") or {}
        cells.append(",".join(f"{key}={value}" for key, value in labels.items()) or "<none>")
    return cells


def _cell(value: Any, definition: dict[str, Any], now_s: float) -> str:
    if value is None:
        return "<none>" if definition.get("type") != "string" else ""
    if definition.get("type") == "date":
        return age(value, now_s)
    if isinstance(value, bool):
        return str(value)
    return " ".join(str(value).split())


def _watch(targets: Sequence[Target], arguments: argparse.Namespace, session: Session) -> int:
    if len({target.type for target in targets}) != 1 or len(targets) != 1:
        raise CommandFailed("get -w: one type, and one name at most, can be watched at a time")
    type, name = targets[0]
    query = {**_query(arguments), "fieldSelector": f"metadata.name={name}" if name else ""}
    path = collection_path(type, session.namespace if name else session.scope)
    limit = arguments.timeout
    deadline_s = session.clock() + duration(limit, "--timeout") if limit else None
    printer = _WatchPrinter(arguments, session)
    is_table = arguments.output in ("", "wide")
    accept = TABLE if is_table else "application/json"
    listed = session.client.send("GET", path, query=query, accept=accept).json()
    printer.show_all(listed)
    version = str((listed.get("metadata") or {}).get("resourceVersion", ""))
    try:
        for change in changes(
            session, path, version, query=query, accept=accept, deadline_s=deadline_s
        ):
            printer.show(change.object)
    except DeadlinePassed:
        pass
    return 0


class _WatchPrinter:
    """Prints rows under one header, as wide as they were at first."""

    def __init__(self, arguments: argparse.Namespace, session: Session) -> None:
        self._arguments, self._session = arguments, session
        self._is_table = arguments.output in ("", "wide")
        self._needs_header = not arguments.no_headers
        self._definitions: list[dict[str, Any]] = []
        self._widths: list[int] = []

    def show_all(self, listed: dict[str, Any]) -> None:
        if self._is_table:
            self._show_table(_as_table(listed))
            return
        for each in listed.get("items", []):
            self._session.say(as_text(each, self._arguments.output))

    def show(self, obj: dict[str, Any]) -> None:
        if self._is_table:
            self._show_table(_as_table(obj))
        else:
            prefix = ["---"] if self._arguments.output == "yaml" else []
            self._session.say(*prefix, as_text(obj, self._arguments.output))

    def _show_table(self, table: dict[str, Any]) -> None:
        # Events after the first may leave the definitions out, as the API allows.
        self._definitions = table.get("columnDefinitions") or self._definitions
        if not table["rows"]:
            return
        whole = {**table, "columnDefinitions": self._definitions}
        shape = shape_of(self._arguments, None)
        header, rows = table_cells(whole, shape, self._session.clock())
        shown = [header, *rows] if self._needs_header else rows
        self._widths = column_widths([header, *rows], self._widths)
        self._needs_header = False
        self._session.say(*columns(shown, least=self._widths))
