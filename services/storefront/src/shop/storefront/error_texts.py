"""What a page says when something cannot be done: no codes, no blame, and what to do next."""

from __future__ import annotations

SERVICE_WORDS = {
    "cart": "The carts cannot be reached for a moment. Nothing in yours is lost.",
    "product": "Products cannot be reached for a moment.",
    "pricing": "Prices cannot be computed for a moment.",
    "order": "Orders cannot be reached for a moment. Nothing was ordered twice.",
    "payment": "Payments cannot be reached for a moment.",
    "user": "Nobody can sign in for a moment.",
    "notification": "Messages cannot be reached for a moment.",
}

PAGES = {
    400: ("This address is not right", "Something is missing from it or does not belong there."),
    403: ("Not for you, sorry", ""),
    404: ("There is no such page", "The address is wrong, or what was here is no longer sold."),
    405: ("That does not work here", "The page was asked in a way that it does not understand."),
    409: ("That crossed with something else", ""),
    413: ("That was too much at once", "What was sent is larger than this shop takes."),
    422: ("Something does not fit", ""),
    429: ("One moment, please", "That was a great many pages in a short time. Wait a little and try again."),
    500: ("Something went wrong", "It was a fault on our side and has been recorded; please try again."),
    503: ("Back in a moment", "A part of the shop is away. It usually comes back within seconds."),
}

CODES = {
    "form_expired": (
        "This form is too old",
        "It was opened before something changed. Nothing was done; go back, reload the page and send it again.",
    ),
    "cart_full": ("The cart is full", ""),
    "illegal_transition": ("The order has moved on", ""),
}

REFUSALS = {
    "amount_below_minimum": "This total is below the smallest amount that can be paid by card. Nothing was charged and "
    "nothing was ordered.",
    "amount_not_payable": "This total cannot be paid by card in this currency. Nothing was charged and nothing was "
    "ordered.",
    "payment_refused": "The payment could not be made; your card was not declined. Nothing was charged and nothing was "
    "ordered.",
    "payment_declined": "The card was declined. Nothing was charged and nothing was ordered; your cart is as it was.",
    "insufficient_funds": "There is not enough money on this card. Nothing was charged and nothing was ordered; "
    "your cart is as it was.",
    "unknown_product": "Something in the cart is no longer sold. Nothing was ordered.",
    "country_not_served": "This shop does not ship to that country. Nothing was ordered and nothing was charged.",
    "unknown_coupon": "There is no such coupon.",
    "coupon_expired": "This coupon has run out.",
    "coupon_exhausted": "This coupon has been used up.",
    "coupon_minimum_not_met": "The cart is too small for this coupon.",
}


def words_for(status: int, code: str, detail: str) -> tuple[str, str]:
    """Heading and sentence of the page for a failure."""
    heading, text = CODES.get(code) or PAGES.get(status) or (f"Error {status}", "")
    if status == 503:
        return heading, SERVICE_WORDS.get(code.removesuffix("_unavailable"), text)
    return heading, text or detail


def refusal_text(code: str, detail: str) -> str:
    """Why an order was refused, for the checkout page; the service's own sentence where there is no better one."""
    return REFUSALS.get(code, detail)
