"""Claims about convolution kernels: which are soft, which are for bone."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vendors import VENDOR_SERIES, VendorSeries

from dicom_node.series.kernels import KernelKind, is_like, kernel_kind, shipped_patterns


@pytest.mark.parametrize("each", VENDOR_SERIES, ids=lambda one: one.description)
def test_a_kernel_is_of_the_kind_that_its_vendor_makes_it_for(each: VendorSeries) -> None:
    assert kernel_kind(each.kernel, each.manufacturer) == each.kind


def test_one_letter_means_something_with_the_vendor_that_writes_so() -> None:
    """Philips writes B for soft tissue; of another vendor nobody knows what it means."""
    assert kernel_kind("B", "Philips Healthcare") is KernelKind.SOFT
    assert kernel_kind("B", "SIEMENS") is KernelKind.UNLISTED
    assert kernel_kind("B", "") is KernelKind.SOFT


def test_a_site_s_own_patterns_come_before_the_table() -> None:
    assert kernel_kind("B70f", "SIEMENS", soft=["b70*"]) is KernelKind.SOFT
    assert kernel_kind("K-17/3", "Fictional", bone=["k-*"]) is KernelKind.BONE


def test_a_strength_behind_a_kernel_changes_nothing() -> None:
    assert kernel_kind("Br64d\\3", "SIEMENS") == kernel_kind("Br64d", "SIEMENS")


def test_the_softest_comes_first_and_what_is_unknown_before_bone() -> None:
    assert sorted(KernelKind, key=lambda each: each.sharpness) == [
        KernelKind.SOFT,
        KernelKind.MEDIUM,
        KernelKind.UNLISTED,
        KernelKind.BONE,
    ]


def test_no_pattern_of_a_vendor_stands_twice() -> None:
    found = [(each.manufacturers, each.pattern) for each in shipped_patterns()]

    assert len(found) == len(set(found)) > 150


@given(st.text(max_size=40))
def test_every_text_fits_a_star_and_itself(text: str) -> None:
    assert is_like(text, "*")
    assert is_like(text, "".join("?" if c in "*?" else c for c in text))


@given(st.text("ab[]", max_size=6), st.text("aB[]*?", max_size=6))
def test_a_bracket_is_a_bracket(text: str, pattern: str) -> None:
    """As with fnmatch, once brackets are written so that it takes them for what they are."""
    expected = fnmatch.fnmatchcase(text.lower(), pattern.lower().replace("[", "[[]"))

    assert is_like(text, pattern) is expected


def test_case_width_and_padding_make_no_difference() -> None:
    """Full-width letters, as Japanese systems write them."""
    assert is_like("\uff28\uff29\uff30\u3000\uff23\uff34 ", "hip ct")
    assert is_like("STRASSE", "straße")
    assert not is_like("hip ct knee", "hip ct")
