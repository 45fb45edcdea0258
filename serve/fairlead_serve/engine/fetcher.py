"""Brings the weights of Models and of their LoRA adapters to this machine, and tells how far it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead_serve.engine.weights import Progress, WeightsStore
from fairlead_serve.model import Model
from fairlead_serve.progress import Report, Reporter
from fairlead_serve.settings import EngineSettings, SourceSettings


class Cancelled(Exception):  # noqa: N818 - not an error
    """The process was told to stop while weights were being fetched; what came is kept for the next start."""


@dataclass(frozen=True)
class EngineFiles:
    """A Model and what of it lies on this machine: its weights, and its LoRA adapters by name."""

    model: Model
    weights: Path
    adapters: Mapping[str, Path]


@dataclass(frozen=True)
class Fetcher:
    """Fetches from where a Model's URIs point; `token` is for the hub. `cancelled` is asked at every report."""

    weights: WeightsStore
    token: str | None
    report: Reporter
    cancelled: Callable[[], bool]

    def model(self, model: Model) -> EngineFiles:
        """Everything that the engine of `model` starts with. Raises WeightsError and Cancelled."""
        source, lora = model.spec.model, model.spec.lora
        weights = self.fetch(model.name, source.uri, source.revision or None)
        adapters = {
            adapter.name: self.adapter(model, adapter.name, adapter.uri) for adapter in (lora.adapters if lora else ())
        }
        return EngineFiles(model, weights, adapters)

    def adapter(self, model: Model, name: str, uri: str) -> Path:
        """The directory of one LoRA adapter of `model`. Raises WeightsError and Cancelled."""
        return self.fetch(f"{model.name}/{name}", uri, None)

    def fetch(self, who: str, uri: str, revision: str | None) -> Path:
        """The directory of what `uri` names, reported under the name `who`. Raises WeightsError and Cancelled."""
        last = Progress("Cached", 0, 0)

        def show(progress: Progress) -> None:
            nonlocal last
            last = progress
            if self.cancelled():
                raise Cancelled
            self.report(Report(who, progress.phase, progress.done, progress.total))

        path = self.weights.fetch(uri, revision=revision, token=self.token, progress=show)
        self.report(Report(who, last.phase, last.done, last.total, final=True))
        return path


def fetcher(
    settings: EngineSettings, sources: SourceSettings, report: Reporter, cancelled: Callable[[], bool]
) -> Fetcher:
    """A Fetcher as the settings of this process want it."""
    weights = WeightsStore(
        settings.cache_dir,
        hub_endpoint=sources.hf_endpoint,
        s3_endpoint=sources.aws_endpoint_url,
        claims=settings.claims_dir if settings.claims_dir.is_dir() else None,
    )
    token = sources.hf_token.get_secret_value() if sources.hf_token else None
    return Fetcher(weights, token, report, cancelled)
