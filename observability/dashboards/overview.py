"""What the shop sells, and whether its customers get what they ask for."""

from __future__ import annotations

from observability.dashboards.common import (
    EACH_SERVICE,
    Board,
    Panel,
    Query,
    Row,
    of,
    per_minute,
    quantile,
    rate,
    share,
)
from shop.kit.currencies import DEFAULT_EXPONENT, EXPONENTS

ORDERS = "shop_order_orders_total"
GATEWAY = 'app_kubernetes_io_name="gateway"'
PLACED = rate(ORDERS, 'state="pending"')
CONFIRMED = rate(ORDERS, 'state="confirmed"')
VIEWS = rate("shop_storefront_funnel_total", 'step="view"')

NOW = Row(
    "Now",
    [
        Panel(
            "Orders confirmed",
            "Orders that were paid and accepted, each minute.",
            "opm",
            [Query(per_minute(CONFIRMED), "confirmed")],
            kind="stat",
            width=4,
        ),
        Panel(
            "Refused orders",
            "Share of the orders that ended as rejected.",
            "percentunit",
            [Query(share(rate(ORDERS, 'state="rejected"'), PLACED), "rejected")],
            kind="stat",
            width=4,
            orange=0.1,
            red=0.3,
        ),
        Panel(
            "Failed requests",
            "Share of the customers' requests that were answered with 5xx.",
            "percentunit",
            [
                Query(
                    share(
                        rate("shop_http_requests_total", f'{GATEWAY}, status=~"5.."'),
                        rate("shop_http_requests_total", GATEWAY),
                    ),
                    "5xx",
                )
            ],
            kind="stat",
            width=4,
            alert="ShopBudgetBurnsFast",
            orange=0.001,
            red=0.0144,
        ),
        Panel(
            "Waiting orders",
            "Age of the oldest order that has not ended.",
            "s",
            [Query(f"max({of('shop_order_oldest_saga_age_seconds')})", "oldest")],
            kind="stat",
            width=4,
            alert="ShopOrdersWaiting",
            orange=60,
            red=600,
        ),
        Panel(
            "Services without a pod",
            "Services of which Prometheus reaches no pod.",
            "short",
            [Query(f"count(max by ({EACH_SERVICE}) ({of('up')}) == 0) or 0 * count({of('up')})", "down")],
            kind="stat",
            width=4,
            alert="ShopServiceDown",
            red=1,
        ),
        Panel(
            "Alerts",
            "Alerts of this shop that fire now.",
            "short",
            [Query(f"count({of('ALERTS', 'alertstate="firing"')}) or 0 * count({of('up')})", "firing")],
            kind="stat",
            width=4,
            orange=1,
        ),
    ],
)


def _revenue(decimals: int) -> Query:
    """Of the currencies with so many decimals in ISO 4217; an unknown one has the default, as everywhere else."""
    other = [code for code, exponent in EXPONENTS.items() if exponent != DEFAULT_EXPONENT]
    chosen = [code for code in other if EXPONENTS[code] == decimals]
    currencies = f'currency!~"{"|".join(other)}"' if decimals == DEFAULT_EXPONENT else f'currency=~"{"|".join(chosen)}"'
    minor = per_minute(rate("shop_order_revenue_total", currencies, by="kind, currency"))
    return Query(f"{minor} / {10**decimals}", "{{kind}} {{currency}}")


REVENUE = [_revenue(decimals) for decimals in sorted({*EXPONENTS.values()})]
SALES = Row(
    "Sales",
    [
        Panel(
            "Orders by state",
            "Orders that reached a state, each minute: retail and food.",
            "opm",
            [Query(per_minute(rate(ORDERS, by="kind, state")), "{{kind}} {{state}}")],
            stacked=True,
        ),
        Panel(
            "Revenue",
            "Totals of confirmed orders each minute, in the currency's own unit: euros, yen, dinars.",
            "short",
            REVENUE,
        ),
        Panel(
            "Reasons of refused orders",
            "Why orders were rejected, each minute.",
            "opm",
            [Query(per_minute(rate(ORDERS, 'state="rejected", reason!=""', by="reason")), "{{reason}}")],
            stacked=True,
        ),
        Panel(
            "Way to an order",
            "Products seen, put into carts, checkouts begun and orders placed in the storefront, each minute.",
            "short",
            [Query(per_minute(rate("shop_storefront_funnel_total", by="step")), "{{step}}")],
        ),
        Panel(
            "Conversion",
            "Orders placed for each product page that was seen.",
            "percentunit",
            [Query(share(rate("shop_storefront_funnel_total", 'step="order"'), VIEWS), "orders for each view")],
        ),
        Panel(
            "New customers and sign-ins",
            "Users that registered, and tries to sign in by their result, each minute.",
            "short",
            [
                Query(per_minute(rate("shop_user_registrations_total")), "registered"),
                Query(per_minute(rate("shop_user_sign_ins_total", by="result")), "sign-in {{result}}"),
            ],
        ),
    ],
)
GOODS = Row(
    "Money, stock and messages",
    [
        Panel(
            "Payments",
            "Outcomes of charges, each minute.",
            "short",
            [Query(per_minute(rate("shop_payment_charges_total", by="state")), "{{state}}")],
        ),
        Panel(
            "Refunds",
            "Outcomes of refunds, each minute.",
            "short",
            [Query(per_minute(rate("shop_payment_refunds_total", by="state")), "{{state}}")],
            alert="ShopRefundsRefused",
        ),
        Panel(
            "Sold out",
            "Products without stock.",
            "short",
            [Query(f"max({of('shop_product_sold_out')})", "sold out")],
        ),
        Panel(
            "Stock drift",
            "Products whose stock is not what their movements and reservations leave. It must be 0.",
            "short",
            [Query(f"max({of('shop_product_stock_drift')})", "drift")],
            alert="ShopStockDrift",
            red=1,
        ),
        Panel(
            "Messages to customers",
            "Attempts to send a message by channel and outcome, each minute.",
            "short",
            [
                Query(
                    per_minute(rate("shop_notification_messages_total", by="channel, outcome")),
                    "{{channel}} {{outcome}}",
                )
            ],
            alert="ShopMessagesNotSent",
        ),
        Panel(
            "Time to place an order",
            "99th percentile from the request to the end of the order's saga.",
            "s",
            [Query(quantile(0.99, "shop_order_saga_duration_seconds", 'kind="place"', "end"), "{{end}}")],
            orange=1,
            red=2.5,
            exemplars=True,
            traces='{resource.service.name="order"}',
        ),
    ],
)
BOARD = Board(
    "overview",
    "Overview",
    "What the shop sells, and whether its customers get what they ask for.",
    [NOW, SALES, GOODS],
)
