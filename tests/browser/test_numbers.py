"""Every number that a person sees is the JSON's: read back in the browser, with the page's script and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from slick_reports import wording

from .pages import Made, StudyMade, neighbour
from .watched import Watched

Open = Callable[..., Watched]

agreement = neighbour("slick_reports/test_agreement.py")
percent_of, points_of = wording.estimate_percent, wording.estimate_points


@pytest.fixture(params=[True, False], ids=["with its script", "without scripts"])
def scripts(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def rows_of(watched: Watched, region: str) -> list[list[str]]:
    return [[agreement.unsigned(cell) for cell in row] for row in watched.tables()[region]]


def test_every_table_of_the_report_is_the_jsons(opened: Open, report: Made, scripts: bool) -> None:
    """Cell by cell, all of them on show; what is not compared here holds no numbers of the report's."""
    watched = opened(report.path, scripts=scripts)
    tables = watched.tables()
    wanted = dict(agreement.expected_tables(report.document))
    for name, rows in wanted.items():
        assert [[agreement.unsigned(cell) for cell in row] for row in tables[name]] == rows, name
    assert set(tables) - set(wanted) <= {"Runs", "Table of facts"}


def test_the_reports_sentences_are_the_jsons(opened: Open, report: Made, scripts: bool) -> None:
    """Verdict, headline, noise, findings, and what would change the verdict, all of them on show."""
    text = opened(report.path, scripts=scripts).page.locator("main").inner_text()
    document = report.document
    for told in (
        *(document["verdict"]["sentence"], document["headline"], document["noise"], document["command"]),
        *(document["findings"] + document["verdict"]["turns"] + document["caveats"] + document["notes"]),
    ):
        assert told in text


def test_a_pictures_text_alternative_has_the_jsons_numbers(opened: Open, report: Made) -> None:
    """Accuracy of every arm and group, and every difference, as a screen reader would say them."""
    watched = opened(report.path)
    accuracy, change = (watched.texts(f"#{name}-desc")[0] for name in ("accuracy", "change"))
    for arm in report.document["arms"]:
        for row in arm["groups"]:
            if row["n"]:
                after = agreement.estimate(row["after"]["accuracy"])
                assert f"{arm['label']} {percent_of(after)}" in accuracy
                assert f"{arm['label']} {points_of(agreement.estimate(row['change']['estimate']))}" in change


def test_without_scripts_the_first_facts_of_each_list_can_be_opened(opened: Open, report: Made) -> None:
    """By a click on their number; there is no control that would do nothing."""
    watched = opened(report.path, scripts=False)
    page = watched.page
    assert page.locator("button, input, select").count() == 0
    arm = report.document["arms"][0]
    name = f"Facts lost, {arm['label']}"
    assert name not in watched.tables()
    page.locator("details", has=page.get_by_role("region", name=name, include_hidden=True)).locator("summary").click()
    listed = watched.tables()[name]
    assert [row[2] for row in listed] == [flip["fact"]["question"] for flip in arm["lost"][: len(listed)]]
    assert len(listed) == min(len(arm["lost"]), 100 if len(report.document["arms"]) < 4 else len(listed))


def test_every_table_of_the_history_is_the_jsons(opened: Open, history: Made, scripts: bool) -> None:
    """Versions, steps and shares of categories."""
    watched = opened(history.path, scripts=scripts)
    document = history.document
    assert rows_of(watched, "Table of versions") == [list(expected_version(v)) for v in document["versions"]]
    steps = rows_of(watched, "Table of steps")
    assert [row[:9] for row in steps] == [expected_step(step) for step in document["steps"]]
    ways = {(False, False): "", (True, False): "fell ▼", (True, True): "rose ▲"}
    assert [row[9] for row in watched.tables()["Table of steps"]] == [
        ways[step["changed"], step["changed"] and step["estimate"]["value"] > 0] for step in document["steps"]
    ]
    assert [row[10] for row in steps] == [step["noise"] for step in document["steps"]]
    (shares,) = rows_of(watched, "Table of categories by version")
    found = document["versions"][0]["shares"]
    assert shares[1:] == [
        f"{found['n']:,}",
        *(percent_of(agreement.estimate(row["share"])) for row in found["categories"]),
    ]


def expected_version(version: Any) -> Iterator[str]:
    yield version["name"] + (" (baseline)" if version["baseline"] else "") + " " + version["at"][:10]
    yield f"{version['n']:,} {len(version['seeds'])} run"
    for row in sorted(version["groups"], key=lambda row: GROUPS.index(row["group"])):
        yield percent_of(agreement.estimate(row["side"]["accuracy"]))
    yield wording.percent(version["groups"][0]["side"]["abstained"])
    of_all, known = (row["prior"] for row in version["groups"][:2])
    yield "not recorded" if of_all is None else f"{wording.percent(of_all)} Known {wording.percent(known)}"


GROUPS = ["all", "Known", "HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"]


def expected_step(step: Any) -> list[str]:
    return [
        *(step["earlier"], step["later"], step["against"], step["group"], f"{step['n']:,}"),
        points_of(agreement.estimate(step["estimate"])),
        *(wording.decimal(step[name]) for name in ("lost", "gained")),
        wording.chance(step["adjusted"]),
    ]


def test_every_table_of_the_study_is_its_numbers(opened: Open, study: StudyMade, scripts: bool) -> None:
    """Cell by cell, all of them on show; no other table is there but that of the claims."""
    tables = opened(study.path, scripts=scripts).tables()
    wanted = {
        table.caption: [[f"{cell.text} {cell.under}".strip() for cell in row] for row in table.rows]
        for section in study.report.sections
        for table in section.tables
    }
    for name, rows in wanted.items():
        assert [[agreement.unsigned(cell) for cell in row] for row in tables[name]] == rows, name
    assert set(tables) - set(wanted) == {"Claims"}


def test_accuracy_by_share_is_the_jsons(opened: Open, study: StudyMade, scripts: bool) -> None:
    """Every share of the first section's figures, whatever its stage, group and split, stands in its tables."""
    tables = opened(study.path, scripts=scripts).tables()
    section = study.document["sections"][0]
    shown = {cell for table in study.report.sections[0].tables for row in tables[table.caption] for cell in row}
    wanted = {percent_of(agreement.estimate(found)) for found in estimates(section["figures"])}
    assert len(wanted) > 20
    assert wanted <= shown


def estimates(figures: Any) -> Iterator[Any]:
    """Every estimate, however deep."""
    if isinstance(figures, dict):
        if {"value", "interval"} <= set(figures):
            yield figures
        figures = list(figures.values())
    if isinstance(figures, list):
        for each in figures:
            yield from estimates(each)


def test_the_studys_claims_and_sentences_are_the_jsons(opened: Open, study: Made, scripts: bool) -> None:
    """Each claim with the paper's word, ours and the finding; headline, findings and caveats."""
    watched = opened(study.path, scripts=scripts)
    document = study.document
    assert watched.tables()["Claims"] == [[c["claim"], c["paper"], c["here"], c["finding"]] for c in document["claims"]]
    text = watched.page.locator("main").inner_text()
    for told in (document["headline"], *document["findings"], *document["caveats"], *document["notes"]):
        assert told in text
