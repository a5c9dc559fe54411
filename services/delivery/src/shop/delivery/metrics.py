"""What delivery measures."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shop.delivery.domain import State
from shop.kit.exposition import start_at_zero

RESERVATIONS = Counter("shop_delivery_reservations_total", "Reservations by their result", ["result"])
CHANGES = Counter("shop_delivery_changes_total", "Deliveries by the state that they reached", ["state", "reason"])
WAITING = Gauge("shop_delivery_waiting", "Deliveries in line for a courier, as of the last check")
COURIERS = Gauge("shop_delivery_couriers", "Couriers on shift, by their last fix: fresh, stale or none", ["fix"])
# Two, because a histogram with negative buckets has no sum, and is not valid in OpenMetrics.
ETA_ERROR_BUCKETS_S = (0, 60, 120, 300, 600, 900, 1800)
ETA_ERROR = Histogram(
    "shop_delivery_eta_error_seconds",
    "Time of delivery minus the first estimate, 0 for those that came earlier",
    buckets=ETA_ERROR_BUCKETS_S,
)
EARLY = Histogram(
    "shop_delivery_early_seconds",
    "First estimate minus time of delivery, of those that came earlier",
    buckets=ETA_ERROR_BUCKETS_S,
)
DISPATCH = Histogram(
    "shop_delivery_dispatch_seconds",
    "Duration of a transaction that decides about deliveries, waiting for its turn included",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
POSITIONS = Counter("shop_delivery_positions_total", "Positions of couriers by what became of them", ["result"])
STREAMS = Gauge("shop_delivery_streams", "Clients that watch a delivery or their jobs", ["kind"])

start_at_zero(RESERVATIONS, ["reserved", "released", "no_courier", "address_not_found", "address_out_of_reach"])
start_at_zero(CHANGES, set(State) - {State.FAILED}, [""])
start_at_zero(CHANGES, [State.WAITING], ["rejected", "dropped", "off_shift", "no_fix", "courier_deleted"])
start_at_zero(CHANGES, [State.FAILED], ["no_courier"])
start_at_zero(COURIERS, ["fresh", "stale", "none"])
start_at_zero(POSITIONS, ["stored", "dropped"])
start_at_zero(STREAMS, ["delivery", "jobs"])


def arrived(late_s: float) -> None:
    """Measure a delivery that came this much later than first estimated, or earlier where it is negative."""
    ETA_ERROR.observe(max(0.0, late_s))
    if late_s < 0:
        EARLY.observe(-late_s)
