"""The document describes what is served: every route, and every answer to requests made from it."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from falcon.inspect import inspect_app
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks

from esdfs.namenode.rest.openapi import document
from tests.unit.namenode.rest.live import Live, serving
from tests.unit.namenode.rest.world import World

SLOW = {"min_txid", "wait_ms"}  # they wait, as they should


def _without_waiting() -> dict[str, Any]:
    made = copy.deepcopy(document())
    for methods in made["paths"].values():
        for operation in methods.values():
            operation["parameters"] = [p for p in operation["parameters"] if p["name"] not in SLOW]
    return made


schema = schemathesis.openapi.from_dict(_without_waiting())


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("nn")) as made:
        yield made


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_what_is_made_from_the_document_is_answered_as_it_says(case: Any, live: Live) -> None:
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{live.port}",
        checks=[
            checks.not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
        ],
    )


def test_every_route_and_method_is_documented_and_nothing_else(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        served = {
            (method.method, route.path.replace(":path}", "}"))
            for route in inspect_app(world.app).routes
            for method in route.methods
            if not method.internal
        }
    documented = {
        (method.upper(), path) for path, methods in document()["paths"].items() for method in methods
    }
    assert documented == served


def test_the_document_is_served(world: World) -> None:
    answer = world.get("/openapi.json")
    assert (answer.status_code, answer.json) == (200, document())


def test_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return here + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    found = references(document())
    assert found
    assert {name.removeprefix("#/components/schemas/") for name in found} <= set(schemas)
