"""MLServer's `model-settings.json` as a description of a model: what, where, how.

Owns where MLServer looks for these files and for the artifact, and what its runtimes are here.
Refuses to import anything: a class of the user's is read as a syntax tree.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from salver.artifacts.overrides import ModelOverrides
from salver.artifacts.packed_environments import requirements_in
from salver.artifacts.python_files import syntax_tree
from salver.errors import ArtifactError
from salver.inference.metadata import DATATYPES, TensorMetadata
from salver.inference.requirements import Requirements

if TYPE_CHECKING:
    from salver.spec.mlserver import ModelSettings, TensorSettings

FILE_NAME = "model-settings.json"
SERVER_FILE_NAME = "settings.json"
RUNTIME = "mlserver"
"""The runtime of classes that derive from MLServer's own."""

_RUNTIMES = {
    "mlserver_sklearn": "sklearn",
    "mlserver_xgboost": "xgboost",
    "mlserver_lightgbm": "lightgbm",
    "mlserver_onnx": "onnx",
}
_ARTIFACTS = {
    "sklearn": ("model.joblib", "model.pickle", "model.pkl", "model.skops"),
    "xgboost": ("model.bst", "model.json", "model.ubj"),
    "lightgbm": ("model.bst", "model.txt"),
    "onnx": ("model.onnx",),
}
"""The names under which MLServer's runtimes look for a model in a folder."""
_MAX_BYTES = 1 << 20
_MAX_DEPTH = 5
"""A server started in somebody's home folder must not read all of it."""


class SettingsModel(msgspec.Struct, frozen=True):
    """A model as its settings describe it. `path` is its file, or a folder that holds it.

    `is_class`: the path is a Python file and `attribute` the class in it.
    """

    name: str
    version: str
    path: Path
    runtime: str
    attribute: str = ""
    overrides: ModelOverrides = ModelOverrides()
    requirements: Requirements = Requirements()
    notes: tuple[str, ...] = ()

    @property
    def is_class(self) -> bool:
        return bool(self.attribute)


def settings_files(folder: Path) -> Iterator[Path]:
    """Every `model-settings.json` in the folder and below, by path, as MLServer finds them."""
    for root, folders, files in os.walk(folder):
        is_deep = len(Path(root).relative_to(folder).parts) >= _MAX_DEPTH
        kept = (each for each in folders if not each.startswith((".", "__pycache__")))
        folders[:] = [] if is_deep else sorted(kept)
        if FILE_NAME in files:
            yield Path(root) / FILE_NAME


def read_settings_model(file: Path) -> SettingsModel:
    """The model that the file describes. Raises `ArtifactError` with all that is wrong in it."""
    # Imported here: most models have no such file, and reading one takes a parser.
    from salver.spec.settings_files import read_model_settings

    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{file} cannot be read: {error}; check the file") from error
    reading = read_model_settings(text, str(file))
    settings = reading.settings
    if settings is None:
        raise ArtifactError("; ".join(str(problem) for problem in reading.problems))
    runtime, path, attribute = _implementation(file, settings)
    parameters = settings.parameters
    return SettingsModel(
        name=settings.name or file.parent.resolve().name,
        version=(parameters.version if parameters else "") or "1",
        path=path,
        runtime=runtime,
        attribute=attribute,
        overrides=_overrides(file, settings),
        requirements=_environment(file, settings),
        notes=tuple(str(note) for note in reading.notes),
    )


def _implementation(file: Path, settings: ModelSettings) -> tuple[str, Path, str]:
    """The runtime, the path, and the class if it is one of the user's."""
    if not settings.implementation:
        return "", _artifact(file, settings, ""), ""
    package, _, name = settings.implementation.rpartition(".")
    top = settings.implementation.partition(".")[0]
    if top in _RUNTIMES:
        return _RUNTIMES[top], _artifact(file, settings, _RUNTIMES[top]), ""
    module = _module(file, package)
    if module is not None:
        return _class_runtime(file, module, name), module, name
    if top == "mlserver" or top.startswith("mlserver_"):
        raise ArtifactError(
            f"{file}: implementation {settings.implementation} is no runtime that Salver has; it "
            f"has those of {', '.join(sorted(_RUNTIMES))}, and classes of your own"
        )
    raise ArtifactError(
        f"{file}: implementation {settings.implementation} is not found: there is no "
        f"{package.replace('.', '/') or name}.py beside the file; put the module there"
    )


