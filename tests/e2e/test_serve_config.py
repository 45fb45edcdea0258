"""Engines as a RayService starts them: from a Ray Serve configuration, with the Model file in it as text."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead_serve.internal import engine_path
from tests.processes import model_file

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]


def application(name: str, args: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "route_prefix": engine_path(name),
        "import_path": "fairlead_serve.engine.replica:build",
        "args": args,
        "deployments": [{"name": "engine", "num_replicas": 1}],
    }


def test_a_configuration_starts_engines_and_says_in_a_sentence_why_one_does_not_start(tmp_path: Path) -> None:
    good = model_file(tmp_path, "good").read_text(encoding="utf-8")
    lost = model_file(tmp_path, "lost", uri="file:///nowhere/at/all").read_text(encoding="utf-8")
    broken = model_file(tmp_path, "wrong").read_text(encoding="utf-8").replace("kv_cache_memory_bytes", "kv_cash")
    config = tmp_path / "config.json"
    spread = model_file(tmp_path, "spread", uri="file:///nowhere/else").read_text(encoding="utf-8")
    spread = spread.replace("device: cpu", "device: cuda") + "  cluster: KubeRay\n  parallelism: {tensor: 2}\n"
    applications = [
        application("good", {"model": good}),
        application("lost", {"model": lost}),
        application("wrong", {"model": broken}),
        application("mistyped", {"modle": good}),
        # On two bundles of a placement group, as an engine of several machines has them.
        application("spread", {"model": spread}),
    ]
    config.write_text(json.dumps({"applications": applications}), encoding="utf-8")
    told = deployed(config, asking="good")
    status = {name: one["status"] for name, one in told["applications"].items()}
    assert status == {
        "good": "RUNNING",
        "lost": "DEPLOY_FAILED",
        "wrong": "DEPLOY_FAILED",
        "mistyped": "DEPLOY_FAILED",
        "spread": "DEPLOY_FAILED",
    }
    assert "EngineStartError: NotFound: file:///nowhere/at/all" in told["applications"]["lost"]["engines"]
    assert "EngineStartError: NotFound: file:///nowhere/else" in told["applications"]["spread"]["engines"]
    wrong_file = told["applications"]["wrong"]["message"]
    assert "EngineStartError: UnknownArgument: args.model: spec.engine.args.kv_cash" in wrong_file
    assert "modle" in told["applications"]["mistyped"]["message"]
    assert told["answer"]["status"] == 200
    assert told["answer"]["body"]["usage"]["completion_tokens"] == 4


def deployed(config: Path, *, asking: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.e2e.serve_config_process", str(config), "token-of-the-test", asking]
    root = Path(__file__).parents[2]
    run = subprocess.run(words, capture_output=True, text=True, timeout=350, cwd=root, check=False)
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, run.stdout[-2000:] + run.stderr[-2000:]
    told: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return told
