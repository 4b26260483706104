"""Drives a server with wrk or h2load for a few seconds and reads their reports.

Both run with one thread and keep-alive connections, one request in flight on each.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.cases import GRPC_PATH, Case, Payload

GRACE_S = 20

WRK_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
{headers}
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\nREPORT {{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"failed":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class LoadFailed(Exception):
    """The load generator gave no report."""


@dataclass(frozen=True)
class LoadReport:
    """What the load generator saw."""

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    failed: int

    @property
    def rate(self) -> float:
        """Requests answered without error per second."""
        return (self.requests - self.failed) / self.duration_s


def drive(case: Case, payload: Payload, *, port: int, connections: int, seconds: int) -> LoadReport:
    """Loads the server on the port."""
    with tempfile.TemporaryDirectory(prefix="salver-bench-") as name:
        folder = Path(name)
        body = folder / "body"
        if case.wire == "grpc":
            # A gRPC message on the wire: not compressed, length, bytes.
            body.write_bytes(b"\0" + len(payload.body).to_bytes(4, "big") + payload.body)
            return _h2load(folder, body, port, connections, seconds)
        body.write_bytes(payload.body)
        url = f"http://127.0.0.1:{port}{case.infer_path}"
        return _wrk(folder, body, payload.headers, url, connections, seconds)


def _run(command: list[str], seconds: int) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(f"{command[0]} did not end {GRACE_S} s after its time") from error
    return done.stdout + done.stderr


def _wrk(
    folder: Path, body: Path, headers: dict[str, str], url: str, connections: int, seconds: int
) -> LoadReport:
    lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())
    script = folder / "post.lua"
    script.write_text(WRK_SCRIPT.format(body=body, headers=lines))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    return read_wrk(_run([*command, "-s", str(script), url], seconds))


def read_wrk(output: str) -> LoadReport:
    """The report that our script has wrk print."""
    found = re.search(r"^REPORT (.*)$", output, re.MULTILINE)
    if not found:
        raise LoadFailed(f"wrk gave no report: {output[-300:]!r}")
    report = json.loads(found[1])
    return LoadReport(
        requests=report["requests"],
        duration_s=report["duration_us"] / 1e6,
        p50_ms=report["p50_us"] / 1e3,
        p99_ms=report["p99_us"] / 1e3,
        failed=report["failed"],
    )


def _h2load(folder: Path, body: Path, port: int, connections: int, seconds: int) -> LoadReport:
    log = folder / "log"
    command = ["h2load", "-t1", f"-c{connections}", "-m1", f"-D{seconds}", "-d", str(body)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    command += ["--log-file", str(log), f"http://127.0.0.1:{port}{GRPC_PATH}"]
    output = _run(command, seconds)
    times = log.read_text().splitlines() if log.exists() else []
    return read_h2load(output, times)


def read_h2load(output: str, log: Iterable[str]) -> LoadReport:
    """h2load's summary, and percentiles from its log (start, status, microseconds a line)."""
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    finished = re.search(r"finished in ([\d.]+)(us|ms|s),", output)
    if not counts or not finished:
        raise LoadFailed(f"h2load gave no report: {output[-300:]!r}")
    succeeded, *failed = (int(value) for value in counts.groups())
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0}[finished[2]]
    times_ms = sorted(int(line.split()[2]) / 1e3 for line in log)
    return LoadReport(
        requests=succeeded + sum(failed),
        duration_s=float(finished[1]) * unit,
        p50_ms=percentile(times_ms, 50),
        p99_ms=percentile(times_ms, 99),
        failed=sum(failed),
    )


def percentile(ordered: list[float], percent: float) -> float:
    """The nearest-rank percentile of sorted values; NaN of none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
