"""What TorchServe tells a handler of its model and its batch, written after its documentation.

Owns no more than a handler may ask for. Refuses what needs TorchServe's server: metrics are
taken and dropped, and headers of requests are not passed on.
"""

from __future__ import annotations

from typing import Any


class Metrics:
    """Takes any metric, keeps none."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("add_"):
            return lambda *_args, **_named: None
        raise AttributeError(name)


class Context:
    """What a handler is told of its model and its batch."""

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: dict[str, Any],
        batch_size: int,
        gpu: int | None,
        model_yaml_config: dict[str, Any],
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.model_yaml_config = model_yaml_config
        self.metrics = Metrics()
        self.explain = False
        self.system_properties = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "Salver",
            "server_version": "",
            "limit_max_image_pixels": True,
        }
        self.statuses: dict[int, tuple[int, str]] = {}
        self.request_ids: dict[int, str] = {}

    @property
    def request_processor(self) -> list[Context]:
        """One for each request in TorchServe; they differ in headers, which are not passed on."""
        return [self]

    def begin(self, rows: int) -> None:
        """A new batch: the statuses of the last one are forgotten."""
        self.statuses = {}
        self.request_ids = {index: str(index) for index in range(rows)}

    def get_request_id(self, idx: int = 0) -> str:
        return self.request_ids.get(idx, "")

    def get_request_header(self, idx: int, key: str) -> str | None:
        return None

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        return {}

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.statuses[idx] = (code, phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        for index in self.request_ids:
            self.statuses[index] = (code, phrase)

    def set_response_content_type(self, idx: int, value: str) -> None: ...

    def set_response_header(self, idx: int, key: str, value: str) -> None: ...
