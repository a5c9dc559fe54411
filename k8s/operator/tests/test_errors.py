"""What a message says of an error that may say nothing itself."""

import pytest

from shop.operator.errors import reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "timed out"),
        (ConnectionResetError(), "ConnectionResetError"),
        (OSError("no route"), "no route"),
    ],
)
def test_the_reason_is_never_empty(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
