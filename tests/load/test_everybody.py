"""The parts of the traffic of every kind that need no shop."""

from __future__ import annotations

import pytest

from tests.load import everybody
from tests.load.everybody import Everybody
from tests.load.open_loop import Arrival


def test_each_kind_of_request_is_known() -> None:
    for kind in everybody.RATES_PER_S.keys() - {"order", "browse"}:
        assert callable(getattr(Everybody, f"_{kind}"))


@pytest.mark.parametrize(("at", "share"), [(0.0, 0.625), (0.25, 1.0), (0.75, 0.25), (1.25, 1.0)])
def test_traffic_comes_in_waves_between_a_quarter_and_all_of_its_peak(at: float, share: float) -> None:
    assert everybody.wave(Arrival(at * everybody.WAVE_S, "browse")) == pytest.approx(share)


def test_hidden_fields_of_a_page_are_found() -> None:
    hidden = '<input type="hidden" name="csrf_token" value="ab12">', '<input type="hidden" name="a-b" value="">'
    assert everybody.fields('<input name="email">'.join(hidden)) == {"csrf_token": "ab12", "a-b": ""}
