"""Claims about a report as FHIR: R5 by its own rules, the guide's profiles by what they demand.

The base resources are checked by fhir.resources (R5). The profiles of hl7.fhir.uv.dicom-sr
(STU1) are not published as a package that could be had here: what they fix and require is
written down below from their source, one claim a rule. Terminology is not checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.bundle import Bundle
from pydicom.dataset import Dataset
from support.cases import CONTEXT, of_kind, small_case, small_series

from dicom_node.results.builders import publish_case
from dicom_node.results.fhir.bundle_file import BUNDLE_FILE, keep_bundle
from dicom_node.results.fhir.measurement_bundle import measurement_bundle
from dicom_node.results.kinds import ResultKind

GUIDE = "http://hl7.org/fhir/uv/dicom-sr"
Resource = dict[str, Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    series = small_series(tmp_path_factory.mktemp("series"))
    case = small_case(series.volume.geometry)
    return of_kind(publish_case(series, case, CONTEXT, {ResultKind.SEG, ResultKind.SR}), "SR")


@pytest.fixture(scope="module")
def bundle(report: Dataset) -> Resource:
    return measurement_bundle(report)


def of_profile(bundle: Resource, name: str) -> Iterator[Resource]:
    """The resources that claim a profile of the guide."""
    url = f"{GUIDE}/StructureDefinition/{name}"
    found = [each["resource"] for each in bundle["entry"]]
    chosen = [each for each in found if url in each.get("meta", {}).get("profile", ())]
    assert chosen, name
    yield from chosen


def observations(bundle: Resource) -> list[Resource]:
    found = [each["resource"] for each in bundle["entry"]]
    return [each for each in found if each["resourceType"] == "Observation"]


def test_every_resource_is_one_of_r5(bundle: Resource) -> None:
    read = Bundle.model_validate(bundle)

    assert len(read.entry) == len(bundle["entry"]) > 20


def test_every_reference_within_the_bundle_is_resolved(bundle: Resource) -> None:
    there = {each["fullUrl"] for each in bundle["entry"]}
    text = json.dumps(bundle)
    named = {word for word in text.split('"') if word.startswith("urn:uuid:")}

    assert named == there
    assert len(there) == len(bundle["entry"])


def test_every_entry_is_put_under_its_own_identifier(bundle: Resource) -> None:
    urls = [each["request"]["url"] for each in bundle["entry"]]

    assert {each["request"]["method"] for each in bundle["entry"]} == {"PUT"}
    assert len(set(urls)) == len(urls)
    assert all("?identifier=urn:dicom:uid%7Curn:oid:2.25." in each for each in urls)


def test_the_same_report_gives_the_same_bundle(report: Dataset, bundle: Resource) -> None:
    assert measurement_bundle(report) == bundle


def test_the_patient_is_told_by_the_id_alone(report: Dataset, bundle: Resource) -> None:
    text = json.dumps(bundle, ensure_ascii=False)

    assert str(report.PatientID) in text
    for keyword in ("PatientName", "PatientBirthDate"):
        assert str(report[keyword].value)
        assert str(report[keyword].value).split("=")[0] not in text


def test_every_observation_has_what_the_base_profile_of_the_guide_demands(
    bundle: Resource,
) -> None:
    """subject, issued, device 1..1; one imaging study, named by its UID; an observation UID."""
    for each in observations(bundle):
        (study,) = each["partOf"]
        identifier = study["identifier"]
        assert identifier["type"]["coding"][0]["code"] == "110180"
        assert identifier["system"] == "urn:dicom:uid"
        assert identifier["value"].startswith("urn:oid:")
        (own,) = each["identifier"]
        assert own["type"]["coding"][0]["code"] == "observation-uid"
        assert own["system"] == "urn:dicom:uid"
        assert each["subject"]["type"] == "Patient"
        assert each["issued"]
        assert each["device"]["reference"]
        (order,) = each.get("basedOn", [{}])
        assert not order or order["identifier"]["type"]["coding"][0]["code"] == "ACSN"


def test_a_measurement_group_has_its_category_finding_and_members(bundle: Resource) -> None:
    groups = list(of_profile(bundle, "imaging-measurement-group"))

    for each in groups:
        (category,) = each["category"]
        assert category["coding"][0]["code"] == "125007"
        assert each["code"]["coding"][0]["code"] != "125007"
        assert each["valueCodeableConcept"]["coding"]
        assert each["bodyStructure"]["reference"]
        assert each["derivedFrom"]
        assert each["hasMember"]


def test_a_measurement_has_a_quantity_in_ucum(report: Dataset, bundle: Resource) -> None:
    found = list(of_profile(bundle, "imaging-measurement"))
    volumes = [each for each in found if each["code"]["coding"][0]["code"] == "118565006"]

    for each in found:
        assert each["valueQuantity"]["system"] == "http://unitsofmeasure.org"
        assert each["valueQuantity"]["code"]
    assert {each["valueQuantity"]["code"] for each in volumes} == {"cm3"}
    assert all(each["valueQuantity"]["value"] > 0 for each in volumes)


def test_an_evaluation_has_its_category_and_a_value(bundle: Resource) -> None:
    for each in of_profile(bundle, "imaging-qualitative-evaluation"):
        (category,) = each["category"]
        assert category["coding"][0]["code"] == "C0034375"
        assert each["valueCodeableConcept"]


def test_a_referenced_segment_names_one_of_a_segmentation(bundle: Resource) -> None:
    """Instance 1..* of Segmentation Storage, with a subset 1..1."""
    for each in of_profile(bundle, "referenced-segment"):
        assert each["code"]["coding"][0]["code"] == "121191"
        (instance,) = each["instance"]
        assert instance["sopClass"]["code"] == "1.2.840.10008.5.1.4.1.1.66.4"
        assert len(instance["subset"]) == 1
        assert each["seriesUid"]
        assert each["studyUid"]


def test_a_site_has_a_structure_a_side_and_both_tracking_identifiers(bundle: Resource) -> None:
    sites = list(of_profile(bundle, "dicom-sr-finding-site"))
    sides = {
        each["includedStructure"][0]["laterality"]["coding"][0]["display"]
        for each in sites
        if "laterality" in each["includedStructure"][0]
    }

    assert sides == {"Right", "Left"}
    for each in sites:
        codes = [one["type"]["coding"][0]["code"] for one in each["identifier"]]
        assert codes == ["112039", "112040"]
        assert each["patient"]


def test_the_algorithm_is_part_of_the_equipment(bundle: Resource) -> None:
    (equipment,) = of_profile(bundle, "dicom-general-equipment")
    url = {id(each["resource"]): each["fullUrl"] for each in bundle["entry"]}

    for each in of_profile(bundle, "algorithm-identification"):
        assert each["displayName"]
        assert each["version"][0]["value"]
        assert each["parent"]["reference"] == url[id(equipment)]


def test_the_report_names_every_group(bundle: Resource) -> None:
    report = bundle["entry"][-1]["resource"]
    groups = {
        each["fullUrl"]
        for each in bundle["entry"]
        if f"{GUIDE}/StructureDefinition/imaging-measurement-group"
        in each["resource"].get("meta", {}).get("profile", ())
    }

    assert report["resourceType"] == "DiagnosticReport"
    assert groups <= {each["reference"] for each in report["result"]}


def test_the_bundle_is_kept_beside_the_objects(report: Dataset, tmp_path: Path) -> None:
    series = small_series(tmp_path / "series")
    case = small_case(series.volume.geometry)
    objects = publish_case(series, case, CONTEXT, {ResultKind.SEG, ResultKind.SR})

    keep_bundle(objects, tmp_path / "kept")
    keep_bundle([each for each in objects if each.kind == "SEG"], tmp_path / "none")

    kept = json.loads((tmp_path / "kept" / BUNDLE_FILE).read_text(encoding="utf-8"))
    assert kept["resourceType"] == "Bundle"
    assert not (tmp_path / "none").exists()
