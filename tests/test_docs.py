"""The documents say what there is: files, codes, metrics, targets of make."""

import re
import subprocess
from pathlib import Path

import pytest

from fairlead_operator.conditions import ASPECTS
from fairlead_serve.metrics import GatewayMetrics

ROOT = Path(__file__).parents[1]
SERVE = ROOT / "serve" / "fairlead_serve"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")])


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_file_in_the_table_of_the_architecture_page_is_there() -> None:
    table = text("docs/architecture.md").partition("## Where is it?")[2]
    names = re.findall(r"`([\w./-]+(?:\.\w+|/))`", table)
    assert len(names) > 30
    operator = ROOT / "operator" / "fairlead_operator"
    places = [ROOT, SERVE, SERVE / "engine", SERVE / "gateway", SERVE / "model", SERVE.parent, operator]
    missing = [name for name in names if not any((place / name).exists() for place in places)]
    assert not missing


def test_every_module_of_the_data_plane_has_a_docstring() -> None:
    modules = [path for path in SERVE.rglob("*.py") if path.stat().st_size > 0]
    assert not [str(path) for path in modules if not path.read_text(encoding="utf-8").startswith('"""')]


def test_every_error_code_is_explained_in_the_operations_page() -> None:
    page = text("docs/operations.md")
    codes = {code for path in SERVE.rglob("*.py") for code in re.findall(r'code="(\w+)"', path.read_text("utf-8"))}
    assert len(codes) > 8
    assert not [code for code in codes if f"`{code}`" not in page]


def test_every_metric_is_explained_in_the_operations_page() -> None:
    page = text("docs/operations.md")
    rendered = GatewayMetrics(lambda: [("m", 0, 0, True)]).render().decode()
    names = {line.split()[2] for line in rendered.splitlines() if line.startswith("# TYPE")}
    names = {name for name in names if not name.endswith("_created")}
    assert names
    assert not [name for name in names if name not in page]


def test_every_reason_of_a_condition_is_in_its_row_of_the_kubernetes_page() -> None:
    page = text("docs/kubernetes.md")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    reasons = [(aspect.name, reason.value) for aspect in ASPECTS for reason in aspect.reasons]
    missing = [(name, reason) for name, reason in reasons if f"`{reason}`" not in rows[name]]
    assert len(rows) > 7
    assert not missing


def test_every_metric_of_the_operator_is_explained_in_the_kubernetes_page() -> None:
    page = text("docs/kubernetes.md")
    source = (ROOT / "operator/fairlead_operator/metrics.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"(fairlead_\w+)"', source))
    assert len(names) > 8
    assert not [name for name in names if name not in page]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_make_alone_prints_its_sections_and_every_target_it_has() -> None:
    printed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("install", "serve", "test", "check", "lint", "typecheck", "bench", "clean"):
        assert re.search(rf"^  {target} +\S", printed, re.MULTILINE), target
    assert "\nUse\n" in printed


def test_ci_calls_the_readmes_test_command() -> None:
    assert "exec make test" in text(".ci/run")
    assert "\n    make test\n" in text("README.md")
