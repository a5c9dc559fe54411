"""The comparison of two revisions: turns, rates, medians and ratios, counters of real servers, commits checked out."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import asyncpg
import pytest

from shop.devkit.embedded import Server
from tests.load import (
    compare,
    compare_picture,
    compare_summary,
    counters,
    open_loop,
    profile,
    report,
    revisions,
    search,
    speed,
)
from tests.load.measure import Latency, Measured
from tests.load.revisions import BASE, HEAD, Revision

PAIR = (Revision(BASE, "1111aaaa", Path(), Path()), Revision(HEAD, "2222bbbb+", Path(), Path()))
FAST = {"additions_s": 0.5, "syncs_per_s": 9_000.0, "others_percent": 1.0, "load_average": 0.1}


def run_of(revision: str, pair: int, **figures: float) -> dict[str, object]:
    named = {name.replace("__", "."): value for name, value in figures.items()}
    return {"revision": revision, "pair": pair, "speed": FAST, "figures": named, "audit_ok": True}


def found_of(*runs: dict[str, object]) -> dict[str, object]:
    summed = compare_summary.summary(runs)
    return {"commits": {one.name: one.commit for one in PAIR}, "runs": list(runs), "summary": summed}


def test_rounds_begin_in_turns_with_either_revision() -> None:
    turns = "".join(revision.name[0] for _, revision in compare.order_of(PAIR, 3))
    assert turns == "bh" + "hb" + "bh"
    assert [pair for pair, _ in compare.order_of(PAIR, 2)] == [0, 0, 1, 1]


def test_a_revision_is_measured_at_its_own_rates_and_at_half_of_the_base() -> None:
    sustained = {BASE: 200.0, HEAD: 500.0}
    assert compare.levels(sustained, HEAD) == {"light": 20.0, "half": 250.0, "base_half": 100.0, "full": 475.0}
    assert compare.levels(sustained, BASE) == {"light": 20.0, "half": 100.0, "full": 190.0}


def test_ratios_are_of_the_runs_of_one_round() -> None:
    rates = {BASE: (100.0, 50.0, 200.0), HEAD: (200.0, 100.0, 300.0)}
    runs = [run_of(name, pair, sustained_per_s=rate) for name in rates for pair, rate in enumerate(rates[name])]
    found = compare_summary.summary(runs)["sustained_per_s"]
    assert found["base"] == {"median": 100.0, "least": 50.0, "greatest": 200.0}
    assert found["ratio"] == {"median": 2.0, "least": 1.5, "greatest": 2.0}


def test_a_figure_that_one_revision_lacks_has_no_ratio() -> None:
    runs = [run_of(BASE, 0, light__p50_ms=float("nan"), new=0.0), run_of(HEAD, 0, light__p50_ms=9.0, new=2.0)]
    found = compare_summary.summary(runs)
    assert "base" not in found["light.p50_ms"]
    assert "ratio" not in found["light.p50_ms"]
    assert "ratio" not in found["new"]
    assert compare_summary.text(None) == "not measured"


def measured() -> Measured:
    run = open_loop.Run(1, [], 0.0)
    latency = Latency(10, 10.0, 20.0, 30.0, 40.0, {"503 overloaded": 2})
    cpu_s, memory = {"order-1": 0.1, "order-2": 0.2, "postgres": 0.3}, {"order-1": 50.0, "order-2": 50.0}
    each = {"statements": 9.0, "statements.order": 4.0, "commits": 3.0, "wal_bytes": 2_048.0, "wal_syncs": 1.5}
    return Measured("light", 20.0, 10.0, latency, None, 100, 10.0, 9.0, 6.0, cpu_s, memory, 120.0, each, 1.0, 0.5, run)


def test_figures_of_replicas_are_added() -> None:
    found = compare_summary.figures(measured())
    assert (found["cpu_ms.order"], found["cpu_ms.postgres"]) == (3.0, 3.0)
    assert (found["statements.order"], found["errors"], found["memory_mib"]) == (4.0, 2.0, 100.0)


def test_table_and_picture_name_what_was_measured() -> None:
    figures = {f"light.{name}": value for name, value in compare_summary.figures(measured()).items()}
    runs = [run_of(name, 0, **figures, sustained_per_s=rate) for name, rate in ((BASE, 90.0), (HEAD, 180.0))]
    runs[1]["audit_ok"] = False
    found = found_of(*runs)
    table = list(compare_summary.lines(found))
    assert table[0].startswith("base 1111aaaa, head 2222bbbb+: 2 runs")
    row = next(line for line in table if line.startswith("orders/s sustained"))
    assert row.split()[-4:] == ["2.00", "(2.00", "to", "2.00)"]
    assert "statements an order at 20/s, base -> head: order 4.00 -> 4.00" in table
    assert table[-1] == "audits: VIOLATED in head of round 1"
    drawn = ElementTree.fromstring(compare_picture.picture(found))
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "20/s: statements an order" in texts
    assert sum(element.tag.endswith("circle") for element in drawn.iter()) == sum(
        "ratio" in one for _, one in compare_summary.shown(found)
    )


def test_options_of_the_comparison_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.arguments(["--base", "main", "--rates", "20,90"]).rates == (20.0, 90.0)
    for wrong in (["--pairs", "21"], ["--seconds", "61"], ["--rates", "1,2,3,4,5,6,7"], ["--rates", "0"]):
        with pytest.raises(SystemExit):
            compare.arguments(["--base", "main", *wrong])
        assert "must be" in capsys.readouterr().err


async def rate_near(guess: float, capacity: float) -> float:
    async def try_rate(rate: float) -> search.Verdict:
        return search.Verdict(rate <= capacity, "")

    return await search.near(try_rate, guess)


@pytest.mark.parametrize("guess", [200.0, 300.0, 330.0, 500.0])
async def test_search_near_a_rate_goes_up_or_down(guess: float) -> None:
    found = await rate_near(guess, capacity=330.0)
    assert found <= 330.0 < found * search.STEP


async def test_search_near_a_rate_ends_when_every_rate_or_none_is_sustained() -> None:
    assert await rate_near(100.0, capacity=0.0) == 0.0
    assert await rate_near(100.0, capacity=1e6) == pytest.approx(100.0 * search.STEP ** (search.MAX_STEPS - 1))


async def test_counters_count_what_a_database_and_a_broker_did(
    postgres: Server, nats_server: Server, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute("CREATE DATABASE shop_counted")
        before = await counters.of_postgres(postgres.url)
        counted = await asyncpg.connect(postgres.url.rsplit("/", 1)[0] + "/shop_counted")
        await counted.execute("CREATE TABLE counted (number int)")
        for number in range(5):
            await counted.execute("INSERT INTO counted VALUES ($1)", number)
        await counted.close()
        grown = counters.differences(before, await counters.of_postgres(postgres.url))
        assert grown["statements.counted"] == 6
        assert grown["commits.counted"] >= 6
        assert grown["wal_bytes"] > 0
    finally:
        await connection.execute("DROP DATABASE shop_counted WITH (FORCE)")
        await connection.close()
    assert counters.of_nats(nats_server.store.directory).keys() == counters.MESSAGES.keys()
    assert counters.of_nats(tmp_path) == {}


def test_counters_by_database_have_a_sum() -> None:
    grown = counters.differences({"commits.order": 4.0}, {"commits.order": 10.0, "commits.user": 4.0, "wal_bytes": 0.0})
    assert grown == {"commits.order": 6.0, "commits.user": 4.0}
    assert counters.per_order(grown, 2) == {"commits": 5.0, "commits.order": 3.0, "commits.user": 2.0}


def test_the_base_is_a_worktree_of_its_commit_and_the_only_one(tmp_path: Path) -> None:
    root, bases = tmp_path / "project", tmp_path / "bases"
    root.mkdir()
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True)
    for text in ("old", "new"):
        (root / "file").write_text(text)
        subprocess.run([*git, "add", "file"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", text], check=True)
    old = revisions.base("main~1", root, bases, install=False)
    assert (old.root / "file").read_text() == "old"
    assert revisions.base("main~1", root, bases, install=False) == old
    new = revisions.base("main", root, bases, install=False)
    assert [folder.name for folder in bases.iterdir()] == [new.root.name]
    assert revisions.head(root).commit == new.commit
    (root / "file").write_text("changed")
    assert revisions.head(root).commit == f"{new.commit}+"
    with pytest.raises(revisions.RevisionFailed, match="nonsense"):
        revisions.base("nonsense", root, bases, install=False)


def test_the_speed_of_the_machine_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ADDITIONS", 1_000)
    monkeypatch.setattr(speed, "SYNC_SECONDS", 0.01)
    monkeypatch.setattr(speed, "LOAD_SECONDS", 0.01)
    found = speed.measure(tmp_path)
    assert found.keys() == FAST.keys()
    assert "disk syncs/s" in speed.line(found)


def test_a_report_says_what_an_order_cost_in_the_stores() -> None:
    run = {"per_order": {"statements.order": 4.0, "statements.user": 5.0, "commits": 3.0, "messages_in": 2.0}}
    text = list(report.counted(run["per_order"]))
    assert "3.0 commits" in text[0]
    assert text[1].split()[:5] == ["database", "user", "5.0,", "order", "4.0"]
    assert list(report.counted({})) == []


@pytest.mark.parametrize(
    ("said", "error"), [("Permission Denied: try sudo", profile.ProfileRefused), ("no", RuntimeError)]
)
def test_a_profile_that_is_refused_says_how_to_allow_it(tmp_path: Path, said: str, error: type[Exception]) -> None:
    failing = subprocess.Popen(["sh", "-c", f"echo '{said}' >&2; exit 1"], stderr=subprocess.PIPE)
    with pytest.raises(error, match="SYS_PTRACE" if error is profile.ProfileRefused else "no"):
        profile.Profiler("order", failing, tmp_path / "flame.svg").end()
