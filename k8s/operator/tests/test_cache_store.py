"""Which Shop an object belongs to, also when its label was changed."""

from __future__ import annotations

import pytest

from shop.operator.engine.cache.store import child_from_object
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.objects import SHOP_LABEL, Object

OWNER = {"apiVersion": SHOP.api_version, "kind": SHOP.kind, "name": "bookshop", "uid": "1", "controller": True}
FOREIGN = {"apiVersion": "v1", "kind": "ConfigMap", "name": "arcade", "uid": "2"}


def labelled(label: str, *owners: Object) -> Object:
    metadata = {
        "name": "bookshop-order",
        "namespace": "shops",
        "uid": "3",
        "labels": {SHOP_LABEL: label},
        "ownerReferences": list(owners),
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}


@pytest.mark.parametrize(
    ("obj", "shop"),
    [
        (labelled("bookshop", OWNER), "bookshop"),
        (labelled("arcade", OWNER), "bookshop"),
        (labelled("arcade", FOREIGN, OWNER), "bookshop"),
        (labelled("bookshop"), "bookshop"),
        (labelled("bookshop", FOREIGN), "bookshop"),
        (labelled("arcade"), ""),
        (labelled("book"), ""),
    ],
)
def test_an_object_is_its_owners_or_that_of_a_label_that_fits_its_name(obj: Object, shop: str) -> None:
    child = child_from_object(obj)
    assert (child.shop.namespace, child.shop.name) == ("shops", shop)
