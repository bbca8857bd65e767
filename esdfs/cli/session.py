"""What every command works with: where the cluster is, how to print, what a path means."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esdfs.cli import completion, cwd
from esdfs.cli.output import Output
from esdfs.errors import InvalidRequest

if TYPE_CHECKING:
    from esdfs.client import DFSClient

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="As it was: a txid, an ISO time, a duration ago (2h), or @snapshot."),
]
RemotePath = Annotated[str, typer.Argument(help="In the cluster.", autocompletion=completion.remote_paths)]
RemotePaths = Annotated[
    list[str], typer.Argument(help="In the cluster.", autocompletion=completion.remote_paths)
]

WherePaths = Annotated[
    list[str] | None,
    typer.Argument(help="Default: where you are.", autocompletion=completion.remote_paths),
]


class Session:
    """One invocation, or one interactive shell."""

    def __init__(
        self,
        *,
        url: str | None = None,
        token: str | None = None,
        profile: str | None = None,
        timeout_s: float = 30.0,
        as_json: bool = False,
        quiet: bool = False,
    ) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self.here: str | None = None  # a shell's own place; None = that of the terminal
        self.before = "/"
        self._url = url
        self._token = token
        self._profile = profile
        self._timeout_s = timeout_s
        self._client: DFSClient | None = None

    @property
    def client(self) -> "DFSClient":
        """The client, made at first use.

        Raises:
            InvalidRequest: Nobody said where the cluster is.
        """
        if self._client is None:
            from esdfs.client import DFSClient  # noqa: PLC0415 - `esdfs --help` needs no HTTP

            settings = self.settings()
            if not settings.get("url"):
                raise InvalidRequest("which cluster? Give --url, set ESDFS_URL, or write a profile")
            self._client = DFSClient(settings["url"], token=settings.get("token"), timeout=self._timeout_s)
        return self._client

    def settings(self) -> dict[str, str]:
        """URL and token: options, then environment (Typer merges those two), then the profile."""
        found = _profile(self._profile)
        given = {"url": self._url, "token": self._token}
        return found | {name: value for name, value in given.items() if value}

    def close(self) -> None:
        """Close the client, if it was used."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def place(self) -> str:
        """What relative paths are relative to."""
        return cwd.current().here if self.here is None else self.here

    def resolve(self, path: str) -> str:
        """A path in the cluster, absolute."""
        return cwd.resolve(path, "/" if path.startswith("/") else self.place())

    def output(self, *, as_json: bool) -> Output:
        """Where results go; ``as_json`` is the command's own option."""
        return Output(as_json=as_json or self.as_json)

    @contextmanager
    def progress(
        self, what: str, total: int | None, *, records: bool = False
    ) -> Iterator[Callable[[int], None] | None]:
        """A progress bar on stderr, in bytes or in ``records``, when that is a terminal; else None."""
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from esdfs.cli.progress import bar, counter  # noqa: PLC0415 - rich is slow to import

        with counter(what) if records else bar(what, total) as advance:
            yield advance


def of(ctx: typer.Context) -> Session:
    """The session of this invocation."""
    session = ctx.obj
    assert isinstance(session, Session)
    return session


def _profile(name: str | None) -> dict[str, str]:
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111 - may stay "~" where there is no home
    file = Path(base) / "esdfs" / "config.toml"
    if not file.is_file():
        if name:
            raise InvalidRequest(f"no profile {name}: there is no {file}")
        return {}
    import tomllib  # noqa: PLC0415 - most have no such file

    try:
        profiles: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8")).get("profiles", {})
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"{file}: {error}") from error
    if name and name not in profiles:
        raise InvalidRequest(f"no profile {name} in {file}: it has {', '.join(profiles) or 'none'}")
    chosen = profiles.get(name or "default", {})
    if not isinstance(chosen, dict) or not all(isinstance(value, str) for value in chosen.values()):
        raise InvalidRequest(f"{file}: a profile is a table of strings: url, token")
    if unknown := chosen.keys() - {"url", "token"}:
        raise InvalidRequest(f"{file}: unknown setting {', '.join(sorted(unknown))}; known are url, token")
    return chosen
