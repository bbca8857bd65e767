"""`esdfs quorum`: which NameNodes vote, who leads, and changing both."""

from typing import Annotated, Any

import typer

from esdfs.cli import session
from esdfs.cli.session import Json
from esdfs.cli.survival import planned, present

quorum = typer.Typer(no_args_is_help=True, help="The NameNodes that vote, and who leads them.")

Node = Annotated[str, typer.Argument(help="A NameNode, like nn-2.")]


@quorum.command("status")
def status(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Who votes, who leads, how far each one is, and what the cluster survives right now."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    told = here.client.control.get("/quorum", dict[str, Any])
    if out.as_json:
        out.json(told)
        return
    rows: list[tuple[str, ...]] = [("NODE", "KIND", "ROLE", "RECORD", "LAG", "LAST HEARD", "ADDRESS")]
    rows += [_row(voter, voter["match_txid"], voter["role"] or "?") for voter in told["voters"]]
    rows += [_row(observer, observer["fetched_txid"], "observer") for observer in told["observers"]]
    out.table(rows, right=(3, 4, 5))
    if told["transfer_to"]:
        out.line(f"leadership is being handed over to {told['transfer_to']}")
    if told["change_pending"]:
        out.line("a change of voters is not committed yet")
    if told["survives"] is None:
        out.line(
            f"nobody leads: this is what {told['node_id']} knows; a majority is {told['majority']} voters"
        )
        return
    out.line(f"epoch {told['epoch']}; {present(told['up'], len(told['voters']), told['survives'])}")
    if told["majority"] == len(told["voters"]):
        out.line(planned(*_kinds(told)))


@quorum.command("transfer")
def transfer(
    ctx: typer.Context,
    node: Annotated[str, typer.Argument(help="Who shall lead; default: the one that lacks least.")] = "",
    *,
    as_json: Json = False,
) -> None:
    """Have another NameNode lead. Takes milliseconds; nothing is lost."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    told = here.client.control.change("POST", "/quorum/transfer", dict[str, Any], {"to": node})
    if out.as_json:
        out.json(told)
    else:
        out.line(f"{told['leader'] or 'nobody yet'} leads (epoch {told['epoch']})")


@quorum.command("add")
def add(ctx: typer.Context, node: Node, *, as_json: Json = False) -> None:
    """Let an observer vote, once it has caught up (see `esdfs namenode format --join`)."""
    here = session.of(ctx)
    told = here.client.control.change("POST", "/quorum/voters", dict[str, Any], {"node_id": node})
    _changed(here, told, f"{node} votes", f"{node} votes already", as_json=as_json)


@quorum.command("remove")
def remove(ctx: typer.Context, node: Node, *, as_json: Json = False) -> None:
    """Let a voter vote no more. It stays an observer while it runs."""
    here = session.of(ctx)
    told = here.client.control.change("DELETE", f"/quorum/voters/{node}", dict[str, Any])
    _changed(here, told, f"{node} votes no more", f"{node} did not vote", as_json=as_json)


def _changed(here: session.Session, told: dict[str, Any], done: str, was: str, *, as_json: bool) -> None:
    out = here.output(as_json=as_json)
    if out.as_json:
        out.json(told)
        return
    out.line(f"{done if told['changed'] else was}; voters: {', '.join(told['voters'])}")
    if len(told["voters"]) == 2 and not here.quiet:
        out.line("two voters must both be up: add a third for failover")


def _row(node: dict[str, Any], txid: int | None, role: str) -> tuple[str, ...]:
    away_ms = node["last_contact_ms"]
    return (
        node["node_id"],
        node["kind"],
        role + (f" ({node['health']})" if node.get("health") not in {None, "", "ok"} else ""),
        "-" if txid is None else str(txid),
        "-" if node["lag_records"] is None else str(node["lag_records"]),
        "-" if away_ms is None else "now" if not away_ms else f"{away_ms} ms",
        node["rest"] or node["grpc"] or "-",
    )


def _kinds(told: dict[str, Any]) -> tuple[int, int]:
    witnesses = sum(voter["kind"] == "witness" for voter in told["voters"])
    return len(told["voters"]) - witnesses, witnesses
