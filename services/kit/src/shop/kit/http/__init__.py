"""Requests to the shop's services: a pool of each service's instances, breakers, and the client on top of them."""

from shop.kit.http.client import Clients, Response, ServiceClient

__all__ = ["Clients", "Response", "ServiceClient"]
