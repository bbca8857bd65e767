"""The command line. A command's module is loaded when it is called: `esdfs ls` needs neither gRPC nor SQL."""

import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from esdfs.cli.exits import Exit, exit_status
from esdfs.cli.session import Json, Session
from esdfs.errors import EsdfsError

COMMANDS: Final[dict[str, str]] = {
    # name -> module:function, or module:Typer for a group; in the order of the help
    "ls": "listing:ls",
    "stat": "listing:stat",
    "du": "listing:du",
    "find": "finding:find",
    "checksum": "listing:checksum",
    "cat": "transfer:cat",
    "put": "transfer:put",
    "get": "transfer:get",
    "mkdir": "changes:mkdir",
    "rmdir": "changes:rmdir",
    "rm": "changes:rm",
    "mv": "changes:mv",
    "cp": "changes:cp",
    "touch": "attributes:touch",
    "chmod": "attributes:chmod",
    "chown": "attributes:chown",
    "setrep": "attributes:setrep",
    "cd": "place:cd",
    "pwd": "place:pwd",
    "shell": "shell:shell",
    "history": "history:history",
    "restore": "history:restore",
    "diff": "history:diff",
    "snapshot": "snapshots:snapshot",
    "retention": "retention:retention",
    "journal": "journal:journal",
    "cluster": "cluster:cluster",
    "node": "node:node",
    "fsck": "fsck:fsck",
    "balance": "balance:balance",
    "quorum": "quorum:quorum",
    "upgrade": "upgrade:upgrade",
    "doctor": "doctor:doctor",
    "local": "local:local",
    "namenode": "servers:namenode",
    "datanode": "servers:datanode",
    "db": "servers:db",
}


class Commands(TyperGroup):
    """A group whose commands fail with one line and the exit status of their error."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except EsdfsError as error:
            _complain(ctx, error.message)
            raise typer.Exit(exit_status(error)) from error
        except BrokenPipeError:
            raise  # `| head` had enough: Typer knows
        except OSError as error:
            named = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
            _complain(ctx, named)
            raise typer.Exit(Exit.REFUSED) from error


class Root(Commands):
    """All commands, each loaded when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, as the help shows them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        """Load one; None for an unknown name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"esdfs.cli.{module}"), name)
        holder = typer.Typer(add_completion=False, rich_markup_mode=None, callback=_nothing)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=cmd_name, cls=Commands)
        else:
            holder.command(cmd_name)(found)
        group = typer.main.get_command(holder)
        assert isinstance(group, TyperGroup)
        command = group.commands[cmd_name]
        assert isinstance(command, TyperCommand | TyperGroup)
        return command


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="esdfs: a distributed file system whose metadata is its operation journal.",
)


@app.callback()
def root(
    ctx: typer.Context,
    *,
    url: Annotated[
        str | None, typer.Option(envvar="ESDFS_URL", help="NameNodes, comma-separated: http://host:port,…")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="ESDFS_TOKEN", help="The cluster's token.", show_default=False)
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(envvar="ESDFS_PROFILE", help="A profile of $XDG_CONFIG_HOME/esdfs/config.toml."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for each call to a NameNode, retries included.")
    ] = 30.0,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")] = False,
) -> None:
    """Where the cluster is and how to print."""
    if ctx.obj is None:
        session = Session(
            url=url, token=token, profile=profile, timeout_s=timeout, as_json=as_json, quiet=quiet
        )
        ctx.obj = session
        ctx.call_on_close(session.close)


def main() -> None:
    """The console script."""
    if not __debug__:
        sys.exit("esdfs: refuses to run under python -O: its assertions keep data safe")
    app(prog_name="esdfs")


def _nothing() -> None:
    """Makes a Typer of one command a group."""


def _complain(ctx: Any, reason: str) -> None:
    words = [*ctx.command_path.split()[1:], ctx.invoked_subcommand or ""]
    line = " ".join(reason.split())
    sys.stdout.flush()
    sys.stderr.write(f"esdfs: {' '.join(word for word in words if word)}: {line}\n")


if __name__ == "__main__":
    main()
