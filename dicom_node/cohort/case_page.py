"""Single cases against norms, as a page: a strip of z-scores and a table for each case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from dicom_node.cohort import figures
from dicom_node.cohort.against_norms import FAR_Z, Compared
from dicom_node.cohort.charts import styled
from dicom_node.cohort.cohort import Cohort, Quantity
from dicom_node.cohort.norms import Norms
from dicom_node.cohort.page import About, Section, banners, page_html
from inference.evaluation.exhibits import Column, Table


def norms_html(compared: Sequence[Compared], norms: Norms, about: About) -> str:
    """The report of single cases against norms."""
    with styled():
        sections = [_against(number, one) for number, one in enumerate(compared, start=1)]
    made = norms.model
    facts = (
        ("norms", f"{norms.patients} patients, scans {norms.first_scan} to {norms.last_scan}"),
        (
            "bundle of the norms",
            f"{made.name} {made.version}, weights {made.weights_sha256[:12]}",
        ),
        *about.facts,
    )
    cohort = Cohort.of(one.case for one in compared)
    return page_html(replace(about, facts=facts), (), banners(cohort), sections)


SHOWN: Final = {
    Quantity.VOLUME: "volume, cm3",
    Quantity.NORMALISED: "normalised volume, cm3/m2",
    Quantity.MEAN_HU: "mean HU",
    Quantity.LEAN: "lean share",
    Quantity.MIXED: "mixed share",
    Quantity.FAT: "fat share",
}


def score_table(compared: Compared) -> Table:
    """Every number of a case with its z-score, the reference and its size."""
    columns = (
        Column("structure"),
        Column("quantity"),
        Column("value", ".4g"),
        Column("z", ".1f"),
        Column("percentile"),
        Column("norm's mean", ".4g"),
        Column("norm's SD", ".3g"),
        Column("group"),
        Column("n"),
    )
    rows = tuple(
        (
            one.segment.title,
            SHOWN[one.quantity],
            one.value,
            one.z,
            one.percentile_words,
            one.norm.mean,
            one.norm.sd,
            one.group_words,
            one.norm.n,
        )
        for one in compared.scores
    )
    return Table(0, "The case's numbers", columns, rows, missing=compared.refused)


def _against(number: int, compared: Compared) -> Section:
    name = compared.case.source.name
    title = f"Case {name}"
    if compared.refused:
        return Section(f"case-{number}", title, alerts=(f"Not compared: {compared.refused}",))
    volume = next(
        (
            q
            for q in (Quantity.NORMALISED, Quantity.VOLUME)
            if any(one.quantity is q for one in compared.scores)
        ),
        Quantity.VOLUME,
    )
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for quantity in (volume, Quantity.MEAN_HU, Quantity.FAT):
        of_it: dict[str, dict[str, float]] = {}
        for one in compared.scores:
            if one.quantity is quantity and one.z is not None:
                side = one.segment.side.value if one.segment.side else ""
                of_it.setdefault(one.segment.structure.abbreviation, {})[side] = one.z
        rows[SHOWN[quantity]] = of_it
    far = sum(one.z is not None and abs(one.z) > FAR_Z for one in compared.scores)
    lead = [
        f"{len(compared.scores)} numbers are compared, {far} lie beyond {FAR_Z:g} SD.",
        *compared.notes,
        *(f"Not compared, {words}: {', '.join(keys)}." for words, keys in compared.left_out),
    ]
    blocks = (figures.strip_chart(rows, f"strip{number}"), score_table(compared))
    return Section(f"case-{number}", title, tuple(lead), blocks=blocks)
