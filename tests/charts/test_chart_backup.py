"""The CronJob of backups and the Job of a restore."""

from __future__ import annotations

import pytest

from shop.operator.backup import scripts
from shop.operator.services import WITH_DATABASE
from tests.charts.rendering import Object, Refused, kind, named, preset, template

S3_KEYS = {"S3_ENDPOINT": "endpoint", "S3_ACCESS_KEY": "accessKey", "S3_SECRET_KEY": "secretKey", "S3_REGION": "region"}


def backup_pod(name: str) -> Object:
    (found,) = kind(preset(name), "CronJob")
    pod: Object = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def restore_pod(name: str) -> Object:
    (found,) = [job for job in kind(preset(name), "Job") if job["metadata"]["name"].startswith("restore-")]
    pod: Object = found["spec"]["template"]["spec"]
    return pod


def plain(container: Object) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def secret(container: Object) -> dict[str, tuple[str, str]]:
    refs = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"] if "valueFrom" in one}
    return {name: (ref["name"], ref["key"]) for name, ref in refs.items()}


@pytest.mark.parametrize("name", ["shop-backup", "shop-backup-bucket"])
def test_the_scripts_are_the_files_of_the_chart(name: str) -> None:
    for noun in ("backup", "restore"):
        data = named(preset(name), "ConfigMap", noun)["data"]
        for file in data.keys() - {"passwd"}:
            assert data[file].strip() == (scripts.folder() / file).read_text().strip()
    given = {file for noun in ("backup", "restore") for file in named(preset(name), "ConfigMap", noun)["data"]}
    assert given == {"passwd", *(path.name for path in scripts.folder().iterdir())}


def test_every_database_is_dumped_with_its_own_services_role() -> None:
    (container,) = backup_pod("shop-backup")["containers"]
    assert sorted(plain(container)["NOUNS"].split()) == sorted(WITH_DATABASE)
    assert secret(container) == {f"URL_{noun.upper()}": (f"database-{noun}", "url") for noun in WITH_DATABASE}


def test_a_claim_holds_the_backups() -> None:
    backup, restore = backup_pod("shop-backup"), restore_pod("shop-backup")
    assert plain(backup["containers"][0])["TARGET"] == "/backups/books"
    assert plain(restore["containers"][0])["SOURCE"] == "/backups/books/20261122T031500Z"
    assert {"name": "backups", "persistentVolumeClaim": {"claimName": "nightly"}} in backup["volumes"]
    assert {"name": "backups", "persistentVolumeClaim": {"claimName": "nightly", "readOnly": True}} in restore[
        "volumes"
    ]


def test_a_bucket_gets_the_dumps_after_they_are_complete() -> None:
    pod = backup_pod("shop-backup-bucket")
    (dump,), (push,) = pod["initContainers"], pod["containers"]
    assert plain(dump)["TARGET"] == plain(push)["FOLDER"] == "/backups"
    assert "KEEP" not in plain(dump)
    assert (plain(push)["PLACE"], plain(push)["KEEP"]) == ("s3://nightly/books", "7")
    assert secret(push) == {variable: ("bucket", key) for variable, key in S3_KEYS.items()}
    assert push["command"][-2:] == ["shop.operator.backup", "push"]


def test_a_restore_from_a_bucket_continues_with_the_backup_that_it_began_with() -> None:
    pod = restore_pod("shop-backup-bucket")
    choose, pull = pod["initContainers"]
    assert choose["command"][-1] == "choose"
    assert plain(choose)["CHOSEN"] == "/backups/chosen"
    assert plain(pull) == {"FOLDER": "/backups", "PLACE": "s3://nightly/books"}
    assert plain(pod["containers"][0])["SOURCE"] == "/backups"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("backup.enabled=true", "backup.destination is missing: pvc://CLAIM/path or s3://BUCKET/path"),
        ("backup.enabled=true,backup.destination=s3://a/b", "backup.destination s3://... needs secretName"),
        ("restore.source=s3://a/b", "restore.source s3://... needs secretName"),
        ("restore.source=pvc://a/b", f"restore.source needs services.{WITH_DATABASE[0]}.migrations.mode Job"),
    ],
)
def test_missing_values_are_named(values: str, sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        template("shop", "--set", values)
    assert sentence in str(refused.value)


def test_without_backup_no_object_is_rendered() -> None:
    names = {found["metadata"]["name"].partition("-")[0] for found in preset("shop")}
    assert not names & {"backup", "restore"}
