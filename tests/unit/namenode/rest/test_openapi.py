from typing import Any

from falcon.inspect import inspect_app

from esdfs.namenode.rest.openapi import document
from tests.unit.namenode.rest.world import World


def test_every_route_and_method_is_documented_and_nothing_else() -> None:
    with World() as world:
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
