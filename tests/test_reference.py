"""What is generated from the Model is up to date: its reference page, and the CRD in the chart."""

import re
from pathlib import Path

import helm_python
import pytest
import yaml

from fairlead_operator.crd import custom_resource_definition, model_schema
from tools import reference

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("path", "text"), [(reference.PAGE, reference.page()), (reference.TEMPLATE, reference.template())]
)
def test_a_generated_file_is_up_to_date(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run python tools/reference.py --write"


def test_the_page_has_every_field_and_every_sentence_of_a_rule() -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    schemas = [model_schema()["properties"][name] for name in ("spec", "status")]
    for schema in schemas:
        fields = schema.get("properties", {})
        schemas += [*fields.values(), *([schema["items"]] if "items" in schema else [])]
        assert not [name for name in fields if f"| `{name}` |" not in page]
        assert all(rule["message"] in page for rule in schema.get("x-kubernetes-validations", ()))


def test_every_link_of_the_page_leads_to_a_section() -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    anchors = {re.sub(r"[^\w -]", "", heading).lower() for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
    links = set(re.findall(r"\]\(#([^)]*)\)", page))
    assert len(links) > 20
    assert links <= anchors


@pytest.fixture
def chart(tmp_path: Path) -> helm_python.Chart:
    """The chart with nothing but the CRD in it."""
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: crds\nversion: 0.0.0\n")
    (tmp_path / "values.yaml").write_text((ROOT / "charts/fairlead/values.yaml").read_text())
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / reference.TEMPLATE.name).write_text(reference.TEMPLATE.read_text())
    return helm_python.Chart.load(tmp_path)


def test_helm_installs_the_crd_and_keeps_it(chart: helm_python.Chart) -> None:
    (manifest,) = chart.render(name="x").values()
    assert yaml.safe_load(manifest) == custom_resource_definition({"helm.sh/resource-policy": "keep"})


def test_helm_leaves_the_crd_alone_when_told_to(chart: helm_python.Chart) -> None:
    assert not "".join(chart.render({"crds": {"install": False}}, name="x").values()).strip()
