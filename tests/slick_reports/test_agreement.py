"""No two formats disagree: every table of the page and of the Markdown is read back and compared with the JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from slick.statistics import Estimate, Interval
from slick_reports import html, json_report, markdown, wording
from slick_reports.numbers import Report
from slick_reports.report import build_report

if TYPE_CHECKING:
    from conftest import Study


class Tables(HTMLParser):
    """The tables of a page by the name of their region: rows of cells' texts, heads left out; texts of list items."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.items: list[str] = []
        self._name = ""
        self._in: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("role") == "region":
            self._name = given.get("aria-label") or ""
            self.tables[self._name] = []
        if tag == "tr" and "tbody" in self._in:
            self.tables[self._name].append([])
        if tag in ("td", "th") and "tbody" in self._in:
            self.tables[self._name][-1].append("")
        if tag == "li":
            self.items.append("")
        if tag == "span" and "under" in (given.get("class") or "") and "tbody" in self._in:
            self.tables[self._name][-1][-1] += " "
        if tag not in ("meta", "br", "input"):
            self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._in.pop() == tag

    def handle_data(self, data: str) -> None:
        if ("td" in self._in or "th" in self._in) and "tbody" in self._in:
            self.tables[self._name][-1][-1] += data
        if "li" in self._in:
            self.items[-1] += data


def estimate(found: Any) -> Estimate | None:
    """The JSON's estimate as an object, for the wording functions."""
    if found is None:
        return None
    limits = found["interval"]
    interval = Interval(limits["low"], limits["high"], limits["level"]) if limits else None
    return Estimate(found["value"], interval, found["n"], found["method"])


def share(side: Any) -> str:
    return wording.estimate_percent(estimate(side["accuracy"]))


def difference(found: Any) -> str:
    """As the page has it, but for the sign of an interval that excludes 0."""
    return wording.estimate_points(estimate(found))


def unsigned(cell: str) -> str:
    return re.sub(r" [▼▲]( \(the interval excludes 0\))?", "", cell)


def abstained(row: Any) -> str:
    before, after = row["before"]["abstained"], row["after"]["abstained"]
    return "–" if before is None else f"{wording.percent(before)} → {wording.percent(after)}"


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    rng = {fact.id: [1.0, 0.6, 0.02, 0.0][i % 4] for i, fact in enumerate(study.lab.facts)}
    after = study.lab.probe("after-half", of="half-0", skill=rng)
    return build_report(study.runs, knowledge=study.probe, after=[after], margin=0.02)


@pytest.fixture(scope="module")
def document(report: Report) -> Any:
    return json.loads(json_report.render(report))


@pytest.fixture(scope="module")
def page(report: Report) -> Tables:
    return Tables(html.render(report))


def expected_arm(arm: Any, control: str | None) -> Iterator[list[str]]:
    seeds = len(arm["seeds"])
    for row in arm["groups"]:
        against = [difference(row["against_control"])] if control and not arm["is_control"] else []
        change = row["change"]
        yield [
            row["group"],
            f"{row['n']:,}",
            wording.percent(row["prior"]),
            share(row["before"]),
            share(row["after"]),
            difference(change["estimate"]),
            *against,
            abstained(row),
            *(wording.count(change[name], seeds) if row["n"] else "–" for name in ("lost", "gained")),
        ]


def expected_tables(document: Any) -> Iterator[tuple[str, list[list[str]]]]:
    """Name of the region → its cells, made of the JSON alone."""
    for arm in document["arms"]:
        yield f"Numbers of {arm['label']}", list(expected_arm(arm, document["control"]))
        migration = arm["migration"]
        if migration:
            yield f"Migration, {arm['label']}", list(expected_migration(migration))
        if arm["training_curves"]:
            yield f"Training curves, {arm['label']}", list(expected_curves(arm["training_curves"]))
    yield (
        "Verdicts",
        [
            [
                v["arm"],
                v["outcome"],
                v["against"],
                v["group"],
                f"{v['estimate']['n']:,}",
                difference(v["estimate"]),
                *(wording.size(v[name]) for name in ("margin", "passes_from", "fails_below")),
            ]
            for v in document["verdict"]["verdicts"]
        ],
    )
    yield (
        "Forgotten and learned",
        [
            [
                document["arms"][0]["groups"][i]["group"],
                *(t for arm in document["arms"] for t in turned(arm["groups"][i])),
            ]
            for i in range(len(document["arms"][0]["groups"]))
        ],
    )
    sides = [("before", document["arms"][0]["groups"][0]["wrong_before"])]
    sides += [(arm["label"], arm["groups"][0]["wrong_after"]) for arm in document["arms"]]
    yield (
        "Wrong answers",
        [
            [
                name,
                wording.decimal(side["wrong"]),
                *(
                    "–"
                    if side[kind] is None
                    else f"{wording.decimal(side[kind])} {wording.percent(side[kind] / side['wrong'])} %"
                    for kind in ("abstained", "echo", "echo_before", "entity", "other")
                ),
            ]
            for name, side in sides
        ],
    )
    yield (
        "Accuracy by relation",
        [
            [
                row["relation"],
                f"{row['n']:,}",
                wording.percent(row["prior"]),
                *relation_cells(row),
            ]
            for row in document["relations"]
        ],
    )
    yield (
        "Category sets against fresh sets",
        [
            [
                row["category"],
                f"{row['n']:,}",
                wording.percent(row["category_sets"]),
                wording.percent(row["fresh_sets"]),
            ]
            for row in document["selection"]
        ],
    )
    yield (
        "Seeds of the control",
        [
            [
                row["group"],
                f"{row['n']:,}",
                ", ".join(wording.percent(value) for value in row["accuracies"]),
                wording.size(row["spread"]),
                difference(row["largest"]),
                f"{row['apart']} of {row['pairs']}",
            ]
            for row in document["seeds"]
        ],
    )


