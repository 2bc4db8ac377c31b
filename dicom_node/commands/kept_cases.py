"""The cases that `export` and `cohort` are about: of folders of results, or of a node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_node.cohort.reading import records_of_folders, records_of_ledger, with_picture
from dicom_node.cohort.records import CaseRecord
from dicom_node.commands.console import stderr, titled
from dicom_node.errors import ConfigurationError
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.settings.loading import load_config


def tell_unreadable(name: str, reason: str) -> None:
    """Say that a case cannot be read."""
    stderr.print(titled("Warning", "bold yellow", f"{name} cannot be read: {reason}"))


@dataclass(frozen=True, slots=True)
class KeptCases:
    """Cases that are kept.

    folders: of `msk-node segment`; without any, the node's database counts.
    config: of the node.
    unreadable: told of what cannot be read.
    """

    folders: Sequence[Path]
    config: Path | None = None
    unreadable: Callable[[str, str], None] = tell_unreadable

    def records(
        self,
        *,
        since: datetime | None = None,
        all_revisions: bool = False,
        series: Collection[str] = (),
        pictures: bool = False,
        tests: bool = False,
    ) -> Iterator[CaseRecord]:
        """The cases, one patient's together; what is not among them is told.

        Args:
            since: of a node, only those of patients with one that was analysed since then.
            all_revisions: of a node, those too that a later revision has replaced.
            series: only those of these Series Instance UIDs; all without any.
            tests: of a node, those too of test patients and phantoms (`msk-node accept`).
            pictures: with the QC pages of flagged ones, where a node still has the files.

        Raises:
            ConfigurationError: the node has not run yet, or its ledger is of another version.
        """
        if self.folders:
            found = records_of_folders(self.folders, self.unreadable)
            yield from (
                one for one in found if not series or one.source.series_instance_uid in series
            )
            return
        with closing(_ledger(self.config)) as ledger:
            _tell_missing(ledger.answered_without_case())
            for record in records_of_ledger(
                ledger,
                self.unreadable,
                since=since,
                all_revisions=all_revisions,
                series=series,
                tests=tests,
            ):
                yield with_picture(record, ledger) if pictures else record


def _ledger(config: Path | None) -> Ledger:
    """The ledger of a node, to be read."""
    settings = load_config(config)
    ledger = existing_ledger(settings.node.database_url, only_read=True)
    if ledger is None:
        raise ConfigurationError("node.database: this node has not run yet: there are no cases")
    return ledger


def _tell_missing(count: int) -> None:
    """Say how many answers are not in the table."""
    if count:
        words = (
            f"{count} answered series are not in the table: a version without it answered "
            "them. Their figures are in the SR objects."
        )
        stderr.print(titled("Warning", "bold yellow", words))
