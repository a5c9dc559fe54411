"""Bodies that are written without models are what the models, and so the documentation, say."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from shop.leaderboard.boards import load_boards
from shop.leaderboard.bodies import rank_body, standings_body
from shop.leaderboard.domain import LAST_MOMENT, MAX_SCORE, Place, Ranked, Season, microseconds
from shop.leaderboard.schemas import RankView, StandingsView
from shop.leaderboard.service import Listed, Rank, Standings

BOARDS = load_boards("", "")
PLACES = st.builds(
    Place, st.integers(-MAX_SCORE, MAX_SCORE), st.integers(0, microseconds(LAST_MOMENT)), st.integers(1, MAX_SCORE)
)
RANKED = st.builds(Ranked, st.integers(1, MAX_SCORE), st.uuids(), PLACES)
NAMES = st.text(min_size=1, max_size=20)
LISTED = st.builds(Listed, RANKED, NAMES)
SEASONS = st.builds(
    Season,
    NAMES,
    st.none(),
    st.none() | st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - Hypothesis adds the zone
)
STANDINGS = st.builds(
    Standings, st.sampled_from(BOARDS), SEASONS, st.lists(LISTED, max_size=3), st.integers(0, MAX_SCORE)
)


@settings(max_examples=60, deadline=None)
@given(STANDINGS, st.none() | NAMES)
def test_standings_are_what_their_model_says(found: Standings, next_cursor: str | None) -> None:
    body = standings_body(found, next_cursor)
    view = StandingsView.model_validate_json(body)
    assert view.model_dump_json().encode() == body
    assert [(one.rank, one.player.id, one.player.name, one.score, one.at) for one in view.items] == [
        (ranked.rank, ranked.player_id, name, ranked.place.score, ranked.place.at) for ranked, name in found.items
    ]
    assert (view.board, view.title) == (found.board.board, found.board.title)
    assert (view.season, view.ends_at) == (found.season.name, found.season.ends_at)
    assert (view.total, view.next_cursor) == (found.total, next_cursor)


@settings(max_examples=60, deadline=None)
@given(st.builds(Rank, RANKED, st.lists(LISTED, max_size=3)))
def test_a_rank_is_what_its_model_says(found: Rank) -> None:
    body = rank_body(found)
    view = RankView.model_validate_json(body)
    assert view.model_dump_json().encode() == body
    rank, _, place = found.ranked
    assert (view.rank, view.score, view.at) == (rank, place.score, place.at)
    assert [one.player.name for one in view.neighbours] == [one.name for one in found.neighbours]


def test_an_avatar_is_that_of_its_player() -> None:
    player = UUID(int=7)
    listed = Listed(Ranked(1, player, Place(-5, 0, 1)), "Ada")
    view = RankView.model_validate_json(rank_body(Rank(listed.ranked, [listed])))
    assert [one.player.avatar_url for one in view.neighbours] == [f"/api/v1/players/{player}/avatar.svg"]
