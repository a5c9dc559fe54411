"""A plan as text, as JSON and as an exit code."""

from shop.operator.cluster.diff import Change
from shop.operator.cluster.plan_result import Action, Item, Plan
from shop.operator.kube.objects import NamespacedName, Ref

ORDER = Ref("apps/v1", "Deployment", "bookshop-order")
OLD = Ref("v1", "ConfigMap", "bookshop-old")
SHOP = NamespacedName("books", "bookshop")


def plan(*items: Item, notes: tuple[str, ...] = ()) -> Plan:
    return Plan(SHOP, False, items, notes)


def test_the_text_has_each_object_and_the_sum() -> None:
    found = plan(
        Item(Action.CHANGE, ORDER, "services", [Change("spec.replicas", 1, 3)]),
        Item(Action.CREATE, Ref("batch/v1", "Job", "bookshop-order-migrate-1"), "migrate"),
        Item(Action.NONE, Ref("v1", "Service", "bookshop-order")),
        Item(Action.DELETE, OLD),
        notes=("the Shop is suspended",),
    )
    assert found.text().splitlines() == [
        "~ Deployment bookshop-order",
        "    spec.replicas: 1 -> 3",
        "+ Job bookshop-order-migrate-1",
        "- ConfigMap bookshop-old",
        "",
        "Note: the Shop is suspended",
        "Shop bookshop in namespace books: 1 to create, 1 to change, 1 to delete, 1 unchanged.",
    ]
    assert found.code == 2


def test_nothing_to_change_is_reported_with_code_0() -> None:
    found = plan(Item(Action.NONE, ORDER))
    assert (found.code, found.document()["changed"]) == (0, False)
    assert found.text() == "Shop bookshop in namespace books: 1 unchanged. Nothing would change."


def test_a_refusal_is_code_1_with_its_reason() -> None:
    found = plan(Item(Action.REFUSE, ORDER, "services", message="spec.selector: field is immutable"))
    assert found.code == 1
    assert "! Deployment bookshop-order: spec.selector: field is immutable" in found.text()
    assert "1 refused" in found.text()


def test_what_could_not_be_compared_is_reported_and_is_no_change() -> None:
    found = plan(Item(Action.UNKNOWN, Ref("v1", "Secret", "bookshop-nats"), message="no right to read Secrets"))
    assert found.code == 0
    assert "? Secret bookshop-nats: no right to read Secrets" in found.text()
    assert "1 not compared" in found.text()


def test_the_document_counts_all_and_lists_what_is_not_unchanged() -> None:
    found = plan(
        Item(Action.CHANGE, ORDER, "services", [Change("spec.replicas", 1, 3)]), Item(Action.NONE, OLD)
    ).document()
    assert found["summary"] == {"create": 0, "change": 1, "delete": 0, "refuse": 0, "unknown": 0, "none": 1}
    assert found["objects"] == [
        {
            "action": "change",
            "id": "apps/v1/Deployment/bookshop-order",
            "wave": "services",
            "changes": [{"path": "spec.replicas", "from": 1, "to": 3}],
        }
    ]


def test_many_fields_are_cut_in_the_text_alone() -> None:
    found = plan(Item(Action.CHANGE, ORDER, "", [Change(f"spec.f{number:02}", 0, 1) for number in range(30)]))
    assert "and 5 more fields; --json lists all" in found.text()
    assert len(found.document()["objects"][0]["changes"]) == 30