def _module(file: Path, package: str) -> Path | None:
    """The Python file of the module, beside the settings."""
    if not package:
        return None
    base = file.parent.joinpath(*package.split("."))
    candidates = (base.with_name(base.name + ".py"), base / "__init__.py")
    return next((each.resolve() for each in candidates if each.is_file()), None)


def _class_runtime(file: Path, module: Path, name: str) -> str:
    """`mlserver` for a class that derives from MLServer's, else a plain Python class."""
    try:
        tree = syntax_tree(module)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}; check its permissions"
        raise ArtifactError(f"{module} {reason}") from error
    except ValueError as error:
        raise ArtifactError(f"{module} {error}; correct it") from error
    from_mlserver = _names_from_mlserver(tree)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if name not in classes and name not in _imported(tree):
        known = ", ".join(classes) or "no class"
        raise ArtifactError(f"{file}: {module.name} has no class {name}; it has {known}")
    seen: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        if current in from_mlserver or current.split(".")[0] in from_mlserver:
            return RUNTIME
        if current in classes and current not in seen:
            seen.add(current)
            pending += [ast.unparse(base) for base in classes[current].bases]
    return "python"


def _imported(tree: ast.Module) -> set[str]:
    return {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def _names_from_mlserver(tree: ast.Module) -> set[str]:
    """What the file calls things of MLServer's."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {
                (alias.asname or alias.name).split(".")[0]
                for alias in node.names
                if alias.name.startswith("mlserver")
            }
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mlserver"):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def _artifact(file: Path, settings: ModelSettings, runtime: str) -> Path:
    """The file that `parameters.uri` names, or a known one in the folder that it names."""
    uri = settings.parameters.uri if settings.parameters else None
    path = _beside(file, uri) if uri else file.parent
    if not path.exists():
        raise ArtifactError(
            f"{file}: parameters.uri {uri} does not exist (looked for {path}); it is relative to "
            "the file"
        )
    if not path.is_dir():
        return path.resolve()
    names = _ARTIFACTS.get(runtime) or chain.from_iterable(_ARTIFACTS.values())
    known = (path / name for name in names)
    return next((each.resolve() for each in known if each.is_file()), path.resolve())


def _beside(file: Path, uri: str) -> Path:
    return file.parent / Path(uri.removeprefix("file://")).expanduser()


def _environment(file: Path, settings: ModelSettings) -> Requirements:
    """The packages of the environment that is packed up or lies beside the model."""
    parameters = settings.parameters
    uri = parameters and (parameters.environment_path or parameters.environment_tarball)
    if not uri:
        return Requirements()
    return requirements_in(_beside(file, uri))


def _overrides(file: Path, settings: ModelSettings) -> ModelOverrides:
    parameters = settings.parameters
    arguments = dict(parameters.extra) if parameters else {}
    is_batched = settings.max_batch_size > 1 and settings.max_batch_time > 0
    content_type = parameters.content_type if parameters else None
    return ModelOverrides(
        platform=settings.platform,
        inputs=_tensors(file, settings.inputs, "inputs", content_type),
        outputs=_tensors(file, settings.outputs, "outputs", None),
        parameters={"settings_file": str(file.resolve()), "extra": arguments},
        max_batch_rows=settings.max_batch_size if is_batched else 0,
        max_batch_delay_s=settings.max_batch_time if is_batched else 0.0,
        workers=settings.parallel_workers or 0,
    )


def _tensors(
    file: Path, tensors: Sequence[TensorSettings], field: str, content_type: str | None
) -> tuple[TensorMetadata, ...]:
    found = []
    for each in tensors:
        if each.datatype not in DATATYPES:
            raise ArtifactError(
                f"{file}: {field}: {each.name} has the unknown datatype {each.datatype!r}; use "
                f"one of {', '.join(sorted(DATATYPES))}"
            )
        own_type = each.parameters.get("content_type") or content_type
        found.append(
            TensorMetadata(
                each.name,
                each.datatype,  # type: ignore[arg-type]
                each.shape,
                any_shape=not each.shape,
                content_type=own_type if own_type in ("np", "str", "base64", "datetime") else None,
            )
        )
    return tuple(found)
