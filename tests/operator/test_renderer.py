"""From the object in the cluster to what it asks for, or to the sentence that says why not."""

from typing import Any

import pytest

from fairlead_operator.conditions import SpecReason
from fairlead_operator.observed import Problem, Wanted
from fairlead_operator.render import LoadedChart, Manifest
from fairlead_operator.renderer import Renderer
from fairlead_operator.settings import OperatorSettings
from tests.charts.workload import CHART, SETTINGS, model, workload
from tests.operator import samples


class CountingChart(LoadedChart):
    """A chart that counts how often it is rendered."""

    count = 0

    def manifests(self, *args: Any, **kwargs: Any) -> list[Manifest]:
        self.count += 1
        return super().manifests(*args, **kwargs)


def live(generation: int = 1, **spec: Any) -> Manifest:
    made = samples.model(**spec)
    made["metadata"] |= {"namespace": "models", "uid": "1", "generation": generation, "resourceVersion": "7"}
    return made


def test_a_model_is_rendered_as_it_is_stored() -> None:
    found = Renderer(LoadedChart(CHART), SETTINGS).wanted(live(replicas=2))
    assert isinstance(found, Wanted)
    assert found.revision == workload(model(replicas=2)).revision
    assert [manifest["kind"] for manifest in found.objects] == workload(model(replicas=2)).kinds


def test_the_same_generation_is_rendered_once() -> None:
    chart = CountingChart(CHART)
    renderer = Renderer(chart, SETTINGS)
    assert renderer.wanted(live()) == renderer.wanted({**live(), "status": {"phase": "Serving"}})
    renderer.wanted(live(2))
    assert chart.count == 2


def test_what_is_remembered_is_bounded() -> None:
    chart = CountingChart(CHART)
    renderer = Renderer(chart, SETTINGS, remembered=3)
    for generation in (1, 2, 3, 1, 2, 3, 4, 1):
        renderer.wanted(live(generation))
    assert chart.count == 5


def test_a_status_of_another_version_does_not_keep_a_model_from_being_read() -> None:
    found = Renderer(LoadedChart(CHART), SETTINGS).wanted({**live(), "status": {"phase": "Unheard"}})
    assert isinstance(found, Wanted)


def test_what_the_installation_does_not_have_is_a_problem() -> None:
    found = Renderer(LoadedChart(CHART), OperatorSettings()).wanted(live())
    assert isinstance(found, Problem)
    assert (found.reason, found.blocks) == (SpecReason.UNKNOWN_IMAGE, True)


def test_a_model_that_this_release_does_not_understand_is_a_problem() -> None:
    found = Renderer(LoadedChart(CHART), SETTINGS).wanted(live(cluster="Later"))
    assert isinstance(found, Problem)
    assert found.reason == SpecReason.REFUSED
    assert "spec.cluster" in found.message


def test_a_field_of_a_later_release_has_no_effect_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    renderer = Renderer(LoadedChart(CHART), SETTINGS)
    known = renderer.wanted(live(replicas=2))
    for generation in (2, 3):
        later = live(generation, replicas=2, later={"field": 1}, limits={"maxOngoing": 8, "bursts": "x"})
        found = renderer.wanted(later)
        assert isinstance(found, Wanted)
        assert isinstance(known, Wanted)
        assert (found.revision, found.objects) == (known.revision, known.objects)
        assert found.model.spec.limits.max_ongoing == 8
    assert {message.partition(" ")[0] for message in caplog.messages} == {"spec.later", "spec.limits.bursts"}
    assert len(caplog.messages) == 2


def test_an_argument_that_the_engine_does_not_have_is_called_so() -> None:
    found = Renderer(LoadedChart(CHART), SETTINGS).wanted(live(engine={"args": {"max_lenght": 1}}))
    assert isinstance(found, Problem)
    assert (found.reason, found.blocks) == (SpecReason.UNKNOWN_ARGUMENT, True)
    assert "spec.engine.args.max_lenght" in found.message
