"""Values that only a cluster has are asked for by the variable that stands for them."""

from pathlib import Path

import pytest

from fairlead_serve.engine.environment import check_environment
from fairlead_serve.errors import ConfigurationError
from fairlead_serve.model import Model, load
from tests.processes import model_file

FROM_SECRET = "env: [{name: LICENCE, valueFrom: {secretKeyRef: {name: s, key: k}}}]"


def gated(directory: Path) -> Model:
    path = model_file(directory, "gated", uri="hf://owner/name", engine=FROM_SECRET)
    path.write_text(
        path.read_text().replace("'hf://owner/name'", "'hf://owner/name', accessSecretRef: {name: hf, key: t}")
    )
    (model,) = load(path)
    return model


def test_everything_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_environment([gated(tmp_path)], {})
    lines = str(refused.value).splitlines()
    assert len(lines) == 2
    assert "HF_TOKEN" in lines[0]
    assert "LICENCE" in lines[1]


def test_an_environment_that_has_the_values_is_enough(tmp_path: Path) -> None:
    check_environment([gated(tmp_path)], {"HF_TOKEN": "hf_x", "LICENCE": "y"})


def test_a_model_that_refers_to_nothing_needs_nothing(tmp_path: Path) -> None:
    check_environment(load(model_file(tmp_path, "plain")), {})
