"""Keyholes: a polygon with holes, or of several pieces, as the one ring that a polygon tool can hold.

Label Studio's polygon is a single ring. A ring may reach another one through a corridor without width, there
and back along the same line: filled by the even-odd rule the corridor vanishes, and hole and piece stay.
"""

from collections.abc import Sequence

import numpy as np

from maskloop.masks import Ring


def join_rings(rings: Sequence[Ring]) -> Ring:
    """Rings (N, 2) joined to one, each to the nearest corner of what is joined already.

    Raises:
        ValueError: there is no ring.
    """
    if not rings:
        raise ValueError("a polygon has at least one ring")
    joined, *rest = sorted(rings, key=_extent, reverse=True)
    for ring in rest:
        joined = _splice(joined, ring)
    return joined


def _splice(joined: Ring, ring: Ring) -> Ring:
    """One ring with a detour around another, from the corner where the two are closest."""
    gaps = ((joined[:, None] - ring[None]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(gaps.argmin()), gaps.shape)
    detour = np.concatenate([ring[there:], ring[: there + 1]])
    return np.concatenate([joined[: here + 1], detour, joined[here:]])


def _extent(ring: Ring) -> float:
    return float(np.ptp(ring, axis=0).max())
