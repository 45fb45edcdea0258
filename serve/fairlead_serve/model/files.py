"""Models from files and from plain values, with every problem said at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fairlead_serve import shapes
from fairlead_serve.documents import read_documents
from fairlead_serve.errors import ModelFileError, Problem
from fairlead_serve.model.resource import API_VERSION, KIND, Model
from fairlead_serve.sentences import dotted, kind_of, nearest, problems_of


def load(path: Path) -> list[Model]:
    """The Models of a YAML file, in its order; several are separated by `---`.

    Raises ModelFileError with every problem of the file, each with its place.
    """
    documents = read_documents(path)
    models: list[Model] = []
    problems: list[Problem] = []
    for number, document in enumerate(documents, start=1):
        prefix = f"document {number}" if len(documents) > 1 else ""
        try:
            models.append(parse(document, source=str(path)))
        except ModelFileError as error:
            problems += [_within(prefix, problem) for problem in error.problems]
    if problems:
        raise ModelFileError(str(path), problems)
    return models


def load_all(paths: Sequence[Path]) -> list[Model]:
    """The Models of several files, to run together on one machine without a cluster.

    Beyond `load`, names must differ among the Models, fallbacks must be among them, and no weights may lie
    where only a cluster can reach them.
    Raises ModelFileError with the problems of all files.
    """
    loaded: list[tuple[Path, Model]] = []
    failures: list[tuple[Path, Problem]] = []
    for path in paths:
        try:
            loaded += [(path, model) for model in load(path)]
        except ModelFileError as error:
            failures += [(path, problem) for problem in error.problems]
    # Only complete knowledge can tell that a name is missing.
    if not failures:
        failures = list(_together(loaded))
    if failures:
        raise _files_error(failures)
    return [model for _, model in loaded]


def parse(document: object, *, source: str) -> Model:
    """One Model from plain values, as YAML gives them (camelCase names only).

    Raises ModelFileError; `source` is what it calls the document.
    """
    if not isinstance(document, Mapping):
        raise ModelFileError(source, [Problem("", f"expected a Model, found {kind_of(document)}")])
    problems = list(_heading_problems(document))
    if problems:
        raise ModelFileError(source, problems)
    problems = list(_metadata_problems(document.get("metadata")))
    try:
        model = Model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        found = problems_of(error, Model, shapes.ALL)
        unknown = _unknown_fields(error)
        # Without the unknown fields the rules that span fields can be checked too.
        found += _problems_of(_without(document, unknown)) if unknown else []
        raise ModelFileError(source, list(dict.fromkeys(problems + found))) from None
    if problems:
        raise ModelFileError(source, problems)
    return model


def parse_stored(manifest: Mapping[str, Any], *, source: str, on_unknown: Callable[[str], None]) -> Model:
    """One Model as the API server has it, where the CustomResourceDefinition may be of a later release than this.

    Fields that this release does not know are left out, and `on_unknown` is told the place of each: nobody mistyped
    them, since the API server keeps none that its definition does not have.
    Raises ModelFileError; `source` is what it calls the Model.
    """
    metadata = {name: value for name, value in manifest["metadata"].items() if name in _KUBERNETES_METADATA}
    stored = {**manifest, "metadata": metadata}
    try:
        return parse(stored, source=source)
    except ModelFileError:
        unknown = _unknown_in(stored)
        if not unknown:
            raise
    for place in unknown:
        on_unknown(dotted(place))
    return parse(_without(stored, unknown), source=source)


def _unknown_in(document: object) -> list[tuple[str | int, ...]]:
    try:
        Model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        return _unknown_fields(error)
    return []


def _unknown_fields(error: ValidationError) -> list[tuple[str | int, ...]]:
    return [item["loc"] for item in error.errors() if item["type"] == "extra_forbidden"]


def _problems_of(document: object) -> list[Problem]:
    try:
        Model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        return problems_of(error, Model, shapes.ALL)
    return []


def _heading_problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if field not in document:
            yield Problem(field, f"missing; write {field}: {wanted}")
        elif document[field] != wanted:
            found = document[field]
            shown = found if isinstance(found, str) else kind_of(found)
            yield Problem(field, f"expected {wanted}, found {shown}")


# The fields of a live object's metadata, in Kubernetes 1.36.
_KUBERNETES_METADATA = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


def _metadata_problems(metadata: object) -> Iterator[Problem]:
    for name in metadata if isinstance(metadata, Mapping) else ():
        if name not in _KUBERNETES_METADATA:
            hint = nearest(str(name), _KUBERNETES_METADATA) or "labels and annotations take names of your own"
            yield Problem(f"metadata.{name}", f"unknown field; {hint}")


def _without(document: Any, places: Iterable[Sequence[str | int]]) -> Any:
    """A copy of plain values without the fields at `places`."""
    drop = {place[0]: [rest[1:] for rest in places if rest[0] == place[0]] for place in places}
    gone = {step for step, rests in drop.items() if () in [tuple(rest) for rest in rests]}
    if isinstance(document, Mapping):
        return {
            key: _without(value, drop[key]) if key in drop else value
            for key, value in document.items()
            if key not in gone
        }
    return [_without(item, drop[index]) if index in drop else item for index, item in enumerate(document)]


def _within(prefix: str, problem: Problem) -> Problem:
    if not prefix:
        return problem
    return Problem(f"{prefix}: {problem.path}" if problem.path else prefix, problem.message)


def _together(loaded: Sequence[tuple[Path, Model]]) -> Iterator[tuple[Path, Problem]]:
    names: dict[str, Path] = {}
    served: dict[str, str] = {}
    known = {model.name for _, model in loaded}
    for path, model in loaded:
        if model.name in names:
            message = f"{model.name} is also the name of a Model in {names[model.name]}; names must differ"
            yield path, Problem("metadata.name", message)
            continue
        names[model.name] = path
        for name in (*model.served_names, *model.adapter_names):
            if name in served:
                message = f"{model.name} answers to {name}, but so does {served[name]}; names must differ"
                yield path, Problem("spec.model", message)
            served.setdefault(name, model.name)
        for name in model.spec.fallback:
            if name not in known:
                hint = nearest(name, known - {model.name}) or "give its file as well, or remove it"
                yield path, Problem("spec.fallback", f"there is no Model {name}; {hint}")
        if model.spec.model.scheme == "pvc":
            message = "pvc:// weights exist only in a cluster; use file:///path here"
            yield path, Problem("spec.model.uri", message)


def _files_error(failures: Sequence[tuple[Path, Problem]]) -> ModelFileError:
    files = list(dict.fromkeys(path for path, _ in failures))
    if len(files) == 1:
        return ModelFileError(str(files[0]), [problem for _, problem in failures])
    return ModelFileError("Model files", [_within(str(path), problem) for path, problem in failures])
