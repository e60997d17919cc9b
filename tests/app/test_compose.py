"""``compose.yaml`` and ``Dockerfile`` against a parser of the Compose specification, and the site that they start."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from app.settings import ROOT, Settings

PROFILES = {
    "cpu": {"kitchen"},
    "gpu": {"kitchen-gpu"},
    "cluster": {"web", "engine", "redis", "proxy"},
}
OURS = {"kitchen", "kitchen-gpu", "web", "engine"}


def read() -> dict[str, Any]:
    """What Compose makes of the file with no variable set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "compose.yaml").read_text())
    assert "${" not in text, "every variable has a default"
    composed: dict[str, Any] = yaml.safe_load(text)
    return composed


SERVICES: dict[str, dict[str, Any]] = read()["services"]


def dockerfile(word: str) -> list[str]:
    """What follows an instruction of the Dockerfile, line by line."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line[len(word) :].strip() for line in text.splitlines() if line.startswith(word + " ")]


def test_it_is_what_the_specification_allows() -> None:
    composed = PyCompose.from_json(json.dumps(read()))
    composed.validate()
    assert set(composed.service_names()) == set().union(*PROFILES.values())


def test_a_misspelling_would_be_found() -> None:
    composed = read()
    composed["services"]["web"]["read_onyl"] = True
    with pytest.raises(ValueError, match="read_onyl"):
        PyCompose.from_json(json.dumps(composed))


def test_each_profile_starts_its_services() -> None:
    assert {
        profile: {name for name, service in SERVICES.items() if profile in service["profiles"]} for profile in PROFILES
    } == PROFILES
    assert (ROOT / ".env").read_text().splitlines()[-1] == "COMPOSE_PROFILES=cpu"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_stands_between_walls(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "privileged" not in service
    if name in OURS:
        assert service["tmpfs"][0].startswith("/tmp:")
        assert service["init"] is True


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_variable_is_a_setting(name: str) -> None:
    known = {f"OPENKITCHEN_{field.upper()}" for field in Settings.model_fields}
    assert set(SERVICES[name]["environment"]) <= known
    values = {key.removeprefix("OPENKITCHEN_").lower(): value for key, value in SERVICES[name]["environment"].items()}
    settings = Settings.model_validate({key: value for key, value in values.items() if key in Settings.model_fields})
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= settings.drain_seconds + 10


def test_what_is_named_is_there() -> None:
    composed = read()
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, place, *_ = volume.split(":")
            if source.startswith("."):
                assert (ROOT / source).is_file()
            else:
                assert source in composed["volumes"], name
            if name in OURS:
                assert place in json.loads(dockerfile("VOLUME")[0])
        for port in service.get("ports", []):
            inside = int(port.rsplit(":", 1)[1])
            assert inside == (8000 if name in OURS else 8080)
    assert dockerfile("EXPOSE") == ["8000"]
    assert "listen 8080;" in (ROOT / "docs" / "nginx" / "cluster.conf").read_text()
    proxy = SERVICES["proxy"]["networks"]["kitchen"]["ipv4_address"]
    assert all(SERVICES[name]["environment"]["OPENKITCHEN_TRUSTED_PROXIES"] == proxy for name in ("web", "engine"))


def test_builds_name_arguments_that_the_dockerfile_has() -> None:
    arguments = {argument.partition("=")[0] for argument in dockerfile("ARG")}
    for name in OURS:
        assert set(SERVICES[name]["build"]["args"]) <= arguments
    assert dockerfile("ARG")[0] == "BASE=python:3.11-slim-bookworm"
    assert dockerfile("FROM")[0].startswith("${BASE}")


def test_the_image_runs_as_nobody_special_and_stops_in_docker_s_own_time() -> None:
    assert dockerfile("USER") == ["10001:10001"]
    assert json.loads(dockerfile("ENTRYPOINT")[0])[0].endswith("/openkitchen")
    assert dockerfile("STOPSIGNAL") == ["SIGTERM"]
    env = dict(word.split("=", 1) for line in dockerfile("ENV") for word in line.split() if "=" in word)
    ours = {key.removeprefix("OPENKITCHEN_").lower() for key in env if key.startswith("OPENKITCHEN_")}
    assert ours - {"cache_dir", "commit"} <= set(Settings.model_fields)
    assert float(env["OPENKITCHEN_DRAIN_SECONDS"]) <= 5, "docker stop kills after ten seconds"
    health = dockerfile("HEALTHCHECK")[0]
    assert json.loads(health[health.index("CMD ") + 4 :]) == SERVICES["kitchen"]["healthcheck"]["test"][1:]


def test_the_builder_is_sent_what_the_dockerfile_copies_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    sent = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in sent)
    assert not sent & {"data", ".env", ".git", "tests", ".venv", "node_modules", "kitchen.env"}
