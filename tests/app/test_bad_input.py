"""Each bad input has its stated error, in a problem document, and costs nobody anything."""

from __future__ import annotations

import json
import socket
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.conftest import ServedSite, assert_whole, serving

JSON = {"Content-Type": "application/json"}


def assert_problem(response: httpx.Response, status: int, field: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    assert "Content-Security-Policy" in response.headers
    if field is not None:
        assert [error["field"] for error in problem["errors"]] == [field]
        assert problem["errors"][0]["detail"] in problem["detail"]
    return problem


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("before\0after", "NUL character (at position 7)"),
        ("ab\ud800", "lone surrogate at position 3"),
        ("\udfff", "lone surrogate at position 1"),
    ],
)
def test_prompts_that_cannot_be_read(site: ServedSite, prompt: str, words: str) -> None:
    problem = assert_problem(site.client.post("api/runs", content=json.dumps({"prompt": prompt}), headers=JSON), 422)
    assert words in problem["detail"]
    assert problem["errors"][0]["field"] == "prompt"


def test_prompts_too_long_in_characters_tokens_or_bytes(site: ServedSite) -> None:
    problem = assert_problem(site.post("x" * 65_537), 413)
    assert "65,537" in problem["detail"]
    assert "65,536" in problem["detail"]
    problem = assert_problem(site.post("TOOLONG"), 413)
    assert "5,000" in problem["detail"]
    assert "4,096" in problem["detail"]
    problem = assert_problem(site.post("x" * 300_000), 413)
    assert "262,144" in problem["detail"]
    chunks = (b"x" * 65_536 for _ in range(8))
    assert_problem(site.client.post("api/runs", content=chunks, headers=JSON), 413)


def test_markup_is_text_all_the_way(site: ServedSite) -> None:
    prompt = '<script>alert("x")</script> </textarea><img src=x onerror=alert(1)>'
    run_id = site.run(prompt)
    assert_whole(site.events(run_id), run_id)
    page = site.client.get(f"?run={run_id}").text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    refused = site.client.post("api/runs", data={"prompt": prompt, "top_p": "7"})
    assert refused.status_code == 422
    assert "<img src=x" not in refused.text
    assert "&lt;script&gt;alert" in refused.text, "the prompt stays in the box"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("max_tokens", 0, "from 1 to 4096"),
        ("max_tokens", 4097, "from 1 to 4096"),
        ("max_tokens", "10", "whole number"),
        ("max_tokens", 1.5, "whole number"),
        ("max_tokens", True, "whole number"),
        ("max_tokens", None, "whole number"),
        ("temperature", -0.1, "from 0.0 to 2.0"),
        ("temperature", 2.01, "from 0.0 to 2.0"),
        ("temperature", "hot", "number"),
        ("top_p", 0, "from more than 0 to 1.0"),
        ("top_p", 1.01, "to 1.0"),
        ("top_k", -1, "from 0 to 1000"),
        ("min_p", 2, "from 0.0 to 1.0"),
        ("repetition_penalty", 0, "from 0.1 to 2.0"),
        ("stop", ["a"] * 5, "at most 4 texts of 1 to 64"),
        ("stop", ["x" * 65], "at most 4 texts of 1 to 64"),
        ("stop", [""], "at most 4 texts of 1 to 64"),
        ("stop", [1], "at most 4 texts of 1 to 64"),
        ("stop", {"a": 1}, "at most 4 texts of 1 to 64"),
        ("stop", ["\ud800"], "at most 4 texts"),
        ("seed", -1, "or null"),
        ("seed", 2**63, "or null"),
        ("n", 0, "n must be a whole number from 1 to 4"),
        ("n", 5, "n must be a whole number from 1 to 4"),
        ("n", 1000, "n must be a whole number from 1 to 4"),
        ("probes", ["weights"], "kv"),
        ("probes", ["kv", 1], "kv"),
        ("probes", None, "probes must be a list of names or an object"),
        ("probes", {"lux": 1}, "unknown field `lux`"),
        ("probes", {"\ud800" * 200: 1}, "probes must be a list of names or an object"),
        ("probes", {"kv": 1}, "Expected `bool`, got `int` - at `$.kv`"),
        ("probes", {"logits": list(range(9))}, "probes.logits may name at most 8 positions, got 9"),
        ("probes", {"logits": [10**30]}, "probes.logits must be a whole number from -16777216 to 16777216, got 1"),
        ("probes", {"attention": {"layers": [0]}}, "missing required field `positions`"),
        ("probes", {"attention": {"positions": []}}, "probes.attention.positions must name at least one"),
        ("probes", {"attention": {"positions": [0], "layers": [256]}}, "probes.attention.layers must be a whole"),
        ("probes", {"tiles": {"block_q": 0}}, "probes.tiles.block_q must be a whole number from 1 to 256, got 0"),
        ("probes", {"tiles": {"num_tokens": 256, "block_q": 1, "block_k": 1}}, "at most 1024 tiles, got 32896"),
        ("drafter", "eagle", "that this engine has loaded"),
        ("drafter", "", "that this engine has loaded"),
        ("prompt", 5, "prompt must be text"),
        ("prompt", ["a"], "prompt must be text"),
        ("temprature", 1, "not something a run takes"),
    ],
)
def test_wrong_types_and_ranges_name_the_field_and_the_range(
    site: ServedSite, field: str, value: Any, words: str
) -> None:
    body = json.dumps({"prompt": "hello", field: value})
    problem = assert_problem(site.client.post("api/runs", content=body, headers=JSON), 422, field)
    assert words in problem["detail"]


