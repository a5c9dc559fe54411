"""The application: the kit's, with page routers, session cookies and error pages."""

from __future__ import annotations

from fastapi import FastAPI

from shop.kit.app import create_app
from shop.kit.sessions import Cookies, SessionMiddleware
from shop.storefront import (
    account_pages,
    admin_pages,
    assets,
    cart_pages,
    catalogue_pages,
    checkout_pages,
    order_pages,
    promotion_pages,
    recommendation_pages,
    robots,
)
from shop.storefront.arcade import board_pages, gain_pages, game_pages, profile_pages, settings_pages
from shop.storefront.food import cart_pages as food_cart_pages
from shop.storefront.food import checkout_pages as food_checkout_pages
from shop.storefront.food import courier_pages, hours_pages, kitchen_pages, menu_pages, restaurant_pages, town_pages
from shop.storefront.food import order_pages as food_order_pages
from shop.storefront.food import pictures as food_pictures
from shop.storefront.service import Storefront
from shop.storefront.sessions import NON_PAGE_PREFIXES, Visitor
from shop.storefront.settings import Settings
from shop.storefront.web import ErrorPageMiddleware, install_error_pages, make_environment

PAGES = (
    catalogue_pages,
    cart_pages,
    checkout_pages,
    order_pages,
    food_order_pages,
    food_cart_pages,
    food_checkout_pages,
    restaurant_pages,
    food_pictures,
    kitchen_pages,
    menu_pages,
    hours_pages,
    courier_pages,
    town_pages,
    game_pages,
    board_pages,
    profile_pages,
    settings_pages,
    gain_pages,
    account_pages,
    promotion_pages,
    recommendation_pages,
    admin_pages,
    assets,
    robots,
)


def make_app(settings: Settings) -> FastAPI:
    cookies = Cookies(settings.session_secret or settings.internal_token, Visitor)
    app = create_app(
        settings,
        title="Storefront",
        routers=[module.router for module in PAGES],
        build=Storefront.build,
        middleware=[
            (ErrorPageMiddleware, {}),
            (SessionMiddleware, {"cookies": cookies, "other_paths": NON_PAGE_PREFIXES}),
        ],
        readiness=[("cart", Storefront.ready)],
        uses_bus=False,
    )
    app.state.templates = make_environment(settings.store)
    install_error_pages(app)
    return app
