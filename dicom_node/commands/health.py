"""The command `health`: is all well? For people, monitors and health checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.commands.console import (
    EXIT_NOT_RUNNING,
    EXIT_UNHEALTHY,
    EXIT_UNREACHABLE,
    ConfigOption,
    stdout,
)

if TYPE_CHECKING:
    from datetime import datetime

    from dicom_node.node.health import Health
    from dicom_node.settings.node import NodeConfig

JsonOption = Annotated[
    bool, typer.Option("--json", help="As JSON; docs/operating.md names every key.")
]
AliveOption = Annotated[
    bool,
    typer.Option(
        "--alive",
        help="Only whether the processes move: what a health check that restarts asks.",
    ),
]
TestOption = Annotated[
    bool,
    typer.Option("--test-alarms", help="Send a test alarm by e-mail and webhook, as set."),
]


def health(
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
    alive: AliveOption = False,
    test_alarms: TestOption = False,
) -> None:
    """Is all well? 0: yes; 7: alarms; 8: the node does not run. Changes nothing."""
    from datetime import UTC, datetime

    from dicom_node.settings.loading import load_config

    settings = load_config(config)
    if test_alarms:
        _test_alarms(settings)
        return
    now = datetime.now(UTC)
    if alive:
        code = _say_alive(settings, now)
    else:
        from dicom_node.node.health import node_health

        found = node_health(settings, now)
        _show(found, as_json=as_json)
        code = _code(is_running=found.is_running, is_healthy=found.is_healthy)
    if code:
        raise typer.Exit(code)


def _show(found: Health, *, as_json: bool) -> None:
    """Print it, for a person or a program."""
    if as_json:
        import json

        from dicom_node.node.health_json import health_values

        typer.echo(json.dumps(health_values(found), indent=1))
        return
    from dicom_node.commands.health_tables import render_health

    stdout.print(render_health(found), highlight=False)


def _say_alive(settings: NodeConfig, now: datetime) -> int:
    """Say whether the processes move; the exit code."""
    from dicom_node.node.process_health import node_processes

    found = node_processes(settings, now)
    stdout.print(found.words, highlight=False, soft_wrap=True)
    for each in found.alarms:
        words = f"{each.kind.value}: {each.subject}: {each.reason}"
        stdout.print(words, highlight=False, soft_wrap=True)
    return _code(is_running=found.is_running, is_healthy=not found.alarms)


def _code(*, is_running: bool, is_healthy: bool) -> int:
    if not is_running:
        return EXIT_NOT_RUNNING
    return 0 if is_healthy else EXIT_UNHEALTHY


def _test_alarms(settings: NodeConfig) -> None:
    """Tell a test by each way; the exit code says whether all took it."""
    from dicom_node.monitoring.notify import NotToldError, channels_of, test_changes

    channels = channels_of(settings.alarms, settings.node.ae_title)
    if not channels:
        raise typer.BadParameter("there is neither [alarms.mail] nor [alarms.webhook]")
    failed = False
    for channel in channels:
        words = "took the test alarm"
        try:
            channel.tell(test_changes())
        except NotToldError as error:
            failed, words = True, f"did not take the test alarm: {error}"
        stdout.print(f"{channel.name} {words}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(EXIT_UNREACHABLE)
