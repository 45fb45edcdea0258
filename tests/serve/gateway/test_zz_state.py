import pytest
from tests.serve.gateway.test_compat import test_a_client_that_leaves_stops_the_engine_and_its_conversation_goes_on as t
@pytest.mark.parametrize("n", range(60))
async def test_x(world, n, caplog):
    await t(world)
