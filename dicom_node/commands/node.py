"""Commands for the node itself: `serve`, `check`, `status` and `release`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.commands.console import ConfigOption, stderr, stdout, titled
from dicom_node.commands.orders import (
    CodeOption,
    DryRunOption,
    SenderOption,
    SinceOption,
    StateOption,
    StudyOption,
    UntilOption,
    VerdictOption,
)
from dicom_node.errors import ConfigurationError

if TYPE_CHECKING:
    from dicom_node.settings.node import NodeConfig


class ServedRole(StrEnum):
    """The part of a node's work that `serve` does."""

    RECEIVE = "receive"
    WORK = "work"
    WEB = "web"
    ALL = "all"


RoleOption = Annotated[
    ServedRole,
    typer.Option(
        help="Receive series, work on them, serve the web pages, or all of it on this machine."
    ),
]


def serve(config: ConfigOption = None, role: RoleOption = ServedRole.ALL) -> None:
    """Run the node: receive, segment, deliver, until it is told to stop."""
    from dicom_node.monitoring.signals import held_back

    with held_back():  # a second of loading is time enough for a signal
        from dicom_node.node.supervisor import ANALYSIS_COMMAND, ROLE_NAMES
        from dicom_node.node.supervisor import serve as run
        from dicom_node.settings.loading import load_config

        roles_here = ROLE_NAMES if role is ServedRole.ALL else (role.value,)
        run(load_config(config), ANALYSIS_COMMAND, roles_here, config)


def check(config: ConfigOption = None) -> None:
    """Check a configuration with all it points to, and print what the node would do."""
    from dicom_node.node.preflight import check_surroundings, concerns
    from dicom_node.settings.description import describe
    from dicom_node.settings.loading import load_config
    from dicom_node.settings.reference import explained
    from dicom_node.web.accounts.concerns import check_accounts, web_concerns

    try:
        settings = load_config(config)
        check_surroundings(settings)
        check_accounts(settings)
    except ConfigurationError as error:
        raise ConfigurationError(explained(str(error))) from None
    for line in (*describe(settings), *_described_bundles(settings)):
        stdout.print(line, highlight=False)
    _warn(concerns(settings))
    _warn(web_concerns(settings))
    _warn_of_certificates(settings)


def reload(config: ConfigOption = None) -> None:
    """Have the running node read its settings again; without an error it has them."""
    import getpass

    from dicom_node.node.reload import request_reload
    from dicom_node.settings.loading import load_config
    from dicom_node.settings.reference import explained

    try:
        settings = load_config(config)
    except ConfigurationError as error:
        raise ConfigurationError(explained(str(error))) from None
    found = request_reload(settings, getpass.getuser())
    if not found.is_taken:
        raise ConfigurationError(explained("\n".join(found.reasons)))
    for key in found.changed:
        stdout.print(f"changed: {key}", highlight=False)
    if not found.changed:
        stdout.print("nothing has changed", highlight=False)


def status(
    config: ConfigOption = None,
    *,
    everything: Annotated[
        bool,
        typer.Option("--all", help="All there is, however many series, and every kept file."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON; docs/operating.md names every key.")
    ] = False,
) -> None:
    """Show whether the node runs, its series, deliveries and what is open, with the reason."""
    from dicom_node.commands.status_tables import render
    from dicom_node.node.status import node_status
    from dicom_node.settings.loading import load_config

    settings = load_config(config)
    found = node_status(settings, everything=everything)
    if as_json:
        import json

        from dicom_node.node.health_json import status_values

        typer.echo(json.dumps(status_values(found), indent=1))
        return
    stdout.print(render(found))
    _warn_of_certificates(settings)


def release(  # noqa: PLR0913 - the options of a filter
    config: ConfigOption = None,
    destination: Annotated[
        str | None, typer.Option(help="Only what has not come to this destination.")
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            help="Only the results of this Series Instance UID; if rules left the series"
            " out, it is analysed."
        ),
    ] = None,
    state: StateOption = None,
    study: StudyOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    code: CodeOption = "",
    sender: SenderOption = "",
    verdict: VerdictOption = "",
    *,
    dry_run: DryRunOption = False,
) -> None:
    """Let held deliveries go on, and slow ones at once; a running node does within seconds."""
    from dicom_node.commands import orders
    from dicom_node.delivery.release import release_held
    from dicom_node.node.selection import release_left_out
    from dicom_node.node.work_lists import WorkFilter
    from dicom_node.persistence.rows import OrderKind
    from dicom_node.settings.loading import load_config

    chosen = orders.work_filter(
        states=state,
        study=study,
        since=since,
        until=until,
        code=code,
        sender=sender,
        verdict=verdict,
    )
    if dry_run or chosen != WorkFilter():
        only = replace(
            chosen, series=(series,) if series else (), destination=destination or ""
        )
        stuck = replace(only, states=("held", "waiting"))
        orders.order(
            load_config(config),
            OrderKind.RELEASE,
            stuck if only.is_empty else only,
            destination=destination or "",
            dry_run=dry_run,
        )
        return
    if series is not None and release_left_out(config, series):
        stdout.print("1 series released that rules had left out", highlight=False)
    count = release_held(
        config, destination=destination, series_instance_uid=series, by=orders.user_name()
    )
    stdout.print(f"{count} held objects released", highlight=False)


def _described_bundles(settings: NodeConfig) -> Iterable[str]:
    """What each bundle is that the settings name, a sentence a line."""
    from inference.models.bundle import load_bundle
    from inference.models.bundle_facts import facts_of

    asked = settings.analysis.samples
    for name in settings.bundles:
        facts = facts_of(load_bundle(name))
        few = (
            asked is not None and facts.most_samples is not None and asked > facts.most_samples
        )
        doubt = f"{facts.doubt}, all it has of the {asked} asked for" if few else facts.doubt
        yield (
            f"bundle {facts.name} {facts.version} ({facts.origin or facts.kind}): "
            f"{facts.structures_words}; uncertainty: {doubt}; calibrated: "
            f"{facts.calibration_words}"
        )


def _warn_of_certificates(settings: NodeConfig) -> None:
    """Say which certificates and keys need to be looked at."""
    from datetime import UTC, datetime

    from dicom_node.node import tls_checks

    now = datetime.now(UTC)
    _warn((*tls_checks.problems(settings, now), *tls_checks.warnings(settings, now)))


def _warn(concerns: Iterable[str]) -> None:
    """Print what should be looked at."""
    for line in concerns:
        stderr.print(titled("Warning", "bold yellow", line))
