"""The API as ``/api/schema/openapi.json`` describes it: every route is in it, and what it says is what happens."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.api.openapi import OPERATIONS, document
from app.main import PROGRAMS_AND_PAGES
from tests.app.conftest import ServedSite, serving

PROGRAMS: list[ModuleType] = [module for module in PROGRAMS_AND_PAGES if module.__name__.startswith("app.api.")]
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


def test_every_route_is_described_and_nothing_else() -> None:
    routes = {
        (method.lower(), route.path)
        for module in PROGRAMS
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods - {"HEAD"}
    }
    assert routes == {(row.method, row.path) for row in OPERATIONS}
    assert len(OPERATIONS) == len(routes), "each once"


def test_it_is_served_under_its_prefix(tmp_path: Path) -> None:
    with serving(tmp_path, root_path="kitchen", ready=False) as site:
        described = site.client.get("api/schema/openapi.json").json()
    assert described["servers"] == [{"url": "/kitchen"}]
    assert described["paths"].keys() == document()["paths"].keys()


def test_its_bodies_are_those_that_are_read() -> None:
    schemas = document()["components"]["schemas"]
    assert schemas["RunRequest"]["properties"].keys() >= {"prompt", "max_tokens", "n", "probes", "drafter"}
    assert schemas["RunRequest"]["properties"]["temperature"]["maximum"] == 2.0
    assert len(schemas["Take"]["oneOf"]) > 10
    assert schemas["Change"]["additionalProperties"] is False


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    data_dir = tmp_path_factory.mktemp("described")
    with serving(data_dir, max_waiting_takes=1_000, max_waiting_runs=1_000, body_timeout=2.0) as served:
        yield served


def try_all(site: ServedSite, num_examples: int, mode: GenerationMode) -> int:
    """Send each operation so many requests, with ids of real runs in half of them. Returns how many were sent."""
    schema = schemathesis.openapi.from_dict(document())
    ended = [site.run(f"word {number}") for number in range(3)]
    for run_id in ended:
        site.events(run_id)
    chance, sent = random.Random(3), 0
    for found in schema.get_all_operations():
        operation = found.ok()
        takes = document()["paths"][operation.path][operation.method]
        if mode is GenerationMode.NEGATIVE and not takes["parameters"] and "requestBody" not in takes:
            continue  # it takes nothing, so nothing wrong

        @settings(
            max_examples=num_examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            nonlocal sent
            if "run_id" in (case.path_parameters or {}) and chance.random() < 0.5:
                case.path_parameters["run_id"] = chance.choice([*ended, site.run("SLOW LONG", max_tokens=3)])
            # The prefix is part of the address; cookies are the client's own, so that creators meet their runs.
            response = case.call(base_url=site.url, timeout=20, cookies=dict(site.client.cookies))
            sent += 1
            # (501 is oEmbed's word for a format that is not spoken, 503 means later.)
            assert response.status_code < 500 or response.status_code in (501, 503), response.text
            case.validate_response(response, checks=CHECKS)

        check()
    return sent


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_it_does_what_it_says(kitchen: ServedSite, mode: GenerationMode) -> None:
    assert try_all(kitchen, 4, mode) > 40
    assert kitchen.client.get("healthz", timeout=5).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_it_does_what_it_says_whatever_is_sent(kitchen: ServedSite, mode: GenerationMode) -> None:
    assert try_all(kitchen, 200, mode) > 2_000
    assert kitchen.client.get("healthz", timeout=5).status_code == 200
    assert 'status="500"' not in kitchen.client.get("metrics").text
