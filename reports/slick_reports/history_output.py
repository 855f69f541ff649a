"""A history as a page, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from slick.errors import InputError
from slick.files import replacing
from slick.knowledge import CATEGORIES
from slick_reports import charts, history_charts, wording
from slick_reports.embedded import BUDGET, safe_json, size_of
from slick_reports.history_numbers import MAJORITY, Flipped, History, Step, Version
from slick_reports.history_steps import seeds_told
from slick_reports.html import page_environment, page_script, style_hash, style_sheet
from slick_reports.json_report import plain, pretty
from slick_reports.markdown import bullets, escape, sentence, table
from slick_reports.numbers import ALL, KNOWN
from slick_reports.output import refuse_stranger
from slick_reports.svg import element, marker
from slick_reports.text import short

JSON_MARK = '"kind": "slick history"'
MARKDOWN_MARK = "<!-- slick history -->"
# Facts of the static list, and of the Markdown.
LIST_LIMIT = 100
MARKDOWN_LIMIT = 30


def write_history(history: History, html_path: Path) -> list[Path]:
    """Writes X.html, X.md and X.json for an `html_path` X.html, and returns them. InputError as `write_report`."""
    if html_path.suffix != ".html":
        raise InputError(f"--out {html_path}: expected a name that ends in .html (.md and .json are written beside it)")
    if html_path.is_dir():
        raise InputError(f"--out {html_path}: is a directory, expected a file name")
    refuse_stranger(html_path.with_suffix(".md"), MARKDOWN_MARK)
    refuse_stranger(html_path.with_suffix(".json"), JSON_MARK)
    texts = {
        html_path: render_html(history, stem=html_path.stem),
        html_path.with_suffix(".md"): render_markdown(history, stem=html_path.stem),
        html_path.with_suffix(".json"): render_json(history),
    }
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def render_json(history: History) -> str:
    """The numbers object at twelve digits, with its kind and schema first."""
    numbers = plain(history)
    document = {"kind": "slick history", "schema": numbers.pop("schema"), **numbers}
    return pretty(document) + "\n"


def render_html(history: History, *, stem: str = "history") -> str:
    css, script = style_sheet(), page_script()
    rows, left_out = embed_flipped(history)
    detailed = tuple(name for name in history_charts.NAMES[2:] if _has(history, name))
    overall = tuple(name for name in (ALL, KNOWN) if _has(history, name))
    pictures = [
        (names, history_charts.time_line(history, names, f"line-{i}"))
        for i, names in enumerate((overall, detailed))
        if names
    ]
    environment = page_environment("slick_reports")
    environment.globals["line_sign"] = _sign
    environment.globals |= {"prior_told": prior_told, "seeds_told": seeds_told, "majority": MAJORITY}
    return environment.get_template(
        "history.html.j2"
    ).render(
        h=history,
        css=Markup(css),  # noqa: S704  our own file
        css_hash=style_hash(css),
        script=Markup(script),  # noqa: S704  our own file
        script_hash=style_hash(script),
        pictures=pictures,
        shares=history_charts.categories_chart(history),
        swatch=charts.swatch,
        categories=[str(category) for category in CATEGORIES],
        groups=[*overall, *detailed],
        facts=rows,
        left_out=left_out,
        listed=history.flipped[:LIST_LIMIT],
        signs=signs,
        json_name=f"{stem}.json",
        markdown_name=f"{stem}.md",
    )


def _has(history: History, group: str) -> bool:
    return any(row.group == group and row.n for version in history.versions for row in version.groups)


def _sign(place: int, name: str) -> Markup:
    style, shape = history_charts.legend_style(place, name)
    mark = element("g", marker(shape, 7, 7), class_=style)
    return element("svg", mark, class_="sign", viewBox="0 0 14 14", aria_hidden="true")


def signs(path: str) -> str:
    """A fact's path as signs that stand apart without colour: ● right, ○ wrong, · not asked."""
    return path.translate({ord("1"): "●", ord("0"): "○", ord("-"): "·"})


def embed_flipped(history: History, budget: int = BUDGET) -> tuple[Markup, int]:
    """(JSON for the page's script, flipped facts that found no room): lost facts first."""
    states = list(dict.fromkeys(flip.state for flip in _ordered(history)))
    names = [version.name for version in history.versions]
    relations: dict[str, int] = {}
    rows: list[Any] = []
    size = left_out = 0
    for flip in _ordered(history):
        if left_out:
            left_out += 1
            continue
        relation = short(flip.fact.relation)
        row = [
            relations.get(relation, len(relations)),
            short(flip.fact.question),
            short("; ".join(flip.fact.answers[:5])),
            flip.path,
            flip.flips,
            states.index(flip.state),
            names.index(flip.first_bad) if flip.first_bad is not None else -1,
        ]
        more = size_of(row) + (0 if relation in relations else size_of(relation))
        if size + more > budget:
            left_out = 1
            continue
        size += more
        relations.setdefault(relation, len(relations))
        rows.append(row)
    document = {
        "versions": [short(name) for name in names],
        "states": states,
        "relations": list(relations),
        "rows": rows,
    }
    return safe_json(document), left_out


