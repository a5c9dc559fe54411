"""When an operator's new version may be rolled out to a Shop: days and hours on the clock of one time zone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from shop.operator.resource.fields import ClockTime, TimeZone
from shop.operator.resource.spec_service import Part

Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
DAYS: tuple[Day, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class MaintenanceWindow(Part):
    """Hours in which rollouts of a new version of the operator begin; one that has begun ends outside of them too."""

    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=7)] = DAYS
    """Days on which it opens."""
    start: ClockTime = "00:00"
    """When it opens, such as 02:00."""
    end: ClockTime = "00:00"
    """When it closes; not after start, it is on the next day."""
    time_zone: TimeZone = "UTC"
    """Whose clock counts: an IANA name such as Europe/Berlin."""

    def opens_in(self, now: datetime) -> timedelta:
        """Until it is open, 0 while it is."""
        starts = []
        for opens, closes in self._around(now.astimezone(ZoneInfo(self.time_zone)).date()):
            if opens <= now < closes:
                return timedelta()
            if opens > now:
                starts.append(opens - now)
        return min(starts)

    def _around(self, today: date) -> Iterator[tuple[datetime, datetime]]:
        """The windows of the days from yesterday to this day of the next week."""
        for number in range(-1, 8):
            day = today + timedelta(days=number)
            if DAYS[day.weekday()] in self.days:
                last = day if self.end > self.start else day + timedelta(days=1)
                yield self._moment(day, self.start), self._moment(last, self.end)

    def _moment(self, day: date, clock: str) -> datetime:
        return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ZoneInfo(self.time_zone)).astimezone(UTC)

    def __str__(self) -> str:
        days = "every day" if set(self.days) == set(DAYS) else ", ".join(self.days)
        return f"{days} {self.start} to {self.end} {self.time_zone}"
