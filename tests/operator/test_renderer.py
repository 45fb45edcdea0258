"""From the object in the cluster to what it asks for, or to the sentence that says why not."""

from typing import Any

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
    found = Renderer(LoadedChart(CHART), SETTINGS).wanted(live(later={"field": 1}))
    assert isinstance(found, Problem)
    assert found.reason == SpecReason.REFUSED
    assert "spec.later: unknown field" in found.message
