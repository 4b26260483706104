"""How a resource reads: an InferenceService in its own words, any other as its fields. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from salver.cli.ages import age, parse_time
from salver.cli.happenings import event_rows
from salver.cli.terminal import Style, columns, width_of
from salver.cli.three_way import LAST_APPLIED

Json = Mapping[str, Any]

_COMPONENTS = ("predictor", "transformer", "explainer")
_FRAMEWORKS = (
    *("sklearn", "xgboost", "lightgbm", "onnx", "tensorflow", "pytorch", "triton"),
    *("huggingface", "pmml", "paddle", "art", "alibi", "aix"),
)
_COLOURS = {"True": "green", "False": "red", "Unknown": "yellow"}


def describe_object(obj: Json, events: Sequence[Json], now_s: float, style: Style) -> list[str]:
    """The description as lines."""
    is_service = obj.get("kind") == "InferenceService"
    state = _state(obj.get("status") or {}, now_s, style) if is_service else []
    lines = _pairs([*_head(obj, now_s), *state])
    if is_service:
        lines += _service(obj, now_s, style)
    else:
        lines += _fields(obj)
    status = obj.get("status") or {}
    if status.get("conditions"):
        lines += ["", *_conditions(status["conditions"], now_s, style)]
    return [*lines, "", *_events(events, now_s, style)]


def _pairs(pairs: Sequence[tuple[str, str]], indent: str = "") -> list[str]:
    """`Name:   value` lines; further lines of a value stand below the first."""
    width = max((width_of(name) for name, _ in pairs), default=0) + 3
    lines = []
    for name, value in pairs:
        first, *rest = value.split("\n")
        lines.append(f"{indent}{name + ':':<{width}}{first}".rstrip())
        lines += [f"{indent}{'':<{width}}{line}".rstrip() for line in rest]
    return lines


def _head(obj: Json, now_s: float) -> list[tuple[str, str]]:
    metadata = obj.get("metadata") or {}
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key != LAST_APPLIED
    }
    created = metadata.get("creationTimestamp")
    pairs = [
        ("Name", str(metadata.get("name", ""))),
        *([("Namespace", str(metadata["namespace"]))] if metadata.get("namespace") else []),
        ("Kind", f"{obj.get('kind', '')} ({obj.get('apiVersion', '')})"),
        ("Labels", _map(metadata.get("labels") or {})),
        ("Annotations", _map(annotations)),
    ]
    if parse_time(created) is not None:
        pairs.append(("Created", f"{created} ({age(created, now_s)} ago)"))
    return pairs


def _state(status: Json, now_s: float, style: Style) -> list[tuple[str, str]]:
    url = str(status.get("url") or "<none yet>")
    return [("URL", url), ("Ready", _ready(status, now_s, style))]


def _map(values: Json) -> str:
    return "\n".join(f"{key}={value}" for key, value in values.items()) or "<none>"


def _service(obj: Json, now_s: float, style: Style) -> Iterator[str]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    for name in _COMPONENTS:
        if spec.get(name) is not None:
            seen = (status.get("components") or {}).get(name) or {}
            yield from ("", f"{name.capitalize()}:", *_component(spec[name] or {}, seen, style))
    for entry in spec.get("canary") or []:
        predictor = entry.get("predictor") or {}
        title = f"Canary {predictor.get('name', '')} ({entry.get('trafficPercent', 0)}%):"
        yield from ("", title, *_component(predictor, {}, style))
    if status.get("modelStatus"):
        yield from ("", "Model status:", *_model_status(status["modelStatus"], now_s, style))
    if status.get("notes"):
        yield from ("", "Notes:", *(f"  {note}" for note in status["notes"]))


def _ready(status: Json, now_s: float, style: Style) -> str:
    found = next((each for each in status.get("conditions") or [] if each["type"] == "Ready"), None)
    if found is None:
        return "Unknown, no status yet"
    text = style.paint(str(found.get("status")), _COLOURS.get(str(found.get("status")), ""))
    since = found.get("lastTransitionTime")
    text += f", for {age(since, now_s)}" if parse_time(since) is not None else ""
    why = [str(found[key]) for key in ("reason", "message") if found.get(key)]
    return text + (f" ({': '.join(why)})" if why else "")


def _component(spec: Json, seen: Json, style: Style) -> list[str]:
    pairs = [*_what(spec), *_settings(spec), *_revisions(seen)]
    if seen.get("traffic"):
        pairs.append(("Traffic", "\n".join(_traffic(seen["traffic"], style))))
    shadow = seen.get("shadow")
    if shadow:
        pairs.append(("Shadow", f"{shadow['percent']}% copied to {shadow['revisionName']}"))
    return _pairs(pairs, "  ")


def _what(spec: Json) -> Iterator[tuple[str, str]]:
    """What the component runs."""
    model = dict(spec.get("model") or {})
    for name in _FRAMEWORKS:
        if isinstance(spec.get(name), dict) and not model:
            model = {"modelFormat": {"name": name}, **spec[name]}
    if model:
        form = model.get("modelFormat") or {}
        version = f" {form['version']}" if form.get("version") else ""
        if form.get("name"):
            yield "Format", f"{form['name']}{version}"
        storage = model.get("storage") or {}
        uri = model.get("storageUri") or storage.get("path")
        if uri:
            key = f" (storage key {storage['key']})" if storage.get("key") else ""
            yield "Model", f"{uri}{key}"
        for name, key in (
            ("Runtime", "runtime"),
            ("Runtime version", "runtimeVersion"),
            ("Protocol", "protocolVersion"),
        ):
            if model.get(key):
                yield name, str(model[key])
    for container in spec.get("containers") or []:
        words = [*(container.get("command") or []), *(container.get("args") or [])]
        command = f"\n{' '.join(map(str, words))}" if words else ""
        yield "Container", f"{container.get('image') or container.get('name', '')}{command}"


def _settings(spec: Json) -> Iterator[tuple[str, str]]:
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    scaled = f", by {spec['scaleMetric']}" if spec.get("scaleMetric") else ""
    target = f" {spec['scaleTarget']}" if spec.get("scaleTarget") else ""
    same = most == least and most
    yield "Replicas", (f"{least}" if same else f"{least} to {most or 'any number'}{scaled}{target}")
    if spec.get("containerConcurrency"):
        yield "Concurrency", f"{spec['containerConcurrency']} per replica at most"
    if spec.get("timeout"):
        yield "Timeout", f"{spec['timeout']} s"
    if spec.get("canaryTrafficPercent") is not None:
        yield "Canary", f"{spec['canaryTrafficPercent']}% to the newest revision"
    batcher, logger = spec.get("batcher"), spec.get("logger")
    if batcher is not None:
        size, wait = batcher.get("maxBatchSize", 32), batcher.get("maxLatency", 5000)
        yield "Batcher", f"up to {size} instances, waits {wait} ms at most"
    if logger is not None:
        yield "Logger", f"{logger.get('mode', 'all')} to {logger.get('url', '<none>')}"


def _revisions(seen: Json) -> Iterator[tuple[str, str]]:
    created, ready = seen.get("latestCreatedRevision"), seen.get("latestReadyRevision")
    if created:
        yield "Revision", str(created) + ("" if created == ready else " (not ready)")
    if ready and ready != created:
        yield "Ready revision", str(ready)


def _traffic(traffic: Sequence[Json], style: Style) -> list[str]:
    rows = []
    for each in traffic:
        percent = int(each.get("percent") or 0)
        tag = str(each.get("tag") or ("latest" if each.get("latestRevision") else ""))
        rows.append([f"{percent}%", style.bar(percent), str(each.get("revisionName", "")), tag])
    return columns(rows, right=frozenset({0}), gap=2)


def _model_status(model: Json, now_s: float, style: Style) -> list[str]:
    states, copies = model.get("states") or {}, model.get("copies") or {}
    transition = str(model.get("transitionStatus", ""))
    colour = {"UpToDate": "green", "InProgress": "yellow"}.get(transition, "red")
    pairs = [("Transition", style.paint(transition, colour))]
    if states:
        active = states.get("activeModelState") or "none"
        target = states.get("targetModelState") or "none"
        pairs.append(("Active model", str(active)))
        pairs.append(("Target model", str(target)))
    if copies:
        failed = copies.get("failedCopies") or 0
        text = f"{copies.get('totalCopies', 0)}" + (f", {failed} failed" if failed else "")
        pairs.append(("Copies", text))
    failure = model.get("lastFailureInfo")
    if failure:
        revision = failure.get("modelRevisionName")
        since = failure.get("time")
        where = f" in {revision}" if revision else ""
        when = f", {age(since, now_s)} ago" if parse_time(since) is not None else ""
        reason = f"{failure.get('reason', '')}{where}{when}"
        pairs.append(("Last failure", f"{reason}\n{failure.get('message', '')}"))
    return _pairs(pairs, "  ")


def _conditions(conditions: Sequence[Json], now_s: float, style: Style) -> list[str]:
    rows = [["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"]]
    for each in conditions:
        since = each.get("lastTransitionTime")
        rows.append(
            [
                str(each.get("type", "")),
                str(each.get("status", "")),
                age(since, now_s) if parse_time(since) is not None else "",
                str(each.get("reason") or ""),
                " ".join(str(each.get("message") or "").split()),
            ]
        )
    lines = columns(rows)
    for index, each in enumerate(conditions):
        if each.get("status") == "False" and each.get("severity") != "Info":
            lines[index + 1] = style.paint(lines[index + 1], "red")
    return ["Conditions:", *(f"  {line}" for line in lines)]


def _events(events: Sequence[Json], now_s: float, style: Style) -> list[str]:
    if not events:
        return ["Events: <none>"]
    rows = [row[:1] + row[1:3] + row[4:] for row in event_rows(events, now_s)]
    lines = columns([["LAST SEEN", "TYPE", "REASON", "MESSAGE"], *rows])
    painted = [
        style.paint(line, "yellow" if row[1] == "Warning" else "")
        for line, row in zip(lines[1:], rows, strict=True)
    ]
    return ["Events:", *(f"  {line}" for line in [lines[0], *painted])]


def _fields(obj: Json) -> Iterator[str]:
    """Everything but the metadata and the conditions, as an indented outline."""
    skipped = ("apiVersion", "kind", "metadata")
    hides_values = obj.get("kind") == "Secret"
    for key, value in obj.items():
        if key in skipped or value in (None, {}, [], ""):
            continue
        if hides_values and key in ("data", "stringData"):
            value = {name: f"{len(str(text))} characters" for name, text in value.items()}
        if key == "status" and isinstance(value, dict):
            value = {name: each for name, each in value.items() if name != "conditions"}
            if not value:
                continue
        yield from ("", *_outline(_title(key), value, ""))


def _outline(name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield f"{indent}{name}:"
        scalars = [(k, v) for k, v in value.items() if not isinstance(v, dict | list) or not v]
        yield from _pairs([(k, _scalar(v)) for k, v in scalars], indent + "  ")
        for key, each in value.items():
            if isinstance(each, dict | list) and each:
                yield from _outline(key, each, indent + "  ")
    elif isinstance(value, list) and value and not isinstance(value[0], dict | list):
        yield f"{indent}{name}:  {', '.join(map(_scalar, value))}"
    elif isinstance(value, list) and value:
        for index, each in enumerate(value):
            yield from _outline(f"{name}[{index}]", each, indent)
    else:
        yield f"{indent}{name}:  {_scalar(value)}"


def _scalar(value: Any) -> str:
    if value is None or value in ({}, []):
        return "<none>"
    return str(value).lower() if isinstance(value, bool) else str(value).rstrip("\n")


def _title(key: str) -> str:
    return key[:1].upper() + key[1:]
