"""The settings files of a release, read as operator and gateway read them; and their place in the chart's schema."""

from pathlib import Path
from typing import Any

import pytest

from fairlead_operator.settings import Http, OperatorSettings, load_operator_settings
from fairlead_serve.settings import GatewaySettings, load_gateway_settings
from tests.charts.platform.release import ANONYMOUS, LARGE, Release, merged, release
from tools import settings_schema

PROFILE: dict[str, Any] = {
    "gpusPerNode": 4,
    "limits": {"memory": "32Gi"},
    "nodeSelector": {"node_pool": "yes"},
    "tolerations": [{"key": "a", "value": "1e3"}],
}


def operator_settings(made: Release, directory: Path) -> OperatorSettings:
    path = directory / "operator.yaml"
    path.write_text(made.settings("operator"), encoding="utf-8")
    return load_operator_settings(path)


def gateway_settings(made: Release, directory: Path) -> GatewaySettings:
    path = directory / "gateway.yaml"
    path.write_text(made.settings("gateway"), encoding="utf-8")
    return load_gateway_settings(path)


def test_the_schema_of_the_settings_is_up_to_date() -> None:
    text = settings_schema.SCHEMA.read_text(encoding="utf-8")
    assert settings_schema.updated(text) == text, "run python tools/settings_schema.py --write"


def test_the_chart_leaves_out_only_settings_that_there_are() -> None:
    assert settings_schema.OF_THE_CHART["operator"] <= set(OperatorSettings.model_json_schema()["properties"])
    assert settings_schema.OF_THE_CHART["gateway"] <= set(GatewaySettings.model_json_schema()["properties"])


def test_what_a_user_sets_arrives_as_it_was_written(tmp_path: Path) -> None:
    values = {
        "operator": {"settings": {"images": {"cuda": "registry/engine:1"}, "resourceProfiles": {"l4": PROFILE}}},
        "gateway": {"settings": {"sizes": {"bodyBytes": 83_886_080}, "corsOrigins": ["*"], "defaultModel": "1e3"}},
    }
    made = release(merged(ANONYMOUS, values))
    operator, gateway = operator_settings(made, tmp_path), gateway_settings(made, tmp_path)
    profile = operator.resource_profiles["l4"]
    assert (profile.gpus_per_node, profile.node_selector) == (4, {"node_pool": "yes"})
    assert profile.tolerations == ({"key": "a", "value": "1e3"},)
    assert (gateway.sizes.body_bytes, gateway.cors_origins, gateway.default_model) == (83_886_080, ("*",), "1e3")


def test_what_is_not_said_is_as_the_settings_have_it(tmp_path: Path) -> None:
    made = release()
    assert gateway_settings(made, tmp_path).times == GatewaySettings().times
    assert operator_settings(made, tmp_path).images == OperatorSettings().images


def test_operator_and_gateway_name_the_same_token(tmp_path: Path) -> None:
    for values, name, key in ((ANONYMOUS, "fairlead-internal-token", "token"), (LARGE, "token", "value")):
        made = release(values)
        told = operator_settings(made, tmp_path).internal_token
        assert (told.name, told.key) == (name, key)
        for component in ("operator", "gateway"):
            variable = made.environment(component)["FAIRLEAD_INTERNAL_TOKEN"]
            assert variable == {"secretKeyRef": {"name": name, "key": key}}


def test_a_model_says_where_the_gateway_is_unless_told_another_place(tmp_path: Path) -> None:
    def url(*values: dict[str, Any]) -> str:
        return operator_settings(release(merged(*values), name="fl"), tmp_path).gateway_url

    assert url(ANONYMOUS) == "http://fl-gateway.platform.svc"
    assert url(LARGE) == "http://fl-gateway.platform.svc:8443"
    outside = "https://models.example.org"
    assert url(ANONYMOUS, {"operator": {"settings": {"gatewayUrl": outside}}}) == outside


def test_the_lease_is_the_one_that_there_is_a_right_to(tmp_path: Path) -> None:
    made = release(name="fl")
    (name,) = [
        name for role in made.of("Role") for rule in role["rules"] if "leases" in rule["resources"]
        for name in rule.get("resourceNames", ())
    ]  # fmt: skip
    assert operator_settings(made, tmp_path).lease.name == name


def test_the_operator_listens_where_it_is_asked_how_it_is(tmp_path: Path) -> None:
    (port,) = release().container("operator")["ports"]
    assert operator_settings(release(), tmp_path).http == Http(port=port["containerPort"])


@pytest.mark.parametrize("component", ["gateway", "operator"])
def test_engines_let_in_the_pods_of_this_release_alone(component: str, tmp_path: Path) -> None:
    made = release()
    (peer,) = getattr(operator_settings(made, tmp_path).access, component)
    labels = made.pod(component)["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "platform"}}
    # As charts/model and the settings let them in where nobody says more.
    (usual,) = getattr(OperatorSettings().access, component)
    assert usual["podSelector"]["matchLabels"].items() <= labels.items()


def test_who_else_may_reach_engines_is_the_users_to_say(tmp_path: Path) -> None:
    everybody: dict[str, Any] = {"namespaceSelector": {}}
    made = release(merged(ANONYMOUS, {"operator": {"settings": {"access": {"gateway": [everybody]}}}}))
    assert operator_settings(made, tmp_path).access.gateway == (everybody,)


def test_without_a_database_conversations_are_on_the_claim(tmp_path: Path) -> None:
    path = gateway_settings(release(), tmp_path).database_url.get_secret_value().removeprefix("sqlite:///")
    mounts = [mount["mountPath"] for mount in release().container("gateway")["volumeMounts"]]
    assert str(Path(path).parent) in mounts


def test_the_file_of_keys_is_where_its_secret_is_mounted(tmp_path: Path) -> None:
    made = release(LARGE)
    file = gateway_settings(made, tmp_path).key_file
    assert file is not None
    (mount,) = [one for one in made.container("gateway")["volumeMounts"] if one["mountPath"] == str(file.parent)]
    (volume,) = [one for one in made.pod("gateway")["spec"]["volumes"] if one["name"] == mount["name"]]
    assert volume["secret"]["items"] == [{"key": file.name, "path": file.name}]
    # A file that is mounted alone never changes.
    assert "subPath" not in mount


def test_no_secret_is_in_a_settings_file() -> None:
    made = release(LARGE)
    assert "databaseUrl" not in made.settings("gateway")
    assert "limitsUrl" not in made.settings("gateway")
