"""Serves the same models by Salver and by its peers, loads all alike, prints medians and ratios.

    python bench/compare.py [--cases lr,xgb1,...] [--peers mosec,triton,...] [--rounds 5]
                            [--seconds 3] [--connections 1,64] [-o result.json]

Needs the development environment, uv, wrk and h2load. Peers install themselves, each into its
own environment under .bench/. All on loopback; every server is gone at the end, Ctrl-C included.
"""

from __future__ import annotations

from harness.options import cases_of, end_on_signals, parser, plan_of, say
from harness.report import Report, finish, measure
from harness.servers import choose


def main() -> int:
    """Runs the comparison; 130 after Ctrl-C, with the tables of what was measured."""
    options = parser("Compares Salver with its peers.")
    options.add_argument("--peers", default="", help="comma-separated beginnings of their names")
    options.add_argument("--peers-only", action="store_true", help="leave Salver out")
    arguments = options.parse_args()
    try:
        servers = choose(arguments.peers)
    except ValueError as error:
        options.error(str(error))
    if arguments.peers_only:
        servers = servers[1:]
    report = Report(reference=servers[0].name, plan=plan_of(arguments))
    end_on_signals()
    interrupted = False
    try:
        measure(report, cases_of(arguments), servers, say)
    except KeyboardInterrupt:
        interrupted = True
    finish(report, arguments.output)
    return 130 if interrupted else 0


if __name__ == "__main__":
    raise SystemExit(main())
