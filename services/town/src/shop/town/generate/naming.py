"""Names for the streets: trades in the old town, trees and birds outside; one name for each connected piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from shop.town.generate.lines import OLD_TOWN_RADIUS_M, Way
from shop.town.generate.network import Edge, Network

OLD_TOWN = """
Mill Baker Cooper Tanner Saddler Fuller Chandler Cloister Abbot Priory St.~Anne's Corn Butter Fish Silver Wheel
Bell Lantern Tower Castle Cross Guild Weaver Glover Dyer Thatcher Potter Smith Mercer Salt Fletcher Cobbler
Mason Minster Lock Well Pump Candle Draper Hatter Brewer Sexton Provost Granary Anchor Ferry Tiller Gate
Cordwainer Pewter
""".split()
OUTSIDE = """
Alder Ash Aspen Beech Birch Bramble Cedar Cherry Chestnut Clover Damson Elder Elm Fern Foxglove Hawthorn Hazel
Heather Holly Hornbeam Ivy Juniper Larch Laurel Lilac Linden Maple Medlar Mulberry Oak Pear~Tree Pine Plum
Poplar Quince Rowan Sorrel Sycamore Thistle Walnut Willow Yew Blackbird Bunting Curlew Dove Finch Goldcrest
Heron Jay Kestrel Kingfisher Lapwing Linnet Magpie Martin Nightingale Plover Robin Sandpiper Skylark Sparrow
Starling Swallow Swift Thrush Wagtail Warbler Wren Barn Brook Common Dell Field Glebe Grange Hill Kiln Lodge
Manor Meadow Orchard Paddock Quarry Spring Station Summer Windmill Winter Harvest Shepherd Bluebell Primrose
Campion Cowslip Teasel Marigold Speedwell Juno Mercury Observatory School College Library Albert Edith Florence
George Harriet Isabel Josephine Louisa Matilda Rosalind Victor Walter
""".split()
OLD_KINDS = ("Lane", "Row", "Street", "Gate", "Passage")
OUTER_KINDS = ("Street", "Road", "Avenue", "Grove", "Drive", "Terrace", "Way")
DEAD_END_KINDS = ("Close", "Court", "Gardens")
BENT_KIND = "Crescent"
Street = tuple[str, list[Edge]]


def streets(network: Network, ways: list[Way], random: Random) -> list[Street]:
    """The streets, each with its edges in the order of the house numbers, which begin at the end nearer the square."""
    pieces = sorted(_pieces(network), key=lambda edges: -sum(edge.length_m for edge in edges))
    old, outside = list(OLD_TOWN), list(OUTSIDE)
    random.shuffle(outside)
    outside += outside  # Elm Road and Elm Close are neighbours in many towns
    taken: set[str] = set()
    found: list[Street] = []
    for edges in pieces:
        name = ways[edges[0].way].name
        if not name or name in taken:
            name = _name(edges, network, old, outside, random)
            while name in taken:
                name = _name(edges, network, old, outside, random)
        taken.add(name)
        found.append((name, edges))
    return sorted(found, key=lambda street: street[0])


def _name(edges: list[Edge], network: Network, old: list[str], outside: list[str], random: Random) -> str:
    middle = edges[len(edges) // 2].line
    near = math.hypot(*middle[len(middle) // 2]) < OLD_TOWN_RADIUS_M * 1.15
    stem = (old.pop(0) if near and old else outside.pop(0)).replace("~", " ")
    if stem == "Mill":
        return "Mill Lane"
    return f"{stem} {_kind(edges, network, near, random)}"


def _kind(edges: list[Edge], network: Network, near: bool, random: Random) -> str:
    degree = network.degree()
    length = sum(edge.length_m for edge in edges)
    first, last = edges[0].line, edges[-1].line
    apart = max(math.dist(a, b) for a in (first[0], first[-1]) for b in (last[0], last[-1]))
    if length < 260 and any(degree[end] == 1 for edge in edges for end in (edge.start, edge.end)):
        return random.choice(DEAD_END_KINDS)
    if length > 1.22 * apart and len(edges) > 1:
        return BENT_KIND
    return random.choice(OLD_KINDS if near else OUTER_KINDS)


def _pieces(network: Network) -> Iterator[list[Edge]]:
    """The edges of each way in order, once for each connected piece."""
    by_way: dict[int, list[Edge]] = {}
    for edge in network.edges:
        by_way.setdefault(edge.way, []).append(edge)
    for _, edges in sorted(by_way.items()):
        rest = edges
        while rest:
            piece = _walked(rest, network)
            rest = [edge for edge in rest if all(edge is not walked for walked in piece)]
            yield piece


def _walked(edges: list[Edge], network: Network) -> list[Edge]:
    """A piece from its end nearest to the square, each edge turned into the direction of the walk."""
    at: dict[int, list[Edge]] = {}
    for edge in edges:
        at.setdefault(edge.start, []).append(edge)
        at.setdefault(edge.end, []).append(edge)
    ends = [junction for junction, found in at.items() if len(found) == 1] or list(at)
    junction = min(ends, key=lambda end: (math.hypot(*network.junctions[end]), end))
    walked: list[Edge] = []
    while following := [edge for edge in at[junction] if all(edge is not before for before in walked)]:
        edge = following[0]
        if edge.start != junction:
            edge.start, edge.end, edge.line = edge.end, edge.start, edge.line[::-1]
        walked.append(edge)
        junction = edge.end
    return walked
