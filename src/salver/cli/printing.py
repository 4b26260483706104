"""Objects as `-o` asks for them: YAML, JSON, names, a JSONPath. Pure.

Keys stay in the order of the API.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from salver.cli.resource_names import full_name
from salver.errors import CommandFailed
from salver.spec.kinds import resource_type

FORMATS = "wide, json, yaml, name, jsonpath=TEMPLATE"


def as_text(value: Any, form: str) -> str:
    """An object, or a `List` of them, in a format. Raises `CommandFailed` for an unknown one."""
    if form == "json":
        return json.dumps(without_noise(value), indent=2, ensure_ascii=False)
    if form == "yaml":
        return as_yaml(without_noise(value)).rstrip("\n")
    if form == "name":
        return "\n".join(name_of(each) for each in items_of(value))
    if form.startswith("jsonpath="):
        from salver.cli.jsonpath import render

        return render(form.removeprefix("jsonpath="), value)
    raise CommandFailed(f"-o {form}: there is no such format; give one of {FORMATS}")


def as_yaml(value: Any) -> str:
    """Block-style YAML; text of several lines as a block, too."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Its own class, so that PyYAML's is left as it is."""

    def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text and not text.startswith((" ", "\n")) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent_text)
    Dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]
    dumped: str = yaml.dump(
        value,
        Dumper=Dumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=1_000_000,
    )
    return dumped


def items_of(value: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    """The objects of a list, or the one object."""
    items = value.get("items")
    return items if isinstance(items, list) else [dict(value)]


def name_of(obj: Mapping[str, Any]) -> str:
    """`inferenceservice.serving.kserve.io/iris`."""
    name = str((obj.get("metadata") or {}).get("name", ""))
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    known = resource_type(group, version, str(obj.get("kind", "")))
    return full_name(known, name) if known else f"{str(obj.get('kind', '')).lower()}/{name}"


def without_noise(value: Any) -> Any:
    """The object without `managedFields`, which nobody reads."""
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        return {**value, "items": [without_noise(each) for each in value["items"]]}
    if not isinstance(value, dict) or "managedFields" not in (value.get("metadata") or {}):
        return value
    metadata = {key: each for key, each in value["metadata"].items() if key != "managedFields"}
    return {**value, "metadata": metadata}
