"""A manifest is read strictly, and what is wrong is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from shop.devkit import manifest

ROOT = Path(__file__).parents[3]
SMALL = 'modules = ["retail"]\n'
STORES = f"{SMALL}database = true\nbroker = true\n"


def project(root: Path, **tables: str) -> Path:
    """A project whose services have these tables; a name with an empty table is a package without a manifest."""
    for noun, table in tables.items():
        folder = root / "services" / noun
        folder.mkdir(parents=True)
        text = f"[tool.shop]\n{table}" if table else '[project]\nname = "x"\n'
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return root


def test_every_service_of_the_project_is_read() -> None:
    manifests = manifest.read(ROOT)
    assert manifests["order"].calls == ("product", "pricing", "payment", "restaurant", "delivery")
    assert list(manifests)[-2:] == ["storefront", "gateway"], "the edge comes last"
    assert "kit" not in manifests


def test_package_without_table_is_no_service(tmp_path: Path) -> None:
    assert list(manifest.read(project(tmp_path, order=SMALL, kit=""))) == ["order"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "tool.shop.modules: Field required"),
        ("modules = []", "tool.shop.modules: Tuple should have at least 1 item"),
        (f"{SMALL}dtabase = true", "tool.shop.dtabase: Extra inputs are not permitted"),
        (f'{SMALL}database = "yes"', "tool.shop.database: Input should be a valid boolean"),
        (f"{SMALL}grpc-port = 80", "tool.shop.grpc-port: Input should be greater than or equal to 1024"),
        (f'{SMALL}api = ["Orders"]', "tool.shop.api[0]: String should match pattern"),
        (f"{SMALL}broker = true", "tool.shop.broker: needs database = true"),
        ('modules = ["core", "retail"]', "tool.shop.modules: core stands alone"),
        (f'{SMALL}public-reads = ["orders"]', "tool.shop.public-reads: orders is not in api"),
        (f'{SMALL}public-posts = ["/api/v1/orders"]', "tool.shop.public-posts: /api/v1/orders is not below /api/v1/"),
        (f'{SMALL}calls = ["nobody"]', "tool.shop.calls: there is no other service nobody"),
        (
            f'{SMALL}[tool.shop.secrets]\nSHOP_STORE = "admin"',
            "tool.shop.secrets.SHOP_STORE: String should match",
        ),
        (f'{SMALL}consumes = ["user.registered.v1"]', "tool.shop.consumes: needs broker = true"),
        (f'{SMALL}audited-events = ["user.registered.v1"]', "tool.shop.audited-events: user.registered.v1 is not in"),
        (f'{STORES}consumes = ["user.registered.v1"]', "tool.shop.consumes: there is no other service user"),
        (f"{SMALL}modules = 1", "order/pyproject.toml: Cannot overwrite a value"),
    ],
)
def test_mistake_names_file_and_field(tmp_path: Path, table: str, message: str) -> None:
    table = table or "api = []"
    with pytest.raises(manifest.ManifestError) as raised:
        manifest.read(project(tmp_path, order=table))
    assert str(raised.value).startswith("services/order/pyproject.toml: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('api = ["orders"]', "tool.shop.api: orders leads to order already"),
        ('prefixes = ["mailbox"]', "tool.shop.prefixes: mailbox leads to order already"),
        ("ingress = true", "tool.shop.ingress: order has it already"),
        ("fallback = true", "tool.shop.fallback: order has it already"),
    ],
)
def test_two_services_cannot_have_the_same(tmp_path: Path, table: str, message: str) -> None:
    first = 'api = ["orders"]\nprefixes = ["mailbox"]\ningress = true\nfallback = true\n'
    root = project(tmp_path, order=SMALL + first, other=SMALL + table)
    with pytest.raises(manifest.ManifestError, match=message):
        manifest.read(root)


def test_callers_follow_from_calls() -> None:
    manifests = manifest.read(ROOT)
    callers = ["gateway", "storefront", "ops", "order", "pricing", "recommendation"]
    assert manifest.callers(manifests, "product") == callers
    assert manifest.callers(manifests, "gateway") == ["ops"]
    assert set(manifest.callers(manifests, "ops")) == {*manifests}, "every service may send its spans"
    assert "notification" in manifest.callers(manifests, "user"), "every service reads the public keys"
    assert set(manifest.called(manifests, "gateway")) == set(manifests) - {"gateway"}
    assert set(manifest.called(manifests, "ops")) == set(manifests) - {"ops"}, "it reads their metrics"
