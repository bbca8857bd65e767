"""`esdfs shell`: all commands interactively, in a place of its own, with completion of remote paths."""

import shlex
import sys
from collections.abc import Iterable
from typing import Any

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from typer.core import TyperGroup

from esdfs.cli import session
from esdfs.cli.completion import matching
from esdfs.cli.session import Session
from esdfs.errors import EsdfsError

_END = frozenset({"exit", "quit", "bye"})


def shell(ctx: typer.Context) -> None:
    """All commands interactively; `help` lists them, `exit` or Ctrl-D ends it."""
    here = session.of(ctx)
    here.here = here.place()
    here.client.stat(here.here)
    root = ctx.find_root().command
    assert isinstance(root, TyperGroup)
    interactive = sys.stdin.isatty()
    prompt: PromptSession[str] | None = None
    if interactive:
        prompt = PromptSession(completer=RemoteCompleter(here, root.list_commands(ctx)))
    while True:
        try:
            line = prompt.prompt(f"esdfs:{here.here}> ") if prompt else sys.stdin.readline()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if not line and not interactive:
            return
        if not run_line(root, here, line):
            return


def run_line(root: Any, here: Session, line: str) -> bool:
    """Carry out one line; False when it ends the shell."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        sys.stderr.write(f"esdfs: shell: {error}\n")
        return True
    if not words:
        return True
    if words[0] in _END:
        return False
    if words[0] == "help":
        words = ["--help"]
    if words[0] == "shell":
        sys.stderr.write("esdfs: shell: this is one\n")
        return True
    try:
        root.main(args=words, prog_name="esdfs", obj=here)
    except SystemExit:
        # The command said on stderr what was wrong; the shell goes on.
        return True
    return True


class RemoteCompleter(Completer):
    """Commands first, then paths in the cluster."""

    def __init__(self, here: Session, commands: Iterable[str]) -> None:
        self._here = here
        self._commands = sorted(commands)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What the word before the cursor may become."""
        del complete_event
        before = document.text_before_cursor
        word = before.rpartition(" ")[2]
        if " " not in before.lstrip():
            found = [name for name in self._commands if name.startswith(word)]
        elif word.startswith("-"):
            found = []
        else:
            try:
                found = matching(self._here.client, word, self._here.place())
            except EsdfsError:
                found = []  # the command itself will say what is wrong
        for text in found:
            yield Completion(text, start_position=-len(word))