def test_a_missing_prompt(site: ServedSite) -> None:
    assert_problem(site.client.post("api/runs", json={}), 422, "prompt")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"prompt": "a", "temperature": NaN}', 400),
        (b'{"prompt": "a", "temperature": Infinity}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", 422),
        (b'{"prompt": "a", "\\ud800": 1}', 422),
        (b"[]", 422),
        (b'"prompt"', 422),
        (b"null", 422),
        (b'{"prompt": "a", "temperature": 1e999}', 422),
    ],
)
def test_bodies_that_are_not_what_they_say(site: ServedSite, body: bytes, status: int) -> None:
    assert_problem(site.client.post("api/runs", content=body, headers=JSON), status)


def test_other_media_types_are_refused_in_words(site: ServedSite) -> None:
    problem = assert_problem(
        site.client.post("api/runs", content=b"hello", headers={"Content-Type": "text/plain"}), 415
    )
    assert "application/json" in problem["detail"]
    bad_form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = site.client.post("api/runs", content=b"prompt=hello%ff%fe", headers=bad_form)
    assert page.status_code == 400
    assert "The form is not URL-encoded" in page.text
    assert "hello" in page.text


@pytest.mark.parametrize("media_type", ["APPLICATION/JSON", "application/json; charset=utf-8", "Application/Json ;x=1"])
def test_the_case_of_a_media_type_says_nothing(site: ServedSite, media_type: str) -> None:
    response = site.client.post("api/runs", content=b'{"prompt": "hello"}', headers={"Content-Type": media_type})
    assert response.status_code == 201
    assert response.json()["run_id"]


def test_a_number_of_thousands_of_digits_names_its_field(site: ServedSite) -> None:
    body = b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}"
    problem = assert_problem(site.client.post("api/runs", content=body, headers=JSON), 422, "seed")
    assert "from 0 to" in problem["detail"]


@pytest.mark.parametrize("value", ["1_0", "5.0", "+3", "\u0663"])
def test_a_forms_whole_numbers_are_digits(site: ServedSite, value: str) -> None:
    page = site.client.post("api/runs", data={"prompt": "hello", "max_tokens": value})
    assert page.status_code == 422
    assert "max_tokens must be a whole number" in page.text


def test_a_forms_fields_come_once(site: ServedSite) -> None:
    page = site.client.post("api/runs", data={"prompt": ["hello", "goodbye"]})
    assert page.status_code == 422
    assert "prompt may be given only once" in page.text


def test_a_form_refused_unread_is_a_page_all_the_same(tmp_path: Path) -> None:
    with serving(tmp_path, posts_per_minute=0.1, posts_burst=1, max_body_bytes=1000) as site:
        evil = site.client.post("api/runs", data={"prompt": "a soup"}, headers={"Origin": "https://evil.example"})
        assert site.client.post("api/runs", data={"prompt": "first"}, follow_redirects=False).status_code == 303
        hasty = site.client.post("api/runs", data={"prompt": "a soup"})
        large = site.client.post("api/runs", data={"prompt": "x" * 2000})
        assert [response.status_code for response in (evil, hasty, large)] == [403, 429, 413]
        for page in (evil, hasty, large):
            assert page.headers["content-type"].startswith("text/html")
            assert 'class="problem"' in page.text
        assert "a soup" in evil.text
        assert "a soup" in hasty.text
        assert int(hasty.headers["retry-after"]) >= 1


@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_that_never_ends_is_not_waited_for(tmp_path: Path, media_type: str) -> None:
    with serving(tmp_path, ready=False, body_timeout=0.3) as site:
        head = f"POST /api/runs HTTP/1.1\r\nHost: kitchen\r\nContent-Type: {media_type}\r\nContent-Length: 100\r\n\r\n"
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
            connection.sendall(head.encode() + b'{"prompt": "a so')
            answer = b""
            while chunk := connection.recv(65_536):  # until the server closes the connection
                answer += chunk
    lines = answer.decode().lower()
    assert lines.startswith("http/1.1 408")
    assert "did not arrive whole within 0.3 seconds. please send it again." in lines
    is_form = media_type == "application/x-www-form-urlencoded"
    assert ("text/html" if is_form else "application/problem+json") in lines.partition("\r\n\r\n")[0]


