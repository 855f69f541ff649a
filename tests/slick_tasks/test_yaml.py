"""Our task files. lm-eval skips a YAML it cannot read in silence, so each is read here by itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from slick.entityquestions import IN_DISTRIBUTION, OUT_OF_DISTRIBUTION
from slick.facts import Fact
from slick_tasks import lab, sources
from slick_tasks.cli import yaml_directory
from slick_tasks.task import ClosedBookTask, ExactTask, FactsTask, SlickTask

LAB_OOD = ("P50", "P407", "P176", "P112")
GROUPS = {
    "slick_entityq": IN_DISTRIBUTION,
    "slick_entityq_ood": OUT_OF_DISTRIBUTION,
    "slick_lab": IN_DISTRIBUTION,
    "slick_lab_ood": LAB_OOD,
    "slick_entityq_exact": IN_DISTRIBUTION,
    "slick_entityq_ood_exact": OUT_OF_DISTRIBUTION,
    "slick_lab_exact": IN_DISTRIBUTION,
    "slick_lab_ood_exact": LAB_OOD,
    "entityq_closed_book": IN_DISTRIBUTION,
    "entityq_ood_closed_book": OUT_OF_DISTRIBUTION,
    "lab_closed_book": IN_DISTRIBUTION,
    "lab_ood_closed_book": LAB_OOD,
}
TASKS = {
    f"{group}_{relation.lower()}": (group, relation) for group, relations in GROUPS.items() for relation in relations
}
FILES = sorted(yaml_directory().rglob("*.yaml"))


def family(group: str) -> str:
    return group.replace("_ood", "").replace("_exact", "")


def kind(group: str) -> type[FactsTask]:
    return ClosedBookTask if "closed_book" in group else ExactTask if "_exact" in group else SlickTask


@pytest.fixture(scope="module")
def every_lab_relation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with a few facts of each of its relations."""
    facts = []
    for relations, splits in ((IN_DISTRIBUTION, ("train", "dev", "test")), (LAB_OOD, ("ood_dev", "ood"))):
        for relation in relations:
            for split in splits:
                for i in range(6):
                    subject = f"{relation} {split} {i}"
                    facts.append(Fact.create(f"{subject}?", ["a"], relation=relation, subject=subject, split=split))
    path = tmp_path_factory.mktemp("lab") / "facts.jsonl"
    path.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in facts), encoding="utf-8")
    return path.parent


def test_the_index_holds_exactly_our_names() -> None:
    """Reading the directory as lm-eval does yields the 105 tasks and 12 groups, and nothing else."""
    manager = TaskManager(include_path=yaml_directory(), include_defaults=False)
    assert set(manager.all_subtasks) == TASKS.keys()
    assert set(manager.all_groups) == GROUPS.keys()
    assert manager.all_tags == []
    assert len(FILES) == len(TASKS) + len(GROUPS) == 117


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_says_what_its_name_says(file: Path) -> None:
    """A file is named after its task or group, lies in its family's folder, and its functions resolve."""
    config = load_yaml(file)
    assert file.parent.name == family(TASKS[file.stem][0] if file.stem in TASKS else file.stem)
    assert config["metadata"]["version"] == 1.0
    if file.stem in GROUPS:
        members = [f"{file.stem}_{relation.lower()}" for relation in GROUPS[file.stem]]
        assert (config["group"], config["task"]) == (file.stem, members)
        return
    group, relation = TASKS[file.stem]
    assert (config["task"], config["dataset_name"]) == (file.stem, relation)
    assert config["class"] is kind(group)
    assert config["custom_dataset"] is (sources.lab if "lab" in group else sources.entityq)
    assert config["test_split"] == ("ood" if "_ood" in group else "test")


@pytest.mark.parametrize(("split", "relations"), [("test", IN_DISTRIBUTION), ("ood", LAB_OOD)])
def test_the_shipped_lab_has_the_relations_of_its_tasks(split: str, relations: tuple[str, ...]) -> None:
    """Each relation of the lab has its task, and each task its facts."""
    assert {fact.relation for fact in lab.load_facts() if fact.split == split} == set(relations)


def check_built(group: str, task: Any, relation: str) -> None:
    assert type(task) is kind(group)
    assert {fact.relation for fact in task.facts} == {relation}
    assert {fact.split for fact in task.facts} == {"ood" if "_ood" in group else "test"}


@pytest.mark.parametrize("group", [group for group in GROUPS if "lab" in group])
def test_lab_groups_build_all_their_tasks(group: str, every_lab_relation: Path) -> None:
    """Loading a group of the lab builds one task a relation, over facts of its split."""
    manager = TaskManager(
        include_path=yaml_directory(), include_defaults=False, metadata={"lab": str(every_lab_relation)}
    )
    loaded = manager.load([group])
    assert list(loaded["tasks"]) == [f"{group}_{relation.lower()}" for relation in GROUPS[group]]
    for name, task in loaded["tasks"].items():
        check_built(group, task, TASKS[name][1])


@pytest.mark.parametrize("group", [group for group in GROUPS if "entityq" in group])
def test_entityquestions_groups_hold_the_papers_totals(group: str, shared: Path) -> None:
    """Loading a group of EntityQuestions builds its tasks, with as many facts as the paper's table says."""
    metadata = {"entityquestions": str(shared / "data" / "entityquestions")}
    manager = TaskManager(include_path=yaml_directory(), include_defaults=False, metadata=metadata)
    tasks = manager.load([group])["tasks"]
    for name, task in tasks.items():
        check_built(group, task, TASKS[name][1])
    assert sum(len(task.facts) for task in tasks.values()) == (5848 if "_ood" in group else 10481)


@pytest.mark.parametrize("group", GROUPS)
def test_groups_aggregate_every_metric_of_their_tasks(group: str) -> None:
    """What a task measures, its group averages, weighted by facts."""
    folder = yaml_directory() / family(group)
    listed = load_yaml(folder / f"{group}.yaml")["aggregate_metric_list"]
    member = load_yaml(folder / f"{group}_{GROUPS[group][0].lower()}.yaml")["metric_list"]
    assert [entry["metric"] for entry in listed] == [entry["metric"] for entry in member]
    assert all(entry["aggregation"] == "mean" and entry["weight_by_size"] is True for entry in listed)


def test_no_name_is_one_of_lm_evals() -> None:
    """An equal name would be lost or would override a built-in; ours begin with words that no built-in has."""
    import lm_eval.tasks

    words = ("slick_", "entityq_", "lab_")
    assert all(name.startswith(words) for name in (*TASKS, *GROUPS))
    named = re.compile(rb"^\s*-?\s*(?:task|group|tag)\s*:\s*['\"]?(?:slick_|entityq_|lab_)", re.MULTILINE)
    files = Path(lm_eval.tasks.__file__).parent.rglob("*.yaml")
    assert [file for file in files if named.search(file.read_bytes())] == []


def test_every_family_has_its_page() -> None:
    """Each folder explains itself, and its page names every group and metric of it."""
    for folder in {file.parent for file in FILES}:
        page = (folder / "README.md").read_text(encoding="utf-8")
        for group in (group for group in GROUPS if family(group) == folder.name):
            assert f"`{group}`" in page
            metrics = load_yaml(folder / f"{group}.yaml")["aggregate_metric_list"]
            assert all(f"`{entry['metric']}`" in page for entry in metrics)
