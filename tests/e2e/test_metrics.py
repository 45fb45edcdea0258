"""Numbers of a run: the gateway's own, and vLLM's through Ray's exporter."""

import httpx
import pytest
from openai import OpenAI
from tenacity import retry, stop_after_delay, wait_fixed

from tests.e2e.conftest import Stack
from tests.e2e.test_concurrency import METRICS_URL

pytestmark = pytest.mark.engine


def test_the_gateway_counts_requests_by_model_and_status(stack: Stack, client: OpenAI) -> None:
    client.completions.create(model="tiny-chat", prompt="Hello", max_tokens=2)
    text = httpx.get(f"{stack.url}/metrics").text
    assert 'fairlead_requests_total{model="tiny-chat",status="200"}' in text
    assert 'fairlead_model_ready{model="tiny-chat"} 1.0' in text
    assert 'fairlead_time_to_first_byte_seconds_bucket{le="0.1",model="tiny-chat"}' in text


def test_vllms_metrics_reach_rays_exporter(stack: Stack, client: OpenAI) -> None:
    url = stack.command.wait_for(METRICS_URL)[1]
    client.completions.create(model="tiny-chat", prompt="Hello", max_tokens=2)

    @retry(wait=wait_fixed(0.5), stop=stop_after_delay(60), reraise=True)
    def exported() -> str:
        text = httpx.get(url).text
        # Ray gathers each process's numbers at a time of its own.
        assert "ray_vllm_time_to_first_token_seconds_bucket" in text
        assert "ray_serve_deployment_replica_healthy" in text
        return text

    text = exported()
    assert "ray_vllm_generation_tokens_total" in text
    assert 'model_name="tiny-chat"' in text


def test_probes_say_that_both_models_can_be_routed(stack: Stack) -> None:
    assert httpx.get(f"{stack.url}/livez").status_code == 200
    assert httpx.get(f"{stack.url}/readyz").json() == {
        "status": "ok",
        "models": {"tiny-chat": True, "tiny-embed": True},
        "store": "ok",
    }