@pytest.mark.parametrize("run_id", ["A" * 22, "nope", "..%2f..%2fsecret", "%00", "a" * 5000, "é"])
def test_unknown_runs(site: ServedSite, run_id: str) -> None:
    for path in (f"api/runs/{run_id}", f"api/runs/{run_id}/events", f"fragments/runs/{run_id}/queue"):
        assert_problem(site.client.get(path), 404)
    assert_problem(site.client.delete(f"api/runs/{run_id}"), 404)
    page = site.client.get("", params={"run": run_id})
    assert page.status_code == 404
    assert "That run is not here" in page.text
    assert '"run_id": null' in page.text


def test_addresses_and_methods_that_are_not(site: ServedSite) -> None:
    assert_problem(site.client.get("nothing/here"), 404)
    assert_problem(site.client.get("static/../pyproject.toml"), 404)
    assert_problem(site.client.get("static/js"), 404)
    response = site.client.put("api/runs")
    assert_problem(response, 405)
    assert "POST" in response.headers["allow"]
    response = site.client.put("api/runs/nope")
    assert_problem(response, 405)
    assert response.headers["allow"] == "DELETE, GET, HEAD, PATCH"


def test_head_says_what_get_would_and_does_not_wait_for_the_end(site: ServedSite) -> None:
    run_id = site.run("SLOW LONG", max_tokens=200)
    for path in (f"api/runs/{run_id}/events", f"api/runs/{run_id}", "api/schema/events.json"):
        head = site.client.head(path)
        assert head.status_code == 200, path
        assert head.content == b""
        assert head.headers["content-type"]
    assert site.client.get(f"api/runs/{run_id}").json()["status"] != "closed"
    site.client.delete(f"api/runs/{run_id}")
    assert site.client.head("api/runs/nope/events").status_code == 404


def test_htmx_gets_the_same_as_a_fragment_beside_the_box(site: ServedSite) -> None:
    response = site.client.post("api/runs", data={"prompt": "  "}, headers={"HX-Request": "true"})
    assert response.status_code == 422
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["hx-retarget"] == "#prompt-error"
    assert "The prompt is empty" in response.text
    assert "<html" not in response.text


def test_a_burst_of_a_thousand_requests_from_one_caller(tmp_path: Path) -> None:
    limits = {"posts_per_minute": 60, "posts_burst": 20, "max_runs_per_visitor": 4, "max_runs_per_address": 16}
    with serving(tmp_path, max_waiting_runs=32, trusted_proxies=("127.0.0.1",), **limits) as site:

        def post(number: int) -> httpx.Response:
            headers = {"X-Forwarded-For": "203.0.113.5"}
            return client.post(site.url + "api/runs", json={"prompt": "SLOW LONG", "max_tokens": 50}, headers=headers)

        with httpx.Client(timeout=30) as client, ThreadPoolExecutor(40) as pool:
            responses = list(pool.map(post, range(1000)))
            taken = [response for response in responses if response.status_code == 201]
            refused = [response for response in responses if response.status_code == 429]
            assert len(taken) + len(refused) == 1000
            assert 4 <= len(taken) <= 40
            assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
            assert site.client.get("healthz").status_code == 200
            other = httpx.post(
                site.url + "api/runs", json={"prompt": "me too"}, headers={"X-Forwarded-For": "198.51.100.7"}
            )
            assert other.status_code == 201, "others are served"
            run_id = other.json()["run_id"]
            assert site.events(run_id)[-1]["reason"] == "finished"
        for response in taken:
            assert site.events(response.json()["run_id"])[-1]["reason"] == "finished"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "stop", "seed", "n"]
bodies = st.dictionaries(st.sampled_from([*FIELDS, "probes", "drafter", "x"]), json_values, max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies | json_values)
def test_no_body_ever_breaks_the_server(site: ServedSite, body: Any) -> None:
    response = site.client.post("api/runs", content=json.dumps(body).encode(), headers=JSON)
    assert response.status_code in (201, 400, 413, 422, 429)
    if response.status_code != 201:
        assert_problem(response, response.status_code)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode), form=st.booleans())
def test_no_bytes_ever_break_the_server(site: ServedSite, body: bytes, form: bool) -> None:
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    response = site.client.post("api/runs", content=body, headers={"Content-Type": kind}, follow_redirects=False)
    assert response.status_code in (303, 400, 422, 413, 429)
