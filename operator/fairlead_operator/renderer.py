"""From the Model in the cluster to what it asks for: read, valued, rendered. Pure, but it remembers the last ones."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairlead_operator.conditions import SpecReason
from fairlead_operator.errors import RenderError, SpecError
from fairlead_operator.observed import Problem, Wanted
from fairlead_operator.render import Chart, Manifest, render, revision
from fairlead_operator.settings import OperatorSettings
from fairlead_operator.values import adapters, chart_values
from fairlead_serve.api_server import packed, unpacked
from fairlead_serve.errors import ModelFileError
from fairlead_serve.model import Model, parse_stored

_logger = logging.getLogger(__name__)
# Models that are on their way are reconciled several times in a row, and all of them when an operator starts.
_REMEMBERED = 1024
_ARGUMENTS = "spec.engine.args"


@dataclass(frozen=True)
class _Rendered:
    """What a Model became; its objects as deflated JSON, a fifteenth of the memory."""

    objects: bytes
    revision: str


class Renderer:
    """Renders Models with one chart and one installation's settings. May be shared between threads."""

    def __init__(self, chart: Chart, settings: OperatorSettings, *, remembered: int = _REMEMBERED) -> None:
        """`remembered`: the most Models whose rendering is kept."""
        self._chart = chart
        self._settings = settings
        self._most = remembered
        self._last: OrderedDict[tuple[str, int], _Rendered | Problem] = OrderedDict()
        self._lock = threading.Lock()
        self._unknown: set[str] = set()

    def wanted(self, manifest: Manifest) -> Wanted | Problem:
        """What the Model asks for, or why that cannot be said."""
        try:
            model = parse_stored(_as_written(manifest), source="the Model", on_unknown=self._tell_of)
        except ModelFileError as error:
            # What the API server has not checked, or has by another version of the resource than this one.
            return Problem(_reason(error), "; ".join(str(error).splitlines()))
        rendered = self._rendered(model, manifest["metadata"])
        if isinstance(rendered, Problem):
            return rendered
        return Wanted(model, unpacked(rendered.objects), rendered.revision, adapters(model))

    def _rendered(self, model: Model, metadata: Manifest) -> _Rendered | Problem:
        key = (metadata.get("uid", ""), int(metadata.get("generation", 0)))
        with self._lock:
            if key in self._last:
                self._last.move_to_end(key)
                return self._last[key]
        made = self._render(model, metadata["namespace"])
        if isinstance(made, Problem) and made.reason == SpecReason.RENDER_FAILED:
            # A helm command that took too long may not do so again.
            return made
        with self._lock:
            self._last[key] = made
            while len(self._last) > self._most:
                self._last.popitem(last=False)
        return made

    def _tell_of(self, place: str) -> None:
        """Log, once for all Models, a field that only a later release knows."""
        with self._lock:
            is_news = place not in self._unknown
            self._unknown.add(place)
        if is_news:
            _logger.warning("%s of Models is not known to this release, and has no effect; upgrade the operator", place)

    def _render(self, model: Model, namespace: str) -> _Rendered | Problem:
        try:
            values = chart_values(model, self._settings)
            objects = render(self._chart, values, name=model.name, namespace=namespace)
        except SpecError as error:
            return Problem(SpecReason(error.reason), str(error))
        except RenderError as error:
            return Problem(SpecReason.RENDER_FAILED, str(error))
        return _Rendered(packed(objects), revision(objects))


def _reason(error: ModelFileError) -> SpecReason:
    """Of the arguments the API server knows only that they are there."""
    arguments = any(problem.path.startswith(_ARGUMENTS) for problem in error.problems)
    return SpecReason.UNKNOWN_ARGUMENT if arguments else SpecReason.REFUSED


def _as_written(manifest: Manifest) -> Mapping[str, Any]:
    """Without the status: one that another version wrote must not keep a Model from being read."""
    return {name: value for name, value in manifest.items() if name != "status"}
