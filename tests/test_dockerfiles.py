"""The Dockerfiles, as far as can be said of them without building: what goes in, who runs, and what is pinned."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from fairlead_operator.settings import OperatorSettings
from fairlead_serve import __version__

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "serve/Dockerfile", ROOT / "operator/Dockerfile"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@dataclass
class Stage:
    """One FROM and what follows it."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for word, text in self.steps if word == instruction]


@dataclass
class Dockerfile:
    """A Dockerfile, taken apart."""

    arguments: dict[str, str]
    stages: list[Stage]

    @property
    def images(self) -> list[Stage]:
        """What is built to be run: the stages that nothing else is built from."""
        used = {stage.base for stage in self.stages}
        copied = {
            name for stage in self.stages for _, text in stage.steps for name in re.findall(r"from=([\w-]+)", text)
        }
        return [stage for stage in self.stages if stage.name not in used | copied]

    def __getitem__(self, name: str) -> Stage:
        (found,) = [stage for stage in self.stages if stage.name == name]
        return found

    def lineage(self, stage: Stage) -> list[Stage]:
        """The stage, and those it is built upon."""
        below = [one for one in self.stages if one.name == stage.base]
        return [stage, *(self.lineage(below[0]) if below else [])]


def read(path: Path) -> Dockerfile:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    found = Dockerfile({}, [])
    for statement in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, text = statement.strip().partition(" ")
        if word == "FROM":
            base, _, name = text.partition(" AS ")
            found.stages.append(Stage(name, base))
        elif found.stages and word:
            found.stages[-1].steps.append((word, text.strip()))
        elif word == "ARG":
            name, _, value = text.partition("=")
            found.arguments[name] = value
    return found


OF_ENGINES = {"ray", "vllm", "torch", "transformers", "boto3"}
LACKING = {
    "fairlead_serve.app": OF_ENGINES,
    "fairlead_operator.app": OF_ENGINES | {"fastapi", "uvicorn", "uvloop", "sqlalchemy", "redis", "huggingface_hub"},
}

PARSED = {path.parent.name: read(path) for path in FILES}
IMAGES = [(name, stage) for name, parsed in PARSED.items() for stage in parsed.images]
WITH_NAMES = pytest.mark.parametrize(("file", "image"), IMAGES, ids=[stage.name for _, stage in IMAGES])


def sources() -> Iterator[str]:
    """What is copied from the repository."""
    for parsed in PARSED.values():
        for stage in parsed.stages:
            for text in stage.all("COPY"):
                *several, _ = shlex.split(text)
                if not several[0].startswith("--from"):
                    yield from several


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path through to the builder: the last line that fits it decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            pattern = line.removeprefix("!")
            above = [path, *map(str, Path(path).parents)]
            if any(fnmatch(one, pattern) or fnmatch(f"/{one}", pattern.replace("**", "*")) for one in above):
                sent = line.startswith("!")
    return sent


def test_the_images_are_those_that_make_builds() -> None:
    printed = subprocess.run(["make", "-n", "images"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    built = re.findall(rf"--file (\w+)/Dockerfile (?:--target ([\w-]+) )?--tag \S+:{re.escape(__version__)}", printed)
    # Without a target the last stage is built.
    assert {(file, target or PARSED[file].stages[-1].name) for file, target in built} == {
        (file, image.name) for file, image in IMAGES
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_the_linter_has_nothing_to_say(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("source", sorted(set(sources())))
def test_what_is_copied_is_there_and_reaches_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    assert is_sent(source)


@pytest.mark.parametrize(
    "path",
    [".git/config", ".venv/bin/python", "tests/test_docs.py", "keys.yaml", "serve/fairlead_serve/__pycache__/a.pyc"],
)
def test_nothing_else_reaches_the_builder(path: str) -> None:
    assert not is_sent(path)


def test_every_base_is_pinned_and_can_be_pinned_to_the_byte() -> None:
    for parsed in PARSED.values():
        names = {stage.name for stage in parsed.stages}
        for stage in parsed.stages:
            if stage.base not in names:
                argument = stage.base.removeprefix("${").removesuffix("}")
                assert re.search(r":v?\d+\.\d+\.\d+", parsed.arguments[argument]), stage.base


def test_the_bases_fit_what_the_project_says() -> None:
    (vllm,) = PROJECT["optional-dependencies"]["gpu"]
    assert PARSED["serve"].arguments["VLLM_IMAGE"] == f"vllm/vllm-openai:v{vllm.removeprefix('vllm==')}"
    (python,) = {parsed.arguments["PYTHON_IMAGE"] for parsed in PARSED.values()}
    version = re.findall(r":([\d.]+)-", python)[0]
    assert version in SpecifierSet(PROJECT["requires-python"])
    minor = version.rpartition(".")[0]
    assert f"/lib/python{minor}/" in FILES[1].read_text(encoding="utf-8")


@WITH_NAMES
def test_nobody_is_root(file: str, image: Stage) -> None:
    assert image.all("USER") == ["10001:10001"]
    assert image.steps.index(("USER", "10001:10001")) > max(
        number for number, (word, _) in enumerate(image.steps) if word in ("RUN", "COPY")
    )


@WITH_NAMES
def test_the_entry_point_is_a_command_of_the_project(file: str, image: Stage) -> None:
    (entry_point,) = image.all("ENTRYPOINT")
    assert entry_point.strip('[]"') in PROJECT["scripts"]


@WITH_NAMES
def test_an_image_says_what_it_is(file: str, image: Stage) -> None:
    lineage = PARSED[file].lineage(image)
    labels = " ".join(text for stage in lineage for text in stage.all("LABEL"))
    for label in ("source", "licenses", "title", "description", "version"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert f"VERSION={__version__}" in image.all("ARG")


@WITH_NAMES
def test_no_image_but_that_of_an_engine_has_a_compiler(file: str, image: Stage) -> None:
    installed = " ".join(text for stage in PARSED[file].lineage(image) for text in stage.all("RUN"))
    assert ("g++" in installed) is (image.name == "engine-cpu")


@pytest.mark.parametrize(
    ("image", "extras"),
    [
        ("gateway-packages", {"gateway"}),
        ("engine-cpu-packages", {"serve", "cpu"}),
        ("engine-cuda", {"serve", "gpu"}),
        ("packages", {"operator"}),
    ],
)
def test_each_image_installs_its_extras(image: str, extras: set[str]) -> None:
    (stage,) = [one for parsed in PARSED.values() for one in parsed.stages if one.name == image]
    asked = re.findall(r"pip install '[^[]*\[([\w,]+)\]'", " ".join(stage.all("RUN")))
    assert set(asked[0].split(",")) == extras
    assert extras <= set(PROJECT["optional-dependencies"])


def test_the_cpu_image_leaves_out_what_make_leaves_out() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    unfit = re.findall(r"^UNFIT := (.*)$", makefile, re.MULTILINE)[0]
    assert f"pip uninstall --yes {unfit}" in PARSED["serve"]["engine-cpu-packages"].steps[-1][1]


def test_the_operators_image_has_the_chart_where_the_settings_look_for_it() -> None:
    assert f"charts/model {OperatorSettings.model_fields['chart'].default}" in PARSED["operator"]["operator"].all(
        "COPY"
    )


@pytest.mark.parametrize(("module", "lacking"), LACKING.items())
def test_a_program_needs_nothing_that_its_image_lacks(module: str, lacking: set[str]) -> None:
    program = f"""
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {lacking}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Lacking())
import {module}
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
