"""What differs between two states of an object, and what of it may be shown."""

from typing import Any

import pytest

from shop.operator.cluster.diff import ABSENT, HIDDEN, Change, changes, essence

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "bookshop-order", "labels": {"app.kubernetes.io/name": "order"}},
    "spec": {
        "replicas": 1,
        "template": {
            "spec": {
                "containers": [
                    {"name": "order", "image": "shop-order:1", "env": [{"name": "A", "value": "1"}]},
                    {"name": "side", "image": "side:1"},
                ]
            }
        },
    },
}


def with_spec(**spec: Any) -> dict[str, Any]:
    return {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], **spec}}  # type: ignore[dict-item]


def containers(*found: dict[str, Any]) -> dict[str, Any]:
    return with_spec(template={"spec": {"containers": list(found)}})


def test_a_changed_field_is_named_by_its_path() -> None:
    assert changes(DEPLOYMENT, with_spec(replicas=3)) == [Change("spec.replicas", 1, 3)]


def test_members_of_a_list_are_compared_by_name_in_any_order() -> None:
    side, order = {"name": "side", "image": "side:1"}, {"name": "order", "image": "shop-order:2", "env": []}
    found = changes(DEPLOYMENT, containers(side, order))
    path = "spec.template.spec.containers[order]"
    assert found == [
        Change(f"{path}.env[A]", {"name": "A", "value": "1"}, ABSENT),
        Change(f"{path}.image", "shop-order:1", "shop-order:2"),
    ]


def test_a_list_without_names_is_compared_by_place() -> None:
    before, after = ({"kind": "X", "spec": {"args": args}} for args in (["a", "b"], ["a", "c", "d"]))
    assert changes(before, after) == [Change("spec.args[1]", "b", "c"), Change("spec.args[2]", ABSENT, "d")]


def test_a_name_with_dots_is_put_in_brackets() -> None:
    after = {**DEPLOYMENT, "metadata": {"name": "bookshop-order", "labels": {"app.kubernetes.io/name": "other"}}}
    assert [change.path for change in changes(DEPLOYMENT, after)] == ["metadata.labels[app.kubernetes.io/name]"]


@pytest.mark.parametrize(
    "noise",
    [
        {"resourceVersion": "2", "generation": 4, "uid": "u", "creationTimestamp": "t", "managedFields": [{}]},
        {"annotations": {"shops.shopkeeper.dev/applied": "cafe", "deployment.kubernetes.io/revision": "7"}},
        {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
    ],
)
def test_bookkeeping_is_no_change(noise: dict[str, Any]) -> None:
    noisy = {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], **noise}, "status": {"replicas": 1}}  # type: ignore[dict-item]
    assert changes(DEPLOYMENT, noisy) == []
    assert essence(noisy) == DEPLOYMENT


def test_a_foreign_annotation_is_a_change() -> None:
    after = {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], "annotations": {"team": "x"}}}  # type: ignore[dict-item]
    assert changes(DEPLOYMENT, after) == [Change("metadata.annotations", ABSENT, {"team": "x"})]


def secret(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data}


def test_values_of_secrets_never_show() -> None:
    found = changes(
        secret(kept="a2VwdA==", old="b2xk", password="YWxwaGE="),
        secret(kept="a2VwdA==", new="bmV3", password="YmV0YQ=="),
    )
    assert [change.path for change in found] == ["data.new", "data.old", "data.password"]
    shown = (
        repr(found) + "".join(line for change in found for line in change.lines()) + repr([c.document() for c in found])
    )
    assert not [value for value in ("b2xk", "bmV3", "YWxwaGE=", "YmV0YQ==") if value in shown]
    assert found[2].lines() == ["data.password: changed"]
    assert found[2].document() == {"path": "data.password", "from": HIDDEN, "to": HIDDEN}


def test_with_a_made_up_seed_only_the_keys_of_secrets_count() -> None:
    found = changes(secret(password="a", old="b"), secret(password="c", new="d"), values_known=False)
    assert [change.path for change in found] == ["data.new", "data.old"]


def test_null_is_a_value_and_absence_none() -> None:
    before, after = {"kind": "X", "spec": {"a": None}}, {"kind": "X", "spec": {}}
    (change,) = changes(before, after)
    assert change.document() == {"path": "spec.a", "from": None}
    assert change.lines() == ["spec.a: null (removed)"]


def test_a_long_text_shows_its_changed_lines() -> None:
    before = "max_connections = 100\nshared_buffers = 128MB\n--odd\n"
    after = "max_connections = 200\nshared_buffers = 128MB\n"
    assert Change("data[postgresql.conf]", before, after).lines() == [
        "data[postgresql.conf]:",
        "  - max_connections = 100",
        "  + max_connections = 200",
        "  - --odd",
    ]


def test_a_very_long_text_and_value_are_cut() -> None:
    lines = Change("data.x", "\n".join(map(str, range(40))), "\n").lines()
    assert len(lines) == 14
    assert lines[-1].endswith("more lines; --json has them")
    (line,) = Change("spec.x", "a" * 500, "b" * 500).lines()
    assert len(line) < 220


def test_texts_that_differ_only_in_their_last_line_end_are_shown() -> None:
    assert Change("data.x", "a\n", "a").lines() == ["data.x: a\\n -> a"]


def test_of_long_texts_that_differ_little_the_difference_is_shown() -> None:
    store = '{"country":"DE","currency":"EUR","shipping":{"flat":0},"taxes":[],"title":"%s","more":"of the same"}'
    (line,) = Change("data.X", store % "Shopkeeper", store % "Books").lines()
    shown = ('...es":[],"title":"Shopkeeper","more":"of the...', '...es":[],"title":"Books","more":"of the...')
    assert line == f"data.X: {shown[0]} -> {shown[1]}"
    (line,) = Change("spec.image", "registry.example.com/shops/shop-order:0.7.0", "shop-order:0.8.0").lines()
    assert line == "spec.image: registry.example.com/shops/shop-order:0.7.0 -> shop-order:0.8.0"


def test_of_hashes_the_beginnings_are_enough() -> None:
    (line,) = Change("checksum", "0a" * 32, "0b" * 32).lines()
    assert line == "checksum: 0a0a0a0a... -> 0b0b0b0b..."
