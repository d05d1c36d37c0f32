"""docker-compose.yaml holds together: services, shared settings, what listens where, what runs after what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import Compose
from tests.compose.environment import values

Services = dict[str, dict[str, Any]]

AIRFLOW = {
    "airflow-init": "init_airflow.sh",
    "airflow-apiserver": "api-server",
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag-processor",
    "airflow-triggerer": "triggerer",
    "airflow-worker": "worker",
}
DATABASES = {"airflow-db", "manifest-db", "legacy-db", "medplum-db"}
STORES = DATABASES | {"airflow-redis", "medplum-redis"}
ONE_SHOT = {"airflow-init", "legacy-fill", "medplum-storage", "medplum-client"}
SERVERS = (set(AIRFLOW) | STORES | {"medplum-server", "medplum-app"}) - ONE_SHOT


def test_services(services: Services) -> None:
    assert set(services) == SERVERS | ONE_SHOT
    for name, command in AIRFLOW.items():
        assert services[name]["command"][-1].endswith(command)


def test_medplum_client_runs_only_when_asked_for(services: Services) -> None:
    assert {name for name, service in services.items() if service.get("profiles")} == {"medplum-client"}


def test_only_loopback_is_published(services: Services) -> None:
    published = {
        name: [(port["host_ip"], port["published"]) for port in service["ports"]]
        for name, service in services.items()
        if "ports" in service
    }
    assert published == {
        "airflow-apiserver": [("127.0.0.1", "8080")],
        "medplum-server": [("127.0.0.1", "8103")],
        "medplum-app": [("127.0.0.1", "3000")],
    }
    assert all(service.get("network_mode", "none") == "none" for service in services.values())


def test_airflow_services_share_their_settings(services: Services) -> None:
    first = services["airflow-apiserver"]["environment"]
    for name in AIRFLOW:
        own = services[name]["environment"]
        assert {key: own.get(key) for key in first} == first, name
    needed = {
        "AIRFLOW__API_AUTH__JWT_SECRET",
        "AIRFLOW__API__SECRET_KEY",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
        "AIRFLOW__CELERY__RESULT_BACKEND",
        "AIRFLOW__CELERY__BROKER_URL",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "MEDFERRY_MIGRATION",
        "MEDFERRY_MANIFEST_URL",
        "MEDFERRY_STAGING_URL",
        "MEDFERRY_REPORT_FOLDER",
        "MEDFERRY_EVIDENCE_FOLDER",
    }
    assert first["MEDFERRY_STORE_OPTIONS"] == "", "object storage only where .env says so"
    assert {key for key in needed if first.get(key)} == needed
    assert first["AIRFLOW__CORE__AUTH_MANAGER"].endswith("FabAuthManager")
    assert first["PYTHONPATH"] == "/opt/medferry/include"
    assert len({json.dumps(services[name]["volumes"]) for name in AIRFLOW}) == 1


def test_only_init_knows_the_administrators_password(services: Services) -> None:
    knowing = {name for name, service in services.items() if "AIRFLOW_ADMIN_PASSWORD" in service.get("environment", {})}
    assert knowing == {"airflow-init"}


def test_connections(services: Services, environment_file: Path) -> None:
    own = services["airflow-worker"]["environment"]
    assert json.loads(own["AIRFLOW_CONN_MEDPLUM_DEFAULT"]) == {
        "conn_type": "medplum",
        "host": "http://medplum-server:8103/",
        "login": "the-id",
        "password": "the-secret",
    }
    assert own["MEDFERRY_PLAIN_HTTP"] == "medplum-server", "any other Medplum needs TLS"
    environment = values(environment_file.read_text())
    legacy = json.loads(own["AIRFLOW_CONN_LEGACY_CLINICS"])
    account = services["legacy-db"]["environment"]
    assert (legacy["host"], legacy["login"], legacy["schema"], legacy["password"]) == (
        "legacy-db",
        account["POSTGRES_USER"],
        account["POSTGRES_DB"],
        environment["LEGACY_DB_PASSWORD"],
    )


@pytest.mark.parametrize("store", sorted(STORES))
def test_stores_have_a_password_and_a_volume_each(services: Services, store: str) -> None:
    service = services[store]
    password = service["environment"].get("POSTGRES_PASSWORD") or service["environment"]["REDISCLI_AUTH"]
    assert len(password) >= 32
    others = [services[other]["environment"] for other in STORES - {store}]
    assert all(password not in other.values() for other in others)
    assert [volume["source"] for volume in service["volumes"]] == [store]


def test_redis_demands_the_password_that_its_clients_send(services: Services) -> None:
    for store in ("airflow-redis", "medplum-redis"):
        command = services[store]["command"]
        assert command[command.index("--requirepass") + 1] == services[store]["environment"]["REDISCLI_AUTH"]
    broker = services["airflow-worker"]["environment"]["AIRFLOW__CELERY__BROKER_URL"]
    assert f":{services['airflow-redis']['environment']['REDISCLI_AUTH']}@airflow-redis:6379" in broker


def test_volumes_are_declared_and_used(model: dict[str, Any], services: Services) -> None:
    mounted = [volume for service in services.values() for volume in service.get("volumes", [])]
    assert {volume["type"] for volume in mounted} == {"volume"}
    assert {volume["source"] for volume in mounted} == set(model["volumes"])


def test_servers_start_again_and_tell_their_health(services: Services) -> None:
    for name in SERVERS:
        assert services[name]["restart"] == "unless-stopped", name
        assert services[name]["healthcheck"]["test"], name
    for name in ONE_SHOT:
        assert services[name]["restart"] == "no", name


def test_services_wait_for_what_they_need(services: Services) -> None:
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            finished = wait["condition"] == "service_completed_successfully"
            assert finished == (other in ONE_SHOT), f"{name} waits for {other}: {wait['condition']}"
            assert finished or wait["condition"] == "service_healthy"
    for name in AIRFLOW.keys() - ONE_SHOT:
        assert {"airflow-db", "airflow-redis", "manifest-db", "airflow-init"} <= services[name]["depends_on"].keys()
    assert "airflow-apiserver" in services["airflow-worker"]["depends_on"]


def test_images_are_pinned(services: Services) -> None:
    for name, service in services.items():
        if "build" in service:
            assert service["pull_policy"] == "build", f"{name}: its image's name could belong to somebody on Docker Hub"
        else:
            _, _, tag = service["image"].partition(":")
            assert tag and tag != "latest", name
    assert services["medplum-server"]["image"].split(":")[1] == services["medplum-app"]["image"].split(":")[1]


def test_an_object_store_takes_the_place_of_the_volumes_where_env_says_so(
    compose: Compose, environment_file: Path, tmp_path: Path
) -> None:
    options = '{"key": "k$1", "secret": "it is \\"quoted\\"", "endpoint_url": "https://minio.example"}'
    asked = tmp_path / "env"
    places = "MEDFERRY_STAGING_URL=s3://b/staging\nMEDFERRY_REPORT_FOLDER=s3://b/reports\n"
    asked.write_text(f"{environment_file.read_text()}{places}MEDFERRY_STORE_OPTIONS='{options}'\n")
    done = compose(asked, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    own = json.loads(done.stdout)["services"]["airflow-worker"]["environment"]
    assert (own["MEDFERRY_STAGING_URL"], own["MEDFERRY_REPORT_FOLDER"]) == ("s3://b/staging", "s3://b/reports")
    assert json.loads(own["MEDFERRY_STORE_OPTIONS"].replace("$$", "$")) == json.loads(options)
