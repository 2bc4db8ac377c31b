"""Claims about the tables of rules: what is refused, and by which key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from dicom_node.errors import ConfigurationError
from dicom_node.settings.description import describe
from dicom_node.settings.loading import load_config, parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.rules import Condition, Range, RuleSet

EXAMPLE = Path(__file__).parents[3] / "docs" / "node.toml"


def parse(**table: Any) -> NodeConfig:
    return parse_config(table, source="node.toml", folder=Path("/etc/msk"))


def problem(**rules: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(rules=[{"name": "r", **rules}])
    (line,) = str(caught.value).splitlines()
    return line.removeprefix("node.toml: ")


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"name": "a b"}, "rules[0].name: String should match"),
        ({"sex": "F"}, "rules[0].sex: unknown key"),
        ({"images": {}}, "rules[0].images: give at_least, at_most or both"),
        ({"images": {"min": 3}}, "rules[0].images.min: unknown key"),
        ({"slices": {"at_least": -1}}, "rules[0].slices.at_least: Input should be greater"),
        (
            {"age_y": {"at_least": 90, "at_most": 18}},
            "rules[0].age_y: at_least is 90, more than at_most 18",
        ),
        (
            {"length_mm": {"at_most": float("nan")}},
            "rules[0].length_mm.at_most: Input should be a finite number",
        ),
        ({"axial": "perhaps"}, "rules[0].axial: Input should be a valid boolean"),
        ({"kernels": ["sharp"]}, "rules[0].kernels[0]: Input should be 'soft', 'medium'"),
        ({"kernels": ["soft", "soft"]}, "rules[0].kernels: 'soft' stands there twice"),
        ({"best": ["thin"]}, "rules[0].best[0]: Input should be 'soft_kernel'"),
        ({"best": ["long", "long"]}, "rules[0].best: 'long' stands there twice"),
        ({"best_of": "patient"}, "rules[0].best_of: Input should be 'frame_of_reference'"),
        ({"soft_kernels": [""]}, "rules[0].soft_kernels[0]: String should have at least 1"),
        (
            {"take": [{"attribute": "SeriesDescripton", "like": ["*"]}]},
            "rules[0].take[0].attribute: 'SeriesDescripton' is no keyword",
        ),
        (
            {"take": [{"attribute": "PixelData", "present": True}]},
            "rules[0].take[0].attribute: PixelData (OB or OW) has no value that could be",
        ),
        (
            {"leave_out": [{"attribute": "RequestAttributesSequence", "present": True}]},
            "rules[0].leave_out[0].attribute: RequestAttributesSequence (SQ) has no value",
        ),
        ({"take": [{"attribute": "KVP"}]}, "rules[0].take[0]: give like, equals, at_least"),
        ({"take": [{"present": True}]}, "rules[0].take[0].attribute: must be given"),
        (
            {"take": [{"attribute": "KVP", "at_least": 9, "at_most": 1}]},
            "rules[0].take[0]: at_least is 9, more than at_most 1",
        ),
        (
            {"take": [{"attribute": "KVP", "present": False, "at_most": 1}]},
            "rules[0].take[0]: an attribute without a value cannot have one",
        ),
    ],
)
def test_a_rule_that_makes_no_sense_is_named_by_its_key(
    rules: dict[str, Any], words: str
) -> None:
    assert problem(**rules).startswith(words)


def test_rules_of_one_name_and_names_of_none_are_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(
            rules=[{"name": "a"}, {"name": "a"}],
            analysis={"rules": "b"},
            pipelines=[{"called_ae_title": "X", "rules": "c"}],
        )

    assert [line.removeprefix("node.toml: ") for line in str(caught.value).splitlines()] == [
        "rules: 2 of them are called 'a'",
        "analysis.rules: there are no rules 'b'",
        "pipelines[0].rules: there are no rules 'c'",
    ]


def test_a_title_has_the_rules_of_the_analysis_its_own_or_none() -> None:
    config = parse(
        rules=[{"name": "a"}, {"name": "b"}],
        analysis={"rules": "a"},
        pipelines=[
            {"called_ae_title": "OTHER", "rules": "b"},
            {"called_ae_title": "EVERY", "rules": ""},
            {"called_ae_title": "STRICT", "partial": "refuse"},
        ],
    )
    titles = ("MSKNODE", "OTHER", "EVERY", "STRICT")

    assert [config.for_called(title).analysis.rules for title in titles] == ["a", "b", "", "a"]
    assert config.rule_set("b") == RuleSet(name="b")
    assert config.rule_set("c") is None


def test_the_check_says_what_rules_do() -> None:
    config = parse(
        rules=[{"name": "a", "best": ["soft_kernel", "long"]}],
        analysis={"rules": "a"},
        pipelines=[{"called_ae_title": "EVERY", "rules": ""}],
        completion={"study_quiet_s": 60},
    )
    lines = [line for line in describe(config) if "rules" in line]

    assert lines == [
        "called EVERY: rules none",
        (
            "rules a take the best series of a frame of reference (soft_kernel, long)"
            " when nothing has come of its study for 60 s"
        ),
        "analyses what the rules a take, and leaves out the rest",
    ]


def test_a_digest_tells_rules_apart_by_what_they_say_not_by_their_name() -> None:
    """A setting that is written out with its default changes nothing."""
    rules = RuleSet(name="a", axial=True)

    assert rules.digest == RuleSet(name="b", axial=True, best_of="frame_of_reference").digest
    assert rules.digest != RuleSet(name="a", axial=False).digest


@pytest.mark.parametrize("model", [RuleSet, Condition, Range], ids=lambda one: one.__name__)
def test_every_key_of_a_rule_says_what_it_means(model: type[BaseModel]) -> None:
    assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize("section", ["rules.take", "rules.leave_out"])
def test_every_key_of_a_condition_is_documented(section: str) -> None:
    parts = re.split(r"^\[+([\w.]+)\]+$", EXAMPLE.read_text(), flags=re.MULTILINE)
    body = parts[parts.index(section) + 1]

    assert set(re.findall(r"^(?:# )?(\w+) = ", body, flags=re.MULTILINE)) == set(
        Condition.model_fields
    )


def test_the_documented_rules_are_nobody_s_until_they_are_asked_for() -> None:
    config = load_config(EXAMPLE)

    assert [each.name for each in config.rules] == ["hip-to-knee"]
    assert config.analysis.rules is None
