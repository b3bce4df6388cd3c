"""The order of trials, and the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from textrnn.training.search.candidates import next_candidate
from textrnn.training.search.record import FINISHED, WORSE, Search, Trial, table
from textrnn.training.search.trials import is_fixed
from textrnn.training.search.watch import choose_length
from textrnn.training.tasks.configuration import from_dict
from textrnn.training.tasks.table import TASKS
from textrnn.training.tasks.task import Task


def search_of(
    task: str, measure: Callable[[Mapping[str, Any]], float], most: int = 40, stated: Mapping[str, Any] | None = None
) -> Search:
    """Search with a given loss of each configuration in the place of training."""
    stated = {"task": task, **(stated or {})}
    of_task = next(each for each in TASKS if each.name == task)
    fixed = partial(is_fixed, stated, from_dict(stated))
    search = Search(600.0, stated, share=1.0, noise=0.01, trials=(Trial({}, loss=measure({})),))
    while len(search.trials) < most:
        changes = search.trials[search.leading()].changes
        config = from_dict(with_changes(stated, changes))
        config = replace(config, train=replace(config.train, epochs=10.0))
        found = next_candidate(search, of_task.moves(config), fixed, lambda _: True)
        if found is None:
            break
        setting, upwards = found.move.setting, found.move.upwards
        trial = Trial(found.changes, setting, upwards, found.base, loss=measure(found.changes))
        search = replace(search, trials=(*search.trials, trial))
    return search


def with_changes(stated: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: dict(each) if isinstance(each, Mapping) else each for name, each in stated.items()}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        values.setdefault(section, {})[name] = value
    return values


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name}-{task.reads}")
def test_every_task_says_what_may_be_tried(task: Task) -> None:
    assert len(task.moves(task.default_config())) >= 5


def test_a_search_finds_the_lowest_loss_of_settings_that_do_not_depend_on_each_other() -> None:
    def loss(changes: Mapping[str, Any]) -> float:
        rate, dropout = changes.get("train.learning_rate", 4e-3), changes.get("model.dropout", 0.0)
        return 1.0 + abs(dropout - 0.3) + abs(rate - 0.013) * 10 + 0.01 * len(changes)

    search = search_of("language_model", loss)
    found = search.trials[search.best()].changes
    assert (found["model.dropout"], found["train.learning_rate"]) == (0.3, 0.013)


def test_nothing_is_tried_twice_and_stated_settings_are_kept() -> None:
    stated = {"model": {"dropout": 0.1, "direct_ngrams": 2}, "tokenizer": {"min_count": 3}, "train": {}}
    search = search_of("classification", lambda changes: 1 / (1 + len(changes)), stated=stated)
    tried = [dict(trial.changes) for trial in search.trials]
    assert len(tried) > 8
    assert all(tried.count(changes) == 1 for changes in tried)
    for changes in tried:
        assert not changes.keys() & {"model.dropout", "model.direct_ngrams", "tokenizer.kind", "tokenizer.min_count"}


def test_a_move_that_helped_is_tried_again_from_where_it_led() -> None:
    search = search_of("language_model", lambda changes: abs(0.02 - changes.get("train.learning_rate", 4e-3)))
    tried = [dict(trial.changes) for trial in search.trials]
    first = tried.index({"train.learning_rate": 0.0072})
    assert tried[first + 1 : first + 3] == [{"train.learning_rate": 0.013}, {"train.learning_rate": 0.023}]


def test_another_tokenizer_starts_from_the_defaults() -> None:
    search = search_of("language_model", lambda changes: 1.0 - changes.get("model.dropout", 0.0))
    (words,) = [each.changes for each in search.trials if each.changes.get("tokenizer.kind") == "word"]
    assert words == {"tokenizer.kind": "word"}


def test_the_defaults_win_unless_another_trial_is_clearly_better() -> None:
    trials = (Trial({}, loss=1.0), Trial({"a": 1}, loss=0.995), Trial({"a": 2}, loss=0.5, outcome=WORSE))
    assert Search(1.0, {}, noise=0.01, trials=trials).best() == 0
    assert Search(1.0, {}, noise=0.001, trials=trials).best() == 1


def test_the_table_has_the_best_trial_first_and_warns_of_its_loss() -> None:
    trials = (
        Trial({}, loss=1.0, seconds=20),
        Trial({"model.dropout": 0.3}, loss=1.2, outcome=WORSE, curve=[(0.5, 1.2)], seconds=9),
        Trial({"model.layers": 3}, loss=0.9, outcome=FINISHED, seconds=25),
    )
    lines = table(Search(60.0, {}, share=1.0, noise=0.01, trials=trials)).splitlines()
    assert lines[1].split() == ["2", "0.9000", "best", "25", "s", "model.layers=3"]
    assert lines[2].split() == ["0", "1.0000", "finished", "20", "s", "defaults"]
    assert lines[3].split() == ["1", "1.2000", "stopped", "at", "50%", "9", "s", "model.dropout=0.3"]
    assert "optimistic" in "\n".join(lines[4:])


@pytest.mark.parametrize(("seconds", "share"), [(60, 1.0), (100, 1.0), (590, 0.0), (1e6, 0.0)])
def test_trials_are_full_trainings_where_several_fit_and_none_where_one_hardly_does(
    seconds: float, share: float
) -> None:
    assert choose_length(seconds, 600) == share


@pytest.mark.parametrize("seconds", [110, 180, 240, 350])
def test_shorter_trials_leave_the_time_of_the_final_training(seconds: float) -> None:
    share = choose_length(seconds, 600)
    assert 0 < share < 1
    assert 3 * share * seconds + seconds < 600
