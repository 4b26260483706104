"""`salver rollout`: how a new revision gets its traffic, and how to speed, stop or undo that.

`promote` and `undo` change the manifest on the server, as a patch would; the next `apply` of a
file that says otherwise wins over them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from salver.cli.ages import age, duration
from salver.cli.progress import ProgressLines, failure_of, is_rolled_out, step_of
from salver.cli.resource_names import (
    Target,
    collection_path,
    find_type,
    full_name,
    object_path,
    read_service,
)
from salver.cli.session import Session
from salver.cli.terminal import columns, style_of
from salver.cli.three_way import Json, two_way_patch
from salver.cli.watching import DeadlinePassed, states
from salver.errors import CommandFailed

USAGE = "(status | history | promote | undo | pause | resume) NAME [options]"
DESCRIPTION = """\
  status   follow a rollout until it is done, or has failed
  history  list the revisions and what they get
  promote  give all traffic to the newest revision, or to the canary
  undo     go back to the revision before, or to --to-revision
  pause    keep traffic where it is, whatever is applied
  resume   go on after a pause
"""
EXAMPLES = """\
examples:
  salver rollout status isvc/iris --timeout 2m
  salver rollout history iris
  salver rollout promote iris
  salver rollout undo iris --to-revision 3
"""

PAUSED = "salver.dev/paused"
"""Annotation: nothing new is loaded, and traffic stays as it is."""
PINNED = "salver.dev/pinned"
"""Annotation: the revision that gets all traffic of its component, whatever the manifest says."""
SERVICE_LABEL = "salver.dev/service"
COMPONENT_LABEL = "salver.dev/component"
_COMPONENTS = ("predictor", "transformer", "explainer")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver rollout`."""
    parser.add_argument("action", choices=tuple(_ACTIONS), metavar="ACTION", help="see above")
    parser.add_argument("resources", nargs="+", metavar="NAME", help="NAME, TYPE NAME or TYPE/NAME")
    parser.add_argument(
        "--to-revision",
        type=int,
        default=0,
        metavar="N",
        help="undo: the number that history shows",
    )
    parser.add_argument(
        "-c",
        "--component",
        default="",
        choices=("", *_COMPONENTS),
        metavar="NAME",
        help="predictor, transformer or explainer (default: predictor; history: all)",
    )
    parser.add_argument(
        "--canary", default="", metavar="NAME", help="promote: this one of canary[]"
    )
    parser.add_argument(
        "--watch",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="status: wait for the end (default: yes)",
    )
    parser.add_argument(
        "--timeout",
        default="",
        metavar="DURATION",
        help="status: for how long (default: without limit)",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Runs the action."""
    target = read_service(arguments.resources)
    if target.type.kind != "InferenceService":
        raise CommandFailed(f"{target.type.plural} have no rollout; isvc have")
    return _ACTIONS[arguments.action](target, arguments, session)


def _status(target: Target, arguments: argparse.Namespace, session: Session) -> int:
    limit = arguments.timeout
    deadline_s = session.clock() + duration(limit, "--timeout") if limit else None
    name = f'{target.type.singular} "{target.name}"'
    lines = ProgressLines(session.out, style_of(session.out, session.environ))
    path = collection_path(target.type, session.namespace)
    try:
        for obj in states(session, path, target.name, deadline_s):
            if obj is None:
                raise CommandFailed(f"{name} is not there; check its name and -n")
            problem = failure_of(obj)
            if (obj["metadata"].get("annotations") or {}).get(PAUSED) == "true":
                lines.clear()
                session.say(
                    f"{name} is paused, its traffic stays{_split(obj)}; go on with: "
                    f"salver rollout resume {target.name}"
                )
                return 0
            if problem or is_rolled_out(obj):
                lines.clear()
                if problem:
                    raise CommandFailed(f"{name} failed to roll out: {problem}")
                session.say(f"{name} successfully rolled out{_split(obj)}")
                return 0
            lines.show(f"waiting for {name}", step_of(obj, session.style))
            if not arguments.watch:
                lines.clear()
                return 0
    except DeadlinePassed as passed:
        lines.clear()
        raise CommandFailed(f"{name} is not rolled out after {limit}") from passed
    return 0


def _split(obj: Json) -> str:
    """How the traffic of its predictor is split, if it is."""
    seen = ((obj.get("status") or {}).get("components") or {}).get("predictor") or {}
    shares = [each for each in seen.get("traffic") or [] if each.get("percent")]
    if len(shares) < 2:
        return ""
    return ": " + ", ".join(f"{each['percent']}% {each['revisionName']}" for each in shares)


def _history(target: Target, arguments: argparse.Namespace, session: Session) -> int:
    obj = session.client.get(object_path(target.type, session.namespace, target.name))
    revisions = _revisions(target.name, session)
    chosen = [
        each
        for each in revisions
        if not arguments.component or _component_of(each) == arguments.component
    ]
    session.say(full_name(target.type, target.name), *history_lines(obj, chosen, session.clock()))
    return 0


def history_lines(obj: Json, revisions: Sequence[Json], now_s: float) -> list[str]:
    """The revisions as a table, the oldest first."""
    rows = [["NUMBER", "REVISION", "COMPONENT", "TRAFFIC", "TAG", "MODEL", "AGE"]]
    for each in sorted(revisions, key=lambda each: (_component_of(each), _number(each))):
        name = str(each["metadata"]["name"])
        share = _share(obj, _component_of(each), name)
        created = each["spec"].get("created") or each["metadata"].get("creationTimestamp")
        percent = f"{share['percent']}%" if "percent" in share else "-"
        rows.append(
            [
                str(_number(each)),
                name,
                _component_of(each),
                percent,
                str(share.get("tag") or ("latest" if share.get("latestRevision") else "")),
                _model_of(each),
                age(created, now_s),
            ]
        )
    return columns(rows)


def _share(obj: Json, component: str, revision: str) -> Json:
    seen = ((obj.get("status") or {}).get("components") or {}).get(component) or {}
    for each in seen.get("traffic") or []:
        if each.get("revisionName") == revision:
            return dict(each)
    return {}


def _model_of(revision: Json) -> str:
    """What it runs, in a word."""
    runner = ((revision["spec"].get("plan") or {}).get("runner")) or {}
    command = " ".join(map(str, runner.get("command") or []))
    return str(runner.get("uri") or runner.get("url") or runner.get("image") or command)


def _number(revision: Json) -> int:
    return int(revision["spec"].get("number") or 0)


def _component_of(revision: Json) -> str:
    return str((revision["metadata"].get("labels") or {}).get(COMPONENT_LABEL, "predictor"))


def _revisions(name: str, session: Session) -> list[Json]:
    path = collection_path(find_type("revisions"), session.namespace)
    listed = session.client.get(path, {"labelSelector": f"{SERVICE_LABEL}={name}"})
    items: list[Json] = listed["items"]
    return items


def _promote(target: Target, arguments: argparse.Namespace, session: Session) -> int:
    path = object_path(target.type, session.namespace, target.name)
    obj = session.client.get(path)
    component = arguments.component or "predictor"
    patch: Json = {}
    if PINNED in (obj["metadata"].get("annotations") or {}):
        patch["metadata"] = {"annotations": {PINNED: None}}
    promoted = promotion(obj, component, arguments.canary)
    if promoted:
        patch["spec"] = promoted
    if not patch:
        raise CommandFailed(
            f"{full_name(target.type, target.name)} has no canary in its {component}: "
            "the newest revision gets all traffic already"
        )
    session.patch(path, patch)
    session.say(f"{full_name(target.type, target.name)} promoted")
    return 0


def promotion(obj: Json, component: str, canary: str) -> Json:
    """The patch of `spec` that gives the canary all traffic; empty if there is none.

    Raises `CommandFailed` if there are several and none is named.
    """
    spec = obj.get("spec") or {}
    entries = {
        str((each.get("predictor") or {}).get("name", "")): each
        for each in spec.get("canary") or []
    }
    if entries and component == "predictor":
        if not canary and len(entries) > 1:
            raise CommandFailed(f"say which canary with --canary: {', '.join(entries)}")
        name = canary or next(iter(entries))
        if name not in entries:
            raise CommandFailed(f"--canary {name}: there is none; there are {', '.join(entries)}")
        patch = two_way_patch(spec.get("predictor") or {}, entries[name]["predictor"])
        left = [each for key, each in entries.items() if key != name]
        return {"predictor": patch, "canary": left or None}
    if (spec.get(component) or {}).get("canaryTrafficPercent") is None:
        return {}
    return {component: {"canaryTrafficPercent": None}}


def _undo(target: Target, arguments: argparse.Namespace, session: Session) -> int:
    component = arguments.component or "predictor"
    path = object_path(target.type, session.namespace, target.name)
    obj = session.client.get(path)
    revisions = [
        each for each in _revisions(target.name, session) if _component_of(each) == component
    ]
    chosen = chosen_revision(obj, revisions, component, arguments.to_revision)
    session.patch(path, undo_patch(obj, component, chosen))
    name, revision = full_name(target.type, target.name), chosen["metadata"]["name"]
    session.say(f"{name} rolled back to {revision}")
    if "template" not in chosen["spec"]:
        session.say(f"it stays there until: salver rollout promote {target.name}")
    return 0


def undo_patch(obj: Json, component: str, revision: Json) -> Json:
    """The patch that goes back to a revision: to its manifest, or by pinning it if it has none."""
    template = revision["spec"].get("template")
    if not isinstance(template, dict):
        return {"metadata": {"annotations": {PINNED: revision["metadata"]["name"]}}}
    now = (obj.get("spec") or {}).get(component) or {}
    patch = two_way_patch(now, template)
    return {"spec": {component: {**patch, "canaryTrafficPercent": None}}}


def chosen_revision(obj: Json, revisions: Sequence[Json], component: str, number: int) -> Json:
    """The revision to go back to: by its number, or else the one before the newest.

    Raises `CommandFailed` if there is none.
    """
    ordered = sorted(revisions, key=_number)
    known = ", ".join(str(_number(each)) for each in ordered) or "none"
    if number:
        for each in ordered:
            if _number(each) == number:
                return each
        raise CommandFailed(f"--to-revision {number}: there is no such revision; there are {known}")
    seen = ((obj.get("status") or {}).get("components") or {}).get(component) or {}
    newest = seen.get("latestCreatedRevision") or (
        ordered[-1]["metadata"]["name"] if ordered else ""
    )
    names = [each["metadata"]["name"] for each in ordered]
    before = seen.get("latestRolledoutRevision")
    if before == newest:
        before = seen.get("previousRolledoutRevision")
    if before in names and before != newest:
        return ordered[names.index(before)]
    index = names.index(newest) if newest in names else len(names)
    if index < 1:
        raise CommandFailed(f"there is no revision before the present one; there are {known}")
    return ordered[index - 1]


def _pause(target: Target, arguments: argparse.Namespace, session: Session) -> int:
    return _set_paused(target, session, value="true", done="paused")


def _resume(target: Target, arguments: argparse.Namespace, session: Session) -> int:
    return _set_paused(target, session, value=None, done="resumed")


def _set_paused(target: Target, session: Session, *, value: str | None, done: str) -> int:
    path = object_path(target.type, session.namespace, target.name)
    before = (session.client.get(path)["metadata"].get("annotations") or {}).get(PAUSED)
    name = full_name(target.type, target.name)
    if before == value:
        raise CommandFailed(f"{name} is {'paused already' if value else 'not paused'}")
    session.patch(path, {"metadata": {"annotations": {PAUSED: value}}})
    session.say(f"{name} {done}")
    return 0


_ACTIONS = {
    "status": _status,
    "history": _history,
    "promote": _promote,
    "undo": _undo,
    "pause": _pause,
    "resume": _resume,
}
