"""The bodies of the two reads of a board, written without the models of `schemas`, which describe them.

A page of players is most of what a read costs, and each model of it would be validated and walked through again.
"""

from __future__ import annotations

from typing import Any

import orjson

from shop.leaderboard.service import Listed, Rank, Standings


def standings_body(found: Standings, next_cursor: str | None = None) -> bytes:
    """As StandingsView describes it."""
    return _json(
        {
            "board": found.board.board,
            "title": found.board.title,
            "season": found.season.name,
            "ends_at": found.season.ends_at,
            "items": [_entry(one) for one in found.items],
            "total": found.total,
            "next_cursor": next_cursor,
        }
    )


def rank_body(found: Rank) -> bytes:
    """As RankView describes it."""
    rank, _, place = found.ranked
    neighbours = [_entry(one) for one in found.neighbours]
    return _json({"rank": rank, "score": place.score, "at": place.at, "neighbours": neighbours})


def _entry(listed: Listed) -> dict[str, Any]:
    rank, player_id, place = listed.ranked
    text = str(player_id)
    player = {"id": text, "name": listed.name, "avatar_url": f"/api/v1/players/{text}/avatar.svg"}
    return {"rank": rank, "player": player, "score": place.score, "at": place.at}


def _json(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)
