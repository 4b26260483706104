"""`salver graph show`: a graph as a drawing, with what goes through it.

Asks the server, or reads a file; what is drawn is made in `graphs/`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from salver.cli.ages import duration
from salver.cli.client import ApiError
from salver.cli.session import Session
from salver.cli.terminal import Style, columns, is_terminal
from salver.errors import CommandFailed
from salver.graphs.drawing import Glyphs, mermaid, tree
from salver.graphs.outline import outline_of
from salver.graphs.picture import Sample, rate_text
from salver.graphs.shown import ShownGraph, ShownVariant

USAGE = "show NAME | render FILE.py [options]"
DESCRIPTION = """\
Shows a graph: its steps, and the traffic, latency and failures of each. Or renders the graphs of a
Python file as YAML.
"""
EXAMPLES = """\
examples:
  salver graph show fraud
  salver graph show fraud --watch
  salver graph show fraud -o mermaid
  salver graph show --file fraud.yaml
  salver graph show --file fraud.py -o svg > fraud.svg
  salver graph render fraud.py > fraud.yaml
"""
OUTPUTS = ("text", "mermaid", "svg", "json")
_CLEAR = "\x1b[H\x1b[2J"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver graph`."""
    parser.add_argument(
        "action",
        choices=("show", "render"),
        metavar="show|render",
        help="draw a graph, or print those of a Python file as YAML",
    )
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="the graph's name; to render, its file"
    )
    parser.add_argument(
        "-o",
        "--output",
        default="text",
        metavar="FORMAT",
        help=f"{', '.join(OUTPUTS)}; to render: yaml, json",
    )
    parser.add_argument(
        "-w", "--watch", action="store_true", help="go on, with figures of the last seconds"
    )
    parser.add_argument(
        "--interval", default="2s", metavar="DURATION", help="with -w: how often (default: 2s)"
    )
    parser.add_argument(
        "--timeout",
        default="",
        metavar="DURATION",
        help="with -w: for how long (default: until Ctrl-C)",
    )
    parser.add_argument(
        "--file",
        default="",
        metavar="FILE",
        help="a manifest or Python file to draw, without a server",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints the graph, once or until it is interrupted."""
    if arguments.action == "render":
        from salver.cli.graph_render import render

        return render(arguments.name, arguments.output, session)
    if arguments.output not in OUTPUTS:
        raise CommandFailed(
            f"-o {arguments.output}: is no format; give one of {', '.join(OUTPUTS)}"
        )
    if arguments.file:
        for graph in declared(arguments.file, session):
            session.say(*rendered(graph, arguments.output, session.style))
        return 0
    if not arguments.name:
        raise CommandFailed("graph show: which graph? give its name, or --file")
    if arguments.watch:
        return _watch(arguments, session)
    session.say(*rendered(fetched(arguments.name, session), arguments.output, session.style))
    return 0


def fetched(name: str, session: Session) -> ShownGraph:
    """The graph as the server tells of it. Raises `CommandFailed`."""
    namespace, _, plain = name.rpartition("/")
    place = f"{quote(namespace or session.namespace, safe='')}/{quote(plain, safe='')}"
    try:
        answer = session.client.send("GET", f"/salver/v1/graphs/{place}")
    except ApiError as error:
        if error.status != 404:
            raise
        raise CommandFailed(
            f"there is no graph '{namespace or session.namespace}/{plain}' that can be drawn; "
            "salver get all lists what is declared, salver describe says why it does not serve"
        ) from error
    try:
        return msgspec.json.decode(answer.body, type=ShownGraph)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CommandFailed(
            f"the server's answer on graph '{plain}' cannot be read ({error}); is it of another "
            "version than this command?"
        ) from error


def declared(file: str, session: Session) -> list[ShownGraph]:
    """The graphs in a file, as they would be. Raises `ManifestError` or `CommandFailed`."""
    from salver.cli.apply import as_applied
    from salver.cli.python_graphs import is_python, manifests_of
    from salver.cli.sources import read_files
    from salver.control.graph_compiling import compiled_alone
    from salver.graphs.selection import PlanError
    from salver.graphs.shown import shown_graph

    found = []
    if is_python(file):
        objects = manifests_of(file)
    else:
        objects = read_files([file], is_recursive=True, stdin=session.stdin, note=session.warn)
    for obj in [as_applied(each, session.namespace) for each in objects]:
        try:
            desire = compiled_alone(obj)
        except PlanError as error:
            raise CommandFailed(f"{obj['kind']} {obj['metadata']['name']}: {error}") from error
        if desire is not None:
            found.append(shown_graph(desire, str(obj["kind"]), "", {}, serves=False))
    if not found:
        raise CommandFailed(f"{file} declares no graph")
    return found


def rendered(
    graph: ShownGraph,
    output: str,
    style: Style,
    before: ShownGraph | None = None,
    seconds: float = 0.0,
) -> list[str]:
    """The graph in a format; with `before`, its figures are those of the seconds since then."""
    if output == "json":
        text = msgspec.json.format(msgspec.json.encode(graph), indent=2)
        return [text.decode()]
    samples = _samples(graph, before, seconds)
    lines: list[str] = []
    if output == "text":
        lines += [*_head(graph, style), ""]
    for variant in graph.variants:
        sample = samples.get(variant.name)
        if output == "text":
            lines += _drawing(graph, variant, sample, style)
            continue
        from salver.graphs.svg import svg

        picture = outline_of(variant.flow, sample)
        lines += (svg(picture) if output == "svg" else mermaid(picture)).rstrip("\n").split("\n")
    return lines


def _samples(graph: ShownGraph, before: ShownGraph | None, seconds: float) -> dict[str, Sample]:
    """The figures of each variant, where there are any."""
    former = {each.name: each.sample for each in before.variants} if before is not None else {}
    return {
        each.name: each.sample.since(former.get(each.name) or Sample(), seconds)
        if before is not None
        else each.sample
        for each in graph.variants
        if each.sample is not None
    }


def _head(graph: ShownGraph, style: Style) -> list[str]:
    state = style.paint("serving", "green") if graph.serves else style.paint("not serving", "red")
    parts = [style.paint(graph.label, "bold"), graph.kind]
    if graph.url:
        parts += [state, graph.url if graph.serves else ""]
    return ["  ".join(filter(None, parts))]


def _drawing(
    graph: ShownGraph, variant: ShownVariant, sample: Sample | None, style: Style
) -> list[str]:
    lines: list[str] = []
    if len(graph.variants) > 1:
        share = "shadow of" if variant.is_shadow else "gets"
        seen = f", {rate_text(sample.requests, sample)}" if sample is not None else ""
        lines.append(style.paint(f"{variant.name}: {share} {variant.percent:g}%{seen}", "bold"))
    glyphs = Glyphs(is_unicode=style.is_unicode)
    rows = tree(outline_of(variant.flow, sample), glyphs)
    used = [index for index in range(3) if any(row[index] for row in rows)]
    cells = [[row[index] for index in used] for row in rows]
    for line, row in zip(columns(cells), rows, strict=True):
        is_bad = sample is not None and "failed" in row[2]
        lines.append(style.paint(line, "red") if is_bad else line)
    return [*lines, ""]


def _watch(arguments: argparse.Namespace, session: Session) -> int:
    interval_s = max(0.2, duration(arguments.interval, "--interval"))
    ends_s = (
        session.clock() + duration(arguments.timeout, "--timeout") if arguments.timeout else None
    )
    before, then_s = fetched(arguments.name, session), session.clock()
    session.say(*rendered(before, arguments.output, session.style))
    while ends_s is None or session.clock() < ends_s:
        session.sleep(interval_s)
        graph, now_s = fetched(arguments.name, session), session.clock()
        lines = rendered(graph, arguments.output, session.style, before, max(0.001, now_s - then_s))
        _repaint(lines, session)
        before, then_s = graph, now_s
    return 0


def _repaint(lines: Sequence[str], session: Session) -> None:
    """In place on a terminal, else one after another."""
    if is_terminal(session.out):
        session.out.write(_CLEAR)
    session.say(*lines)
