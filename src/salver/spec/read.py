"""Manifests: text in, typed resources out, with every fault of it, on its line.

The one entrance to `spec/`: what the command line and the admin API call. Objects are read as
they were written; an InferenceService v1alpha2 becomes one of v1beta1 as its `resource`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from salver.spec import kserve, seldon, v1alpha2
from salver.spec.catalogue import Kind, kind_of
from salver.spec.checks import check_metadata, check_resource
from salver.spec.conversion import is_former, to_v1beta1
from salver.spec.decode import Decoder, correct
from salver.spec.kinds import ResourceType
from salver.spec.places import Place, in_order
from salver.spec.problems import Finding, Note, Path, Problem, quoted
from salver.spec.seldon_checks import check_seldon_deployment
from salver.spec.seldon_v2_checks import check_seldon_v2
from salver.spec.service_checks import check_old_service, check_service
from salver.spec.yaml_source import MAX_DEPTH, read_documents

JsonObject = dict[str, Any]

MOST_FINDINGS = 100
"""What contradicts what is told so often in one object. Each search for what was meant takes time,
which a caller of the API must not be able to take."""
_SHARES = ("traffic", "weight")
"""Fields that have to add up: that they do not is no news while one of them cannot be read."""


class Parsed(msgspec.Struct, frozen=True):
    """An object as a typed resource: None if it has problems. Notes are no faults.

    `object` is the JSON to keep: what was given, or what it is in the preferred version.
    """

    resource: Any
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()
    object: JsonObject = {}


class Manifest(msgspec.Struct, frozen=True):
    """One resource of a text. `object` is its JSON, with texts as they were written."""

    object: JsonObject
    resource: Any
    type: ResourceType
    source: str
    line: int

    @property
    def name(self) -> str:
        """The name, or empty if the server is to make one up."""
        return self.resource.metadata.name  # type: ignore[no-any-return]

    @property
    def namespace(self) -> str:
        """The namespace that the manifest names, or empty."""
        return self.resource.metadata.namespace  # type: ignore[no-any-return]


class ManifestReading(msgspec.Struct, frozen=True):
    """What a text holds: the resources without faults, and all faults of the others."""

    manifests: tuple[Manifest, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()


def parse_object(obj: JsonObject) -> Parsed:
    """Reads an object that is JSON already; problems have paths but no lines."""
    reading = _read_object(obj, Place("", None, ()))
    if not reading.manifests:
        return Parsed(None, reading.problems, reading.notes)
    (manifest,) = reading.manifests
    return Parsed(manifest.resource, (), reading.notes, in_preferred_version(manifest))


def in_preferred_version(manifest: Manifest) -> JsonObject:
    """The JSON of a manifest as the API keeps it: an InferenceService v1alpha2 as v1beta1, and
    what was declared under a former group under the present one."""
    if is_former(manifest.object["apiVersion"]):
        return to_v1beta1(manifest.object)
    return {**manifest.object, "apiVersion": manifest.resource.api_version}


def read_manifests(text: str, source: str) -> ManifestReading:
    """Reads all resources of a YAML or JSON text; `source` is its name in messages."""
    readings = [
        _read_value(document.value, Place(source, document, ()))
        for document in read_documents(text)
    ]
    problems = [problem for reading in readings for problem in reading.problems]
    manifests = tuple(each for reading in readings for each in reading.manifests)
    problems += _duplicates(manifests)
    notes = tuple(note for reading in readings for note in reading.notes)
    return ManifestReading(manifests, in_order(problems), notes)


def find_duplicates(manifests: Iterable[Manifest]) -> tuple[Problem, ...]:
    """Resources that several texts declare. `read_manifests` tells of those within one."""
    return tuple(_duplicates(manifests, across=True))


def _read_value(value: Any, place: Place) -> ManifestReading:
    """Reads a document: a resource, or a list of them."""
    document = place.document
    faults = document.findings if document is not None else ()
    problems = tuple(place.problem(fault) for fault in faults)
    if value is None and problems:
        return ManifestReading(problems=problems)
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List"):
        readings = list(_read_items(value, place))
    else:
        readings = [_read_object(value, place)]
    return ManifestReading(
        tuple(each for reading in readings for each in reading.manifests),
        problems + tuple(each for reading in readings for each in reading.problems),
        tuple(each for reading in readings for each in reading.notes),
    )


def _read_items(value: JsonObject, place: Place) -> Iterator[ManifestReading]:
    items = value.get("items")
    if not isinstance(items, list):
        problem = place.problem((("items",), "is required: the resources of the list"))
        yield ManifestReading(problems=(problem,))
        return
    for index, item in enumerate(items):
        yield _read_object(item, Place(place.source, place.document, ("items", index)))


def _read_object(raw: Any, place: Place) -> ManifestReading:
    if not isinstance(raw, dict):
        message = "expected a resource: a mapping with apiVersion, kind, metadata and spec"
        return ManifestReading(problems=(place.problem(((), message)),))
    if (deep := _too_deep(raw)) is not None:
        message = f"is nested deeper than {MAX_DEPTH} levels"
        return ManifestReading(problems=(place.problem((deep, message)),))
    kind = kind_of(raw.get("apiVersion"), raw.get("kind"))
    if not isinstance(kind, Kind):
        return ManifestReading(problems=tuple(place.problem(each) for each in kind))
    decoder = Decoder(place.document.plain if place.document is not None else {}, place.base)
    resource: Any = decoder.read(raw, kind.struct)
    checks = _without_echoes(_check(resource, kind), decoder)
    findings = [*decoder.problems, *islice(checks, MOST_FINDINGS)]
    problems = in_order(place.problem(finding) for finding in findings)
    notes = in_order(place.note(note) for note in _notes(decoder, resource))
    if problems:
        return ManifestReading(problems=problems, notes=notes)
    obj = copy.deepcopy(raw)
    correct(obj, decoder.corrections)
    if isinstance(resource, v1alpha2.InferenceService):
        resource = Decoder().read(to_v1beta1(obj), kserve.InferenceService)
    elif not raw["apiVersion"].startswith(kind.type.group):
        version = f"{kind.type.group}/{kind.version}"
        resource = msgspec.structs.replace(resource, api_version=version)
    manifest = Manifest(obj, resource, kind.type, place.source, place.mark(()).line)
    return ManifestReading((manifest,), notes=notes)


def _check(resource: Any, kind: Kind) -> Iterator[Finding]:
    yield from check_metadata(resource.metadata, kind.type)
    if isinstance(resource, kserve.InferenceService):
        yield from check_service(resource)
    elif isinstance(resource, v1alpha2.InferenceService):
        yield from check_old_service(resource)
    elif isinstance(resource, seldon.SeldonDeployment):
        yield from check_seldon_deployment(resource)
    else:
        yield from check_resource(resource)
        yield from check_seldon_v2(resource)


def _without_echoes(checks: Iterable[Finding], decoder: Decoder) -> Iterator[Finding]:
    """The findings that do not merely follow from a fault at their place or right below it."""
    faults = {path for path, _ in decoder.problems}
    unread = {*faults, *decoder.meant}
    sums = {path[:-2] for path in unread if path[-1:] and path[-1] in _SHARES}
    touched = {*unread, *sums, *(path[:-1] for path in faults)}
    for path, message in checks:
        is_below = any(path[:length] in unread for length in range(1, len(path)))
        # What is required of the one field often depends on its neighbour `type`.
        is_beside = (*path[:-1], "type") in faults
        if not (is_below or is_beside or path in touched):
            yield path, message


def _too_deep(raw: JsonObject) -> Path | None:
    """The first value too deep for those who read it level by level; none if it can be read.

    Texts are bounded as they are parsed, the API's objects only here. `metadata` has the server's
    own notes on who set which field, as deep as what they are about.
    """
    todo: list[tuple[Path, Any]] = [((k,), v) for k, v in raw.items() if k != "metadata"]
    while todo:
        path, value = todo.pop()
        if len(path) > MAX_DEPTH:
            return path
        if isinstance(value, dict):
            todo += [((*path, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            todo += [((*path, index), each) for index, each in enumerate(value)]
    return None


def _notes(decoder: Decoder, resource: Any) -> Iterator[Finding]:
    inert = [path for path, _ in decoder.inert]
    for path, description in decoder.inert:
        if not any(path[:length] in inert for length in range(1, len(path))):
            yield path, f"has no meaning on this backend ({description})"
    if isinstance(resource, v1alpha2.InferenceService):
        yield from v1alpha2.lost_in_v1beta1(resource)


def _duplicates(manifests: Iterable[Manifest], across: bool = False) -> Iterator[Problem]:
    first: dict[tuple[str, str, str, str], Manifest] = {}
    for each in manifests:
        if not each.name:
            continue
        key = (each.type.group, each.type.kind, each.namespace or "default", each.name)
        other = first.setdefault(key, each)
        if other is each or across == (other.source == each.source):
            continue
        where = f"{other.source}:{other.line}" if across else f"line {other.line}"
        message = f"{each.type.kind} {quoted(each.name)} is declared twice, first in {where}"
        yield Problem(each.source, each.line, 1, "metadata.name", message)