def expected_migration(migration: Any) -> Iterator[list[str]]:
    whole = not migration["expected"]
    for row in migration["rows"]:
        cells = []
        for count, found in zip(row["counts"], row["shares"], strict=True):
            value = estimate(found)
            told = f"{wording.percent(value.value)} % {wording.percent_interval(value.interval)}" if value else "–"
            cells.append(f"{wording.expected(count, whole=whole)} {told}")
        yield [row["category"], wording.expected(row["n"], whole=whole), *cells, wording.percent(row["kept"])]


def expected_curves(found: Any) -> Iterator[list[str]]:
    curves = found["curves"]
    for points in zip(*(curve["points"] for curve in curves), strict=True):
        yield [f"{points[0]['epoch']:g}", *(wording.estimate_percent(estimate(p["share"])) for p in points)]


def turned(row: Any) -> list[str]:
    found = row["turned"]
    pairs = ((found["forgotten"], found["was_right"]), (found["learned"], found["was_wrong"]))
    return [f"{wording.estimate_percent(estimate(e))} of {n:,}" if e else "–" for e, n in pairs]


def relation_cells(row: Any) -> list[str]:
    def answers(side: Any) -> str:
        return f"{share(side)} abst. {wording.percent(side['abstained'])}"

    cells = [answers(row["before"])]
    for side, change in zip(row["after"], row["changes"], strict=True):
        cells += [answers(side), difference(change["estimate"])]
    return cells


def test_every_number_of_every_table_is_the_jsons(page: Tables, document: Any) -> None:
    """Read back from the page, cell by cell; a table that is not compared is none of numbers."""
    expected = dict(expected_tables(document))
    for name, rows in expected.items():
        assert [[unsigned(cell) for cell in row] for row in page.tables[name]] == rows, name
    rest = {name for name in page.tables if name not in expected and not name.startswith("Facts ")}
    assert rest == {"Runs"}


def test_the_shares_of_categories_are_the_jsons(page: Tables, document: Any) -> None:
    """They stand in a legend, beside their bars."""
    for row in document["shares"]["categories"]:
        assert f"{row['category']} {wording.estimate_percent(estimate(row['share']))}" in page.items


def test_the_listed_facts_are_the_jsons(report: Report, document: Any) -> None:
    """Those of the page's script, in number and text."""
    text = re.search(r'id="facts-data"[^>]*>(.*?)</script>', html.render(report), re.DOTALL)
    assert text is not None
    data = json.loads(text.group(1))
    listed = [
        (data["arms"][arm]["label"], data["states"][state], *data["facts"][place][2:4], seeds)
        for place, arm, state, _, _, seeds, _ in data["rows"]
    ]
    expected = [
        (arm["label"], state.replace("_", " "), flip["fact"]["question"], flip["fact"]["answers"][0], flip["seeds"])
        for state in ("lost", "gained", "still_wrong")
        for arm in document["arms"]
        for flip in arm[state]
    ]
    assert listed == expected


def test_sentences_are_the_jsons(page: Tables, report: Report, document: Any) -> None:
    """Verdict, headline, noise, findings, what would change the verdict, and the command."""
    text = html.render(report)
    from html import escape

    told = [document["verdict"]["sentence"], document["headline"], document["noise"], document["command"]]
    told += [*document["findings"], *document["verdict"]["turns"]]
    for sentence in told:
        assert escape(sentence, quote=False) in text.replace("&#39;", "'").replace("&#34;", '"')


def test_the_markdown_says_the_same(report: Report, document: Any) -> None:
    """Each of the JSON's rows stands in its tables, and every list of facts once."""
    headings = re.findall("^### (Lost|Gained|Still wrong)", markdown.render(report), re.MULTILINE)
    assert headings == ["Lost", "Gained", "Still wrong"] * len(document["arms"])
    rows = {
        tuple(unsigned(cell.strip()) for cell in line.strip("|").split(" | "))
        for line in markdown.render(report).split("\n")
        if line.startswith("| ")
    }
    cells = {cell for row in rows for cell in row}
    for arm in document["arms"]:
        for row in expected_arm(arm, document["control"]):
            assert tuple(row) in rows
        for row in arm["groups"]:
            assert {told for told in turned(row) if told != "–"} <= cells
    for row in document["relations"]:
        first, *others = relation_cells(row)
        assert first.replace(" abst. ", " (abst. ") + ")" in cells
        assert set(others[1::2]) <= cells
    for v in document["verdict"]["verdicts"]:
        assert difference(v["estimate"]) in cells
    curved = [arm["training_curves"] for arm in document["arms"] if arm["training_curves"]]
    assert len(curved) == 1
    assert {tuple(row) for row in expected_curves(curved[0])} <= rows
