"""MLflow's Parquet requests: a table as `DataFrame.to_parquet` writes it. Needs PyArrow."""

from __future__ import annotations

import base64
import datetime
import decimal
from typing import Any

from salver.errors import InvalidInput, Unsupported
from salver.protocol.mlflow_answers import MlflowAnswers
from salver.protocol.mlflow_json import request_of_table
from salver.protocol.mlflow_tables import Table
from salver.protocol.wire import ModelIdentity, WireRequest

_MOST_VALUES = 50_000_000
_MOST_BYTES = 1 << 30
_INDEX = "__index_level_"


class MlflowParquetCodec(MlflowAnswers):
    """See `wire.WireCodec`. Raises `Unsupported` where PyArrow is not installed."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise Unsupported(
                f"model {model.name!r} has no PyArrow to read Parquet with: send text/csv or "
                "application/json, or run: pip install 'salver[parquet]'"
            ) from error
        try:
            file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(bytes(body)))
            _check_size(file.metadata, model)
            table = file.read(use_threads=False)
            columns = [_values(column.to_pylist()) for column in table.columns]
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InvalidInput(
                f"the body for model {model.name!r} is no Parquet file: {reason}"
            ) from error
        kept = [i for i, name in enumerate(table.column_names) if not name.startswith(_INDEX)]
        names = tuple(str(table.column_names[i]) for i in kept)
        return request_of_table(Table([columns[i] for i in kept], names), None, model)


def _check_size(metadata: Any, model: ModelIdentity) -> None:
    """A small file may hold a large table: it is not unpacked then."""
    values = metadata.num_rows * metadata.num_columns
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    if values > _MOST_VALUES or sum(each.total_byte_size for each in groups) > _MOST_BYTES:
        raise InvalidInput(
            f"the Parquet file for model {model.name!r} holds {values} values, the most is "
            f"{_MOST_VALUES} in {_MOST_BYTES} bytes: send it in parts"
        )


def _values(values: list[Any]) -> list[Any]:
    """Values as JSON would have them."""
    kinds = {type(value) for value in values}
    if not kinds & {bytes, datetime.datetime, datetime.date, datetime.time, decimal.Decimal}:
        return values
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return float(value) if isinstance(value, decimal.Decimal) else value
