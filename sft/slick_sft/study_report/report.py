"""The report of a study, built from its directory and written there: report.html, .md, .json and .svg."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from slick.files import mapping_of, replacing
from slick.statistics import LEVEL
from slick_reports.html import brief
from slick_reports.text import LONG, visible
from slick_sft.study.jobs import CONVERGENCE
from slick_sft.study_report import (
    categories,
    controls,
    early_stopping,
    every,
    exposure,
    idk,
    model,
    noise,
    paper,
    plane,
    protocol,
    render,
    shares,
    training,
    truth,
    why,
)
from slick_sft.study_report.asked import KNOWN_FACTS
from slick_sft.study_report.blocks import Finding, Section, StudyReport, said, share_said
from slick_sft.study_report.data import TEST, Study, share_name
from slick_sft.study_report.measures import accuracy, difference

TITLE = "What fine-tuning on new knowledge did to old knowledge"
# What the person who ran the study has to say of it, a paragraph a line; shown as it stands.
NOTES = "notes.md"
# One that gives None has nothing to ask of this study.
_SECTIONS: tuple[Callable[[Study], Section | None], ...] = (
    shares.section,
    controls.section,
    training.section,
    model.section,
    why.section,
    early_stopping.section,
    categories.section,
    idk.section,
    truth.section,
    exposure.section,
    plane.section,
    noise.section,
    every.section,
    protocol.section,
)


def build(path: Path) -> StudyReport:
    """The report of the finished study in `path`. Raises InputError where there is none, or it is damaged."""
    study = Study(path)
    sections = tuple(found for section in _SECTIONS if (found := section(study)) is not None)
    return StudyReport(
        title=TITLE,
        kicker=_kicker(study),
        headline=headline(study, sections),
        findings=findings(sections),
        sections=sections,
        caveats=_caveats(study),
        notes=_notes(path),
        provenance=_provenance(study),
        level=LEVEL,
        seeds=study.seeds,
        banners=protocol.banners(study),
    )


def write(path: Path, report: StudyReport | None = None) -> list[Path]:
    """Writes the report into the study's directory; all of its files, or none. Same input, same bytes.

    report: what `build` made of this very study; built where it is not given.
    """
    report = report or build(path)
    texts = {
        path / "report.html": render.html(report),
        path / "report.md": render.markdown(report),
        path / "report.json": render.json_text(report),
    }
    if cover := render.cover(report):
        texts[path / "report.svg"] = cover
    for file, text in texts.items():
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return list(texts)


def headline(study: Study, sections: Sequence[Section]) -> str:
    """The first thing a reader sees: what Unknown rows did to Known facts."""
    mixes = study.mixes()
    if len(mixes) < 2:
        variants = len(study.variants)
        return f"{variants} variant{'s' * (variants != 1)}, {study.seeds} seed{'s' * (study.seeds != 1)} each."
    low, high = min(mixes), max(mixes)
    ends = [accuracy(study, mixes[share], CONVERGENCE, TEST, KNOWN_FACTS) for share in (low, high)]
    gap = difference(study, (mixes[high], CONVERGENCE), (mixes[low], CONVERGENCE), TEST, KNOWN_FACTS)
    told = (
        f"Known test facts at CONVERGENCE: {share_said(ends[0])} right after tuning on {share_name(low)} Unknown rows, "
        f"{share_said(ends[1])} on {share_name(high)}, a difference of {said(gap)}."
    )
    judged = next((s.data for s in sections if s.id == early_stopping.ID and s.data), {})
    if judged.get("verdict"):
        told += (
            f" At EARLY_STOP filtering loses less than the margin of {early_stopping.margin()} points: "
            f"{judged['verdict']['verdict']} on all facts, {judged['verdict_known']['verdict']} on Known ones."
        )
    return told


def findings(sections: Sequence[Section]) -> tuple[str, ...]:
    """How many claims agree, and each that differs."""
    claims = [claim for section in sections for claim in section.claims]
    agree, differ, rest = (sum(claim.finding is finding for claim in claims) for finding in Finding)
    found = []
    if claims:
        found.append(
            f"Of {len(claims)} claims, {agree} agree with what is found here, {differ} differ, {rest} are open."
        )
    found += [s.data["unfinished"] for s in sections if s.id == every.ID and s.data.get("unfinished")]
    for claim in (claim for claim in claims if claim.finding is Finding.DIFFERS):
        told = "Not as expected" if claim.ours else "Differs from the paper"
        found.append(f"{told}: {claim.claim} {'' if claim.ours else f'There: {claim.paper}. '}Here: {claim.here}.")
    found += [f"Why b_kn is not the paper's: {s.data['reason']}" for s in sections if s.id == why.ID and s.data]
    left_out = [s.title for s in sections if s.missing and s.id != exposure.ID]
    if left_out:
        found.append(f"Left out, since it was not part of this study: {', '.join(left_out)}.")
    return tuple(found)


def _kicker(study: Study) -> str:
    facts = mapping_of(study.document.get("facts"))
    splits = mapping_of(facts.get("splits"))
    counts = ", ".join(f"{int(mapping_of(of).get('n', 0)):,} {name}" for name, of in splits.items())
    seeds = f"{study.seeds} seed{'s' * (study.seeds != 1)}"
    return f"{len(study.variants)} variants × {seeds}; facts: {counts}"


def _caveats(study: Study) -> tuple[str, ...]:
    seeds = (
        f"over facts and {study.seeds} seeds a variant: what another draw of facts, and another seed of mixing and "
        "training, would change"
        if study.seeds > 1
        else "over the facts alone, since there is one seed a variant: they are about these checkpoints, and not about "
        "training again"
    )
    return (
        f"Intervals are {seeds}. Facts of one subject count as a cluster: an interval is wider by their design effect, "
        "with Student's t of the subjects less one. The relations are fixed by design. The exemplar sets, the facts "
        "that were drawn for training and the base model are held.",
        "Differences are paired, fact by fact. ▼ and ▲ mark a difference whose interval excludes 0. Intervals are not "
        "corrected for the number of comparisons, but where it is said.",
        "A claim “agrees” or “differs” where an interval excludes 0, two intervals are apart, a p-value stands Holm's "
        "correction (where that is said), or a verdict is PASS or FAIL; all else is “not settled”, which is no "
        "evidence against it. What the paper gives no interval for is compared in its direction only.",
        "Accuracy is closed-book exact match, greedy, in the training form. Categories are the base model's"
        + (f", of the {protocol.estimator(probed)} estimator." if (probed := study.probed(TEST)) else "."),
        f"The paper's figures are those of {paper.SOURCE}, a model of another size on other facts: their direction can "
        "be compared, their size cannot.",
    )


def _notes(path: Path) -> tuple[str, ...]:
    """Paragraphs of `notes.md`, where there is one."""
    file = path / NOTES
    if not file.is_file():
        return ()
    paragraphs = file.read_text(encoding="utf-8", errors="replace").split("\n\n")
    return tuple(visible(" ".join(p.split()), LONG) for p in paragraphs if p.strip())


def _place(name: str) -> str:
    """Of a place on the machine that the study ran on, what tells it from its neighbours."""
    path = PurePath(name)
    return "/".join(path.parts[-2:]) if path.is_absolute() and len(path.parts) > 2 else name


def _provenance(study: Study) -> tuple[tuple[str, str], ...]:
    document = study.document
    base, facts = mapping_of(document.get("model")), mapping_of(document.get("facts"))
    found = [
        ("base model", _place(str(base.get("name", "")))),
        ("weights", brief(base.get("weights"))),
        ("facts", _place(str(facts.get("source", "")))),
    ]
    for name, of in mapping_of(facts.get("splits")).items():
        found.append((f"facts, {name}", f"{mapping_of(of).get('n')} ({brief(mapping_of(of).get('digest'))})"))
    for version, of in mapping_of(study.grid.get("trainings")).items():
        told = ", ".join(f"{k} {brief(v)}" for k, v in mapping_of(of).items() if v not in (None, {}, []))
        found.append((f"training{f', {version}' if version else ''}", told))
    found.append(("form", str(study.grid.get("form", ""))))
    for name, version in mapping_of(document.get("versions")).items():
        found.append((str(name), str(version)))
    return tuple(found)
