"""The command line: `msk-node COMMAND`. Each command is a thin edge over one function.

The exit codes are the same for every command: docs/commands.md has them in a table, which
`tests/integration/test_exit_codes.py` goes through.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from dicom_node.commands import (
    acceptance,
    audit,
    backup,
    bundles,
    cases,
    cohort,
    console,
    export,
    finding,
    health,
    import_musclemap,
    import_nnunet,
    metrics,
    models,
    node,
    orders,
    peers,
    requery,
    rules,
    web_users,
)
from dicom_node.errors import (
    ConfigurationError,
    EngineBusyError,
    NodeError,
    PeerRefusedError,
    PeerUnreachableError,
    SeriesError,
    UnknownNameError,
)
from inference.errors import InferenceError

COMMANDS: Final[tuple[Callable[..., Any], ...]] = (
    node.serve,
    node.check,
    node.reload,
    node.status,
    health.health,
    node.release,
    acceptance.accept,
    backup.backup,
    backup.restore,
    finding.find,
    finding.history,
    orders.retry,
    orders.cancel,
    orders.hold,
    orders.resend,
    orders.reanalyse,
    metrics.metrics,
    requery.requery,
    cases.segment,
    export.export,
    cohort.cohort,
    peers.echo,
    peers.send,
    models.train,
    models.import_keras,
    import_musclemap.import_musclemap,
    import_nnunet.import_nnunet,
    cases.phantom,
    bundles.bundles,
    models.evaluate,
    models.calibrate,
    cases.demo,
)
"""In the order of the help; a command is called as its function, with hyphens."""

app = typer.Typer(
    name="msk-node",
    help="Segment hip-to-knee CT with uncertainty; answer as DICOM SEG and SR.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(rules.app, name="rules")
app.add_typer(web_users.users, name="user")
app.add_typer(web_users.tokens, name="token")
app.add_typer(audit.app, name="audit")


def main() -> None:
    """Run the command line and turn known errors into messages and exit codes."""
    try:
        app()
    except (NodeError, InferenceError) as error:
        _say(error, error)
        sys.exit(_exit_code(error))
    except OSError as error:
        if error.filename is None:
            raise
        words = f"{error.filename}: {error.strerror}"
        _say(error, words)
        sys.exit(console.EXIT_UNUSABLE)


def _say(error: Exception, words: object) -> None:
    """Print what went wrong."""
    title = type(error).__name__
    console.stderr.print(console.titled(title, "bold red", words), soft_wrap=True)


def _exit_code(error: NodeError | InferenceError) -> int:
    match error:
        case UnknownNameError():
            return console.EXIT_USAGE
        case SeriesError():
            return console.EXIT_REFUSED
        case PeerUnreachableError():
            return console.EXIT_UNREACHABLE
        case PeerRefusedError():
            return console.EXIT_PEER_REFUSED
        case ConfigurationError() | EngineBusyError() | InferenceError():
            return console.EXIT_UNUSABLE
        case _:
            return 1


def _say_version(is_wanted: bool) -> None:  # noqa: FBT001 - typer's one way
    """Print the version, and nothing else."""
    if is_wanted:
        from dicom_node.monitoring.heartbeats import software_version

        typer.echo(f"msk-node {software_version()}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option("--version", help="Say the version.", callback=_say_version, is_eager=True),
]


@app.callback()
def _quietly(*, version: VersionOption = False) -> None:
    """Log only warnings, and to standard error; `serve` then logs as its settings say."""
    del version
    from dicom_node.monitoring.logs import configure_logging
    from dicom_node.settings.node import Logging

    configure_logging(Logging(level="warning"))
