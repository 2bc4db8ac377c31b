"""Settings as sentences: what a node with them would do (`msk-node check`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from dicom_node.settings.archives import ArchiveSettings, retrieval_of
from dicom_node.settings.destinations import Credentials, Destination, WebDestination
from dicom_node.settings.node import NodeConfig, Pipeline, parse_database_url
from dicom_node.settings.profile import describe_profile
from dicom_node.settings.tls import DestinationTls, ReceiveTls
from dicom_node.settings.web import Web


def describe(config: NodeConfig) -> tuple[str, ...]:
    """A description of a node with these settings, a sentence a line."""
    node, analysis = config.node, config.analysis
    senders = _senders(config)
    samples = f"{analysis.samples} samples" if analysis.samples else "the bundle's samples"
    lines = [
        f"listens as {node.ae_title} on {node.host}:{node.port}, to {senders}",
        *_listens_with(config.receive.tls),
        f"keeps what it receives in {node.spool}, results in {node.results}",
        f"keeps queue and ledger in {parse_database_url(node.database_url)}",
        f"segments with bundle {analysis.bundle} on {analysis.device}, {samples}",
        f"a scan that does not show hip to knee: {analysis.partial}",
    ]
    lines += _shows(config.web)
    if config.cases.patient_id:
        lines.append("keeps the Patient ID in its table of results")
    lines += _audits(config)
    lines += [f"called {each.called_ae_title}: {_differs(each)}" for each in config.pipelines]
    lines += _takes(config)
    for each in config.destinations:
        lines += describe_destination(each)
    lines += [
        f"from {each.calling_ae_title or 'anyone'} to {each.called_ae_title or 'any title'}:"
        f" results go to {', '.join(each.destinations)}"
        for each in config.routes
    ]
    for archive in config.archives:
        lines += describe_archive(config, archive)
    lines += _tells(config)
    if not config.destinations:
        lines.append("no destinations: results stay in the results folder")
        lines.append(f"the results folder gets {describe_profile(config.profile)}")
    elif not config.routes:
        lines.append("no routes: results go to every destination")
    return tuple(lines)


def _shows(web: Web | None) -> Iterator[str]:
    """The pages, and who gets to them."""
    if web is None:
        yield "shows no pages and has no API"
        return
    how = "TLS" if web.tls else "plain"
    yield f"shows pages on {web.host}:{web.port} ({how}), as a {web.mark} installation"
    if web.proxy is not None:
        names = web.proxy.user_header
        words = f", and who calls, in {names}" if names else ""
        yield f"believes {', '.join(web.proxy.addresses)} about addresses{words}"
    if web.show_patients:
        yield "pages show Patient ID and Accession Number"


def _tells(config: NodeConfig) -> Iterator[str]:
    """Who is told of alarms."""
    mail, webhook = config.alarms.mail, config.alarms.webhook
    what = "critical alarms" if config.alarms.severity == "critical" else "alarms"
    if mail is not None:
        yield f"tells {what} by e-mail to {', '.join(mail.recipients)}"
    if webhook is not None:
        yield f"posts {what} to {urlsplit(webhook.url).hostname}"
    if mail is None and webhook is None:
        yield "tells nobody of alarms: they stand in its log, `status` and `health`"


def _differs(pipeline: Pipeline) -> str:
    """The differences of a pipeline, as text."""
    given = pipeline.model_dump(exclude={"called_ae_title"}, exclude_none=True)
    words = (f"{name} {value or 'none'}" for name, value in given.items())
    return ", ".join(words) or "as any other"


def _takes(config: NodeConfig) -> Iterator[str]:
    """What becomes of series that arrive, where there are rules for them."""
    for each in config.rules:
        if each.best:
            scope, quiet_s = each.best_of.replace("_", " "), config.completion.study_quiet_s
            yield (
                f"rules {each.name} take the best series of a {scope}"
                f" ({', '.join(each.best)}) when nothing has come of its study"
                f" for {quiet_s:g} s"
            )
    if config.analysis.rules:
        yield f"analyses what the rules {config.analysis.rules} take, and leaves out the rest"


def _audits(config: NodeConfig) -> Iterator[str]:
    """Where the audit trail is kept, and who gets a copy."""
    audit = config.audit
    if audit is None:
        return
    yield f"keeps an audit trail in {audit.file}; {PATIENT_WORDS[audit.patient]}"
    if audit.syslog is not None:
        server = f"{audit.syslog.host}:{audit.syslog.port}"
        yield f"sends a copy of the audit trail to {server} by syslog over TLS"
        yield f"that server {_proves(audit.syslog.tls, audit.syslog.host)}"


PATIENT_WORDS: Final = {
    "no": "it names studies, and no patient",
    "digest": "it names patients by a digest",
    "id": "it holds Patient IDs",
}


def _senders(config: NodeConfig) -> str:
    """The allowed senders, as text."""
    words = list(config.node.calling_ae_titles)
    for each in config.senders:
        hosts = f" from {' or '.join(each.hosts)}" if each.hosts else ""
        words.append(f"{each.ae_title or 'any title'}{hosts}")
    return ", ".join(words) or "any sender"


def _listens_with(tls: ReceiveTls | None) -> Iterator[str]:
    """The requirements for connections of senders, as text."""
    if tls is None:
        return
    must = "must" if tls.require_client_certificate else "may"
    yield f"that port speaks TLS only; senders {must} show a certificate"
    if tls.plain_port is not None:
        yield f"listens on port {tls.plain_port} without TLS, to anyone who may send"


def describe_destination(each: Destination) -> Iterator[str]:
    """A description of a destination: its objects, transport and proof, a sentence a line."""
    yield f"destination {each.name}: {each.address}"
    if each.shown_credentials is not None:
        yield f"destination {each.name} is shown {_shown(each.shown_credentials)}"
    yield f"destination {each.name} gets {describe_profile(each.profile)}"
    confirmed = CONFIRM_WORDS[each.confirm].format(query=each.query_service)
    yield f"destination {each.name}: {confirmed}"
    if each.tls is not None:
        yield f"destination {each.name} {_proves(each.tls, each.host_name)}"


def describe_archive(config: NodeConfig, archive: ArchiveSettings) -> Iterator[str]:
    """A description of an archive: where it is and how it gives, a sentence a line."""
    address = archive.address(config.destinations)
    way = RETRIEVE_WORDS[retrieval_of(archive, address)]
    title = archive.move_to or config.node.ae_title
    where = f"{address.url}" if isinstance(address, WebDestination) else address.address
    yield (
        f"archive {archive.name}: {where}, asked by {address.query_service},"
        f" gives by {way.format(title=title)}"
    )
    if address.tls is not None:
        yield f"archive {archive.name} {_proves(address.tls, address.host_name)}"


def _shown(credentials: Credentials) -> str:
    """The secret that is shown, and where it is, never its value."""
    file = credentials.bearer_token_file or credentials.password_file
    variable = credentials.bearer_token_variable or credentials.password_variable
    place = f"of {file}" if file else f"in the variable {variable}"
    if credentials.user is None:
        return f"the bearer token {place}"
    return f"the password {place}, as {credentials.user}"


def _proves(tls: DestinationTls, host: str) -> str:
    """The proof of identity that a destination gives, as text."""
    proofs = [f"a certificate for {tls.server_name or host}"]
    if tls.fingerprints:
        proofs = [f"the certificate {' or '.join(each[:16] for each in tls.fingerprints)}..."]
    if tls.ca is not None:
        proofs.append(f"vouched for by {tls.ca}")
    shown = "our certificate" if tls.certificate else "no certificate"
    return f"is reached by TLS: it shows {', '.join(proofs)}; we show {shown}"


RETRIEVE_WORDS: Final = {
    "move": "C-MOVE to {title}",
    "get": "C-GET",
    "web": "WADO-RS",
}

CONFIRM_WORDS: Final = {
    "commitment": "what was sent is confirmed by storage commitment",
    "query": "what was sent is confirmed by {query}",
    "no": "what was sent is not asked for again",
}
