"""What the members of a guest differ by: the `[members]` table of its `bundle.toml`.

```
[members]
kind = "variations"
networks = 1

[[members.variations]]
mirrored = true
```

Folds, seeds and checkpoints: one member for each set of weights, on the image as it is. The
mean of the members is then what the original program answers with the same weights.

Variations: one member for each variation of the image, the first of them the image as it is.
Where a bundle has several sets of weights, each variation is answered by the mean of all of
them, at the cost of each set for each variation: one variation with one fold and another
with another would differ by both, and the kind of uncertainty would have no name.

None: one answer, by the mean of all sets of weights, and no uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from inference.models.guests.labels import GuestLabels, side_of
from inference.models.guests.variation import AS_IT_IS, Variation
from inference.models.toml_text import as_table
from inference.results import SampleKind
from inference.structures import Segment

MemberKind = Literal["folds", "seeds", "checkpoints", "variations", "none"]
"""The names of `SampleKind` that a guest's members can be of, as they are typed."""

MOST_MEMBERS: Final = 64
"""All members' answers for a volume are held at once."""

VARIATIONS: Final = (
    AS_IT_IS,
    Variation(mirrored=True),
    Variation(noise_hu=20.0),
    Variation(offset_hu=20.0, noise_hu=10.0),
    Variation(shift_voxels=(3, 13, 7), noise_hu=10.0),
    Variation(mirrored=True, shift_voxels=(5, 7, 13), noise_hu=20.0),
)
"""What an importer declares: an offset of 20 HU is what scanners, tubes and kernels differ by
in muscle; the shifts move the borders of tiles and chunks, and are no multiples of each other
or of what networks divide by. A z-score, as MuscleMap's, undoes any offset or scale to the
voxel: hence the noise."""


@dataclass(frozen=True, slots=True)
class Member:
    """One opinion: the sets of weights whose mean it is, and the image that they see."""

    networks: tuple[int, ...]
    variation: Variation


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The `[members]` table.

    kind: what they differ by.
    networks: sets of weights in the bundle.
    variations: of the image, for the kind of that name alone; the first is the image as it is.
    """

    kind: MemberKind
    networks: int = 1
    variations: tuple[Variation, ...] = ()

    def __post_init__(self) -> None:
        """Refuse members that do not differ, or differ by more than their kind says."""
        if not 1 <= self.networks <= MOST_MEMBERS:
            raise ValueError(f"{self.networks} networks, not 1 to {MOST_MEMBERS}")
        if self.kind != "variations":
            if self.variations:
                raise ValueError(f"variations of the image with members of kind {self.kind!r}")
            if self.kind != "none" and self.networks < 2:
                raise ValueError(f"{self.kind} need two sets of weights or more, here is one")
            return
        if not 2 <= len(self.variations) <= MOST_MEMBERS:
            raise ValueError(f"{len(self.variations)} variations, not 2 to {MOST_MEMBERS}")
        if self.variations[0] != AS_IT_IS:
            raise ValueError("the first variation changes the image")
        if len(set(self.variations)) != len(self.variations):
            raise ValueError("a variation stands twice")

    @property
    def samples_of(self) -> SampleKind:
        """What they differ by, in words."""
        return SampleKind[self.kind.upper()]

    @property
    def each(self) -> tuple[Member, ...]:
        """All of them, in their order; one where there is no measure of doubt."""
        networks = tuple(range(self.networks))
        if self.kind == "none":
            return (Member(networks, AS_IT_IS),)
        if self.kind == "variations":
            return tuple(Member(networks, one) for one in self.variations)
        return tuple(Member((network,), AS_IT_IS) for network in networks)

    def misfit(self, labels: GuestLabels) -> str:
        """Why these members cannot be of a network with these labels; empty where they can."""
        if not any(one.mirrored for one in self.variations):
            return ""
        alone = unpaired(labels)
        if alone:
            return f"a mirrored image needs the other side of {', '.join(alone)}"
        return ""


def unpaired(labels: GuestLabels) -> tuple[str, ...]:
    """Names that have a side and no partner on the other, or one that means another thing."""
    partner = {name: labels.names[labels.exchanged[n]] for n, name in enumerate(labels.names)}
    meanings = {name: labels.table.meanings.get(n) for n, name in enumerate(labels.names)}
    found = []
    for name in labels.names[1:]:
        here, there = meanings[name], meanings[partner[name]]
        if isinstance(here, Segment):
            sided = here.side is not None
            fits = isinstance(there, Segment) and there.structure == here.structure
            fits = fits and (there != here if sided else True)
        else:
            fits = there == here and (side_of(name) is None or partner[name] != name)
        if not fits:
            found.append(name)
    return tuple(found)


def members_table(kind: MemberKind, networks: int, labels: GuestLabels) -> Mapping[str, Any]:
    """The `[members]` table that an importer writes.

    Args:
        kind: what the importer was asked for.
        networks: sets of weights that it found.
        labels: of the network; where a side's partner is not known no variation is mirrored.

    Raises:
        ValueError: there are no members of this kind, and why.
    """
    variations: tuple[Variation, ...] = ()
    if kind == "variations":
        mirrors = not unpaired(labels)
        variations = tuple(one for one in VARIATIONS if mirrors or not one.mirrored)
    table: Mapping[str, Any] = as_table(
        Members(kind=kind, networks=networks, variations=variations)
    )
    return table
