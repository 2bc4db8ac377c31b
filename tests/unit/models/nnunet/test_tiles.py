"""Tiles are laid, weighed and added as nnU-Net does it."""

from __future__ import annotations

import pytest
import torch

from inference.models.nnunet.tiles import Tiles, tile_starts, tile_weights

CPU = torch.device("cpu")


def twofold(batch: torch.Tensor) -> torch.Tensor:
    """Two classes: the image, and its negative."""
    return torch.cat((batch, -batch), dim=1)


def test_tiles_are_spread_evenly_from_end_to_end() -> None:
    """110 voxels, tiles of 64, at most 32 apart: 46 are left, so three, 23 apart."""
    assert tile_starts(110, 64, 0.5) == [0, 23, 46]
    assert tile_starts(64, 64, 0.5) == [0]
    assert tile_starts(30, 64, 0.5) == [0]


def test_a_tile_counts_most_in_its_middle_and_nowhere_nothing() -> None:
    weights = tile_weights((16, 24))

    assert weights.dtype == torch.float16
    assert weights[8, 12] == weights.max() == 10
    assert weights.min() > 0


@pytest.mark.parametrize("patch", [(6, 8, 10), (8, 10)])
def test_a_network_that_looks_at_one_voxel_gives_the_same_with_any_tiles(
    patch: tuple[int, ...],
) -> None:
    """Also where the image is smaller than a tile along an axis, and is padded."""
    image = torch.randn((5, 13, 21), generator=torch.Generator().manual_seed(0))
    tiles = Tiles(patch=patch, mirrored_axes=tuple(range(len(patch))))

    found = tiles.logits(image, twofold, 2, kept_on=CPU, numbers=torch.float32)

    assert found.shape == (2, 5, 13, 21)
    assert torch.allclose(found[0], image, atol=1e-5)
    assert torch.allclose(found[1], -image, atol=1e-5)


def test_mirrored_copies_are_all_combinations_of_the_axes() -> None:
    """Two axes: as it is, either one, both; each is turned back before the mean."""
    seen: list[torch.Tensor] = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch[0, 0])
        return twofold(batch)

    image = torch.arange(16.0).reshape(1, 4, 4)
    Tiles(patch=(4, 4), mirrored_axes=(0, 1)).logits(image, network, 2, kept_on=CPU)

    plane = image[0]
    expected = [plane, plane.flip(0), plane.flip(1), plane.flip((0, 1))]
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))


def test_progress_ends_with_all_tiles() -> None:
    told: list[tuple[int, int]] = []
    tiles = Tiles(patch=(4, 4, 4))

    tiles.logits(
        torch.zeros((8, 4, 4)), twofold, 2, kept_on=CPU, progress=lambda *n: told.append(n)
    )

    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("patch", "axes"), [((4,), ()), ((4, 4), (2,)), ((4, 4, 4), (1, 1))])
def test_tiles_that_make_no_sense_are_refused(
    patch: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"patch|mirrored"):
        Tiles(patch=patch, mirrored_axes=axes)
