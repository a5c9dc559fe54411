"""Texts for failures on pages: what happened and what the customer can do; never a problem code."""

from __future__ import annotations

SERVICE_UNAVAILABLE = {
    "cart": "Your cart is temporarily unavailable. Its contents are safe.",
    "product": "Products are temporarily unavailable.",
    "pricing": "Prices are temporarily unavailable.",
    "order": "Orders are temporarily unavailable.",
    "payment": "Payments are temporarily unavailable.",
    "user": "Sign-in is temporarily unavailable.",
    "notification": "Messages are temporarily unavailable.",
    "recommendation": "Recommendations are temporarily unavailable.",
    "restaurant": "Restaurants are temporarily unavailable.",
    "delivery": "Delivery information is temporarily unavailable.",
    "player": "Players are temporarily unavailable.",
    "leaderboard": "Leaderboards are temporarily unavailable.",
    "achievement": "Achievements are temporarily unavailable.",
}

STATUS_TEXTS = {
    400: ("Invalid request", "The address of this page is incomplete or not valid."),
    403: ("Access denied", ""),
    404: ("Page not found", "The link may be wrong, or the product is no longer available."),
    405: ("Action not supported", "This page does not support that action."),
    409: ("This could not be completed", ""),
    413: ("Request too large", "What you sent is larger than this shop accepts."),
    422: ("Please check your entries", ""),
    429: ("Too many requests", "Please wait a moment and try again."),
    500: ("Something went wrong", "The error is on our side and has been recorded. Please try again."),
    503: ("Temporarily unavailable", "Part of the shop is unavailable. Please try again in a few seconds."),
}
"""Heading and sentence by HTTP status; an empty sentence leaves the service's own detail."""

CODE_TEXTS = {
    "form_expired": (
        "This form has expired",
        "Nothing was changed. Please go back, reload the page and try again.",
    ),
    "cart_full": ("Your cart is full", ""),
    "illegal_transition": ("The order status has changed", ""),
}

NOT_ORDERED = "Your order was not placed and you were not charged."
REFUSALS = {
    "amount_below_minimum": f"The total is below the minimum for card payments. {NOT_ORDERED}",
    "amount_not_payable": f"The total cannot be paid by card in this currency. {NOT_ORDERED}",
    "payment_refused": f"The payment could not be processed. Your card was not declined. {NOT_ORDERED}",
    "payment_declined": "Your card was declined. You were not charged, and your cart is unchanged.",
    "insufficient_funds": "Your card has insufficient funds. You were not charged, and your cart is unchanged.",
    "unknown_product": "An item in your cart is no longer available. Your order was not placed.",
    "country_not_served": f"This shop does not ship to that country. {NOT_ORDERED}",
    "unknown_coupon": "There is no such coupon.",
    "coupon_expired": "This coupon has expired.",
    "coupon_exhausted": "This coupon has already been used up.",
    "coupon_minimum_not_met": "Your order is below the minimum for this coupon.",
}


def error_text(status: int, code: str, detail: str) -> tuple[str, str]:
    """Heading and sentence of the page for a failure."""
    heading, text = CODE_TEXTS.get(code) or STATUS_TEXTS.get(status) or (f"Error {status}", "")
    if status == 503:
        return heading, SERVICE_UNAVAILABLE.get(code.removesuffix("_unavailable"), text)
    return heading, text or detail


def refusal_text(code: str, detail: str) -> str:
    """Why an order was refused, for the checkout page; the service's own sentence where there is no better one."""
    return REFUSALS.get(code, detail)
