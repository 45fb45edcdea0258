"""A Ray of its own that is given a Ray Serve configuration as KubeRay gives one; says as JSON what became of it.

Arguments: a file with the configuration (JSON), the internal token, and the application to ask for an answer. Ray
reads its options when it is imported, so this is no part of the process that runs the tests.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from fairlead_serve.engine.cluster import LocalCluster, Ports
from fairlead_serve.internal import TOKEN_HEADER, TOKEN_VARIABLE, engine_path

_SETTLED = {"RUNNING", "DEPLOY_FAILED", "UNHEALTHY"}


def main(config: Path, token: str, name: str) -> dict[str, Any]:
    os.environ[TOKEN_VARIABLE] = token
    # Nothing is computed on them; they are only placed upon.
    os.environ["RAY_OVERRIDE_RESOURCES"] = json.dumps({"GPU": 2})
    cluster = LocalCluster(Ports.pick(), drain_seconds=5, dashboard=True)
    try:
        cluster.start(slots=2)
        deploy(json.loads(config.read_text(encoding="utf-8")))
        while not (found := applications()) or any(one["status"] not in _SETTLED for one in found.values()):
            time.sleep(0.5)
        body = {"model": name, "prompt": "Hello", "max_tokens": 4}
        with httpx.Client(base_url=f"{cluster.url}{engine_path(name)}", headers={TOKEN_HEADER: token}) as engine:
            # Ray's proxy hears of an application's route some time after that is running, as a pod's probe does.
            while engine.get("/health").status_code != 200:
                time.sleep(0.5)
            answer = engine.post("/v1/completions", json=body, timeout=60)
        return {
            "applications": found,
            "answer": {"status": answer.status_code, "body": answer.json()},
        }
    finally:
        cluster.stop()


def deploy(config: dict[str, Any]) -> None:
    """By Ray's REST API, as `serve deploy` and KubeRay do."""
    import ray  # noqa: PLC0415 - reads the environment that the cluster has written
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient  # noqa: PLC0415

    url = ray._private.worker.global_worker.node.webui_url
    ServeSubmissionClient(f"http://{url}").deploy_applications(config)


def applications() -> dict[str, dict[str, str]]:
    """Status and message of every application, and the message of its engines."""
    from ray import serve  # noqa: PLC0415

    found = {}
    for name, one in serve.status().applications.items():
        engines = "\n".join(deployment.message for deployment in one.deployments.values())
        found[name] = {"status": one.status.value, "message": one.message, "engines": engines}
    return found


if __name__ == "__main__":
    result = main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
    sys.stdout.write(f"RESULT {json.dumps(result)}\n")