def _ordered(history: History) -> list[Flipped]:
    """Lost facts first, then the rest, each in the ledger's order."""
    return sorted(history.flipped, key=lambda flip: flip.state != "lost")


def render_markdown(history: History, *, stem: str = "history") -> str:
    parts = [
        MARKDOWN_MARK,
        f"# {escape(history.title)}",
        f"**{sentence(history.headline)}**",
        sentence(history.noise),
        *(f"> **Warning:** {sentence(warning)}" for warning in history.warnings),
        f"Accuracy in percent, differences in points, {wording.level(history.level)} intervals in brackets. "
        f"{history.n:,} facts, series {escape(history.series)}.",
        "## Versions",
        _versions(history),
        "## Steps",
        _steps(history.steps),
        *_probed(history.versions),
        *_lost(history, stem),
        "## How to read this",
        bullets(history.notes),
        f"Made with: {sentence(history.command)}" if history.command else "",
        f"The same numbers at full precision: {escape(stem)}.json.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _versions(history: History) -> str:
    groups = [name for name in history_charts.NAMES if _has(history, name)]
    header = ["version", "date", "seeds", "n", *groups, "abstained", "answer prior", "marks"]
    rows = [
        [
            escape(version.name),
            version.at[:10] or wording.NONE,
            str(len(version.seeds)),
            f"{version.n:,}",
            *(_accuracy(version, name) for name in groups),
            wording.percent(version.groups[0].side.abstained),
            " ".join(prior_told(version)).strip(),
            "; ".join((["baseline"] if version.baseline else []) + [sentence(told) for told in version.stale]) or "",
        ]
        for version in history.versions
    ]
    return table(header, rows)


def prior_told(version: Version) -> tuple[str, str]:
    """The answer prior on all facts, and beneath it that on Known facts; "" where there are none."""
    priors = {row.group: row.prior for row in version.groups if row.n}
    of_all, known = priors.get(ALL), priors.get(KNOWN)
    if of_all is None:
        return "not recorded", ""
    return wording.percent(of_all), "" if known is None else f"{KNOWN} {wording.percent(known)}"


def _accuracy(version: Version, group: str) -> str:
    found = next((row.side.accuracy for row in version.groups if row.group == group), None)
    return wording.estimate_percent(found)


def _steps(steps: Sequence[Step]) -> str:
    header = ["step", "against", "facts", "n", "difference", "lost", "gained", "p (Holm)", "change", "noise"]
    rows = [
        [
            f"{escape(step.earlier)} → {escape(step.later)}",
            step.against,
            step.group,
            f"{step.n:,}",
            wording.estimate_points(step.estimate),
            wording.decimal(step.lost),
            wording.decimal(step.gained),
            wording.chance(step.adjusted),
            ("▼" if step.estimate and step.estimate.value < 0 else "▲") if step.changed else "",
            f"{step.noise} ({told})" if (told := seeds_told(step)) else step.noise,
        ]
        for step in steps
    ]
    return table(header, rows) if rows else "One version: nothing to compare."


def _probed(versions: Sequence[Version]) -> list[str]:
    rows = [
        [
            escape(version.name),
            f"{version.shares.n:,}",
            *(wording.estimate_percent(row.share) for row in version.shares.categories),
        ]
        for version in versions
        if version.shares
    ]
    return ["## Categories by version", table(["version", "n", *map(str, CATEGORIES)], rows)] if rows else []


def _lost(history: History, stem: str) -> list[str]:
    told = ", ".join(f"{n:,} {state}" for state, n in sorted(history.states.items())) or "none"
    shown = _ordered(history)[:MARKDOWN_LIMIT]
    rows = [
        [
            flip.state,
            escape(flip.first_bad) if flip.first_bad else wording.NONE,
            signs(flip.path),
            escape(flip.fact.relation),
            escape(flip.fact.question),
            escape("; ".join(flip.fact.answers[:5])),
        ]
        for flip in shown
    ]
    rest = len(history.flipped) - len(rows)
    return [
        "## Facts that flipped",
        f"{len(history.flipped):,} facts: {told}. ● right, ○ wrong, · not asked, one sign a version. {MAJORITY}",
        table(["state", "first bad", "versions", "relation", "question", "accepted"], rows, text_columns=6)
        if rows
        else "",
        f"The first {MARKDOWN_LIMIT} are shown; {rest:,} more stand in {escape(stem)}.json." if rest > 0 else "",
    ]
