"""Training of a run from its sources to its bundle: as `textrnn train` does it, and as the call `textrnn.train`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from traceback import clear_frames
from typing import TYPE_CHECKING, Any

from textrnn.actions.messages import say, say_how_tables_are_read
from textrnn.data.in_memory import DataInMemory, Source, data_of, places_of
from textrnn.errors import Stopped, UserError
from textrnn.platforms import quoted

if TYPE_CHECKING:
    from textrnn.config import Config
    from textrnn.training.distributed.cluster import Cluster
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.run import Run
    from textrnn.training.loop.trainer import Trainer

Report = Callable[[Mapping[str, Any], int], None]


@dataclass(frozen=True)
class TrainingProgress:
    """The state of a training, as the function `progress` of `textrnn.train` receives it.

    Attributes:
        step: number of steps trained.
        total_steps: number of steps of the whole training.
        training_loss: mean loss since the last report; None before the first step of a model that learns on.
        held_out_loss: loss on the held-out data; None between evaluations.
        figures: this line of the run's history: the figures above and, for example, ``epoch``, ``seconds`` and
            ``held_out_accuracy``.
    """

    step: int
    total_steps: int
    training_loss: float | None
    held_out_loss: float | None
    figures: Mapping[str, Any]


def train(
    source: Source = None,
    *,
    out: str | PathLike[str] | None = None,
    task: str | None = None,
    resume: bool = False,
    budget: str | None = None,
    progress: bool | Callable[[TrainingProgress], object] = False,
    threads: int = 1,
    **settings: Any,
) -> Any:
    """Train a model and return it, as `textrnn.load` returns it.

    The same data, settings and seed give the same weights as ``textrnn train``, bit for bit.

    >>> model = textrnn.train("animals.txt", epochs=1)
    >>> model.generate("the cat", length=20, seed=1)
    '...'

    Args:
        source: a path, several paths or a Hugging Face id, as on the command line; or data in memory:
            ``{"text": texts}``, a pair ``(texts, labels)``, a pair of arrays ``(x, y)``, an array with a time series,
            or a DataFrame. None: the built-in data of the task.
        out: the run folder, which must not exist yet. None: a temporary folder, which is removed with the model;
            `save` keeps the model.
        task: as in ``textrnn train --task``. None: ``classification`` for a pair, else ``language_model``.
        resume: continue the run in `out` from its last checkpoint, with its own settings and data.
        budget: time of a search for settings, such as ``"10m"``; see ``textrnn train --budget``.
        progress: True prints progress on standard error, as the command does. A function is called with a
            `TrainingProgress`, about 200 times. If it raises KeyboardInterrupt, the training stops as with Ctrl-C.
        threads: number of processor threads of the model; see `textrnn.load`.
        **settings: settings of `textrnn.config` by their names (``hidden_dim=256``, ``text="review"``), by their keys
            (``**{"model.min_count": 1}``) or in sections (``model={"min_count": 1}``).

    Raises:
        UserError: the source, a setting or the folder is not valid, or the extra ``train`` is not installed.
        KeyboardInterrupt: Ctrl-C, or `progress` raised it. The checkpoint is written, and the run can be resumed.
    """
    from textrnn.runtime.load import load
    from textrnn.training.distributed.cluster import cluster_of
    from textrnn.training.tensorflow_setup import logging_unchanged

    if not (isinstance(progress, bool) or callable(progress)):
        raise UserError(f"progress must be True, False or a function, was: {progress!r:.60}; give one of these")
    if resume and out is None:
        raise UserError("resume continues the run in a folder, out was: None; give out=RUN")
    if out is not None and not resume and Path(out).exists():
        raise UserError(
            f"a new run needs a folder that does not exist yet, found: {out}; give another out, or resume=True"
        )
    cluster = cluster_of(os.environ)
    if cluster and out is None:
        raise UserError("several workers train one run, out was: None; give a folder that all of them see")
    own = TemporaryRun() if out is None else None
    try:
        plan = _plan(source, own.folder if own else Path(out or ""), task, resume, budget, settings)
        with logging_unchanged():
            run = carry_out(replace(plan, quiet=progress is not True, cluster=cluster), _reporter(progress))
        model = load(run.folder, threads=threads)
    except Stopped as stopped:
        if own:
            own.keep()
        raise KeyboardInterrupt(str(stopped)) from stopped
    except BaseException:
        if own:
            own.remove()
        raise
    model.owner = own
    return model


@dataclass(frozen=True)
class Plan:
    """A training that a command or a call asks for.

    Attributes:
        folder: the run folder.
        config: the configuration that is stated; None where a run is only resumed.
        stated: the settings that are stated, in sections. A search keeps them.
        resume: continue the run in `folder`.
        budget: seconds of a search for settings.
        quiet: show no progress.
        memory: data in memory, if they are not in `config`.
        cluster: the workers that train together.
    """

    folder: Path
    config: Config | None
    stated: Mapping[str, Any]
    resume: bool = False
    budget: float | None = None
    quiet: bool = False
    memory: DataInMemory | None = None
    cluster: Cluster | None = None


def carry_out(plan: Plan, report: Report | None = None) -> Run:
    """Make or open the run of a plan, train it to its end and export its bundle.

    Raises:
        UserError: as the stages raise it.
        Stopped: a signal asked to stop; the run can be resumed.
    """
    from textrnn.training.search.search import begin_search, is_searched, resume_search
    from textrnn.training.tasks.configuration import from_dict
    from textrnn.training.tasks.runs import create_run, open_run
    from textrnn.training.tasks.table import task_of

    folder, config = plan.folder, plan.config
    if config is not None and plan.memory is None:
        data, notes = task_of(config).find_columns(config.data)
        config = replace(config, data=data)
        if not plan.quiet:
            say(notes)
    if plan.cluster:
        if plan.budget or is_searched(folder):
            raise UserError("--budget searches in one process, TF_CONFIG names several workers; leave one of them out")
        if config is None and _states_epochs_alone(plan.stated):
            raise UserError(
                "more epochs of a finished run on several workers need the whole command, was: train.epochs alone; give"
                " the command that made the run, with the new train.epochs and --resume"
            )
        if plan.memory:
            raise UserError("several workers read the same files, the data are in memory; write them to a file")
        return _train_with_others(plan.cluster, folder, config, plan.resume, plan.quiet, report)
    if config is None or plan.resume:
        is_longer = config is None and _states_epochs_alone(plan.stated)
        epochs = from_dict(plan.stated).train.epochs if is_longer else None
        config = resume_search(folder, plan.budget, plan.stated, config)
        run = open_run(folder, config, plan.quiet, epochs=None if config else epochs)
    else:
        run = create_run(folder, config, plan.quiet, plan.memory)
        if plan.budget:
            begin_search(run, plan.budget, plan.stated)
    train_run(run, new=not plan.resume, report=report)
    return run


def stated_config(
    folder: Path, stated: Mapping[str, Any], data: Mapping[str, Any], resume: bool, is_whole: bool = False
) -> Config | None:
    """Return the configuration that a command or a call states; None where it only resumes a run.

    Args:
        folder: the run folder.
        stated: settings, in sections.
        data: settings of the section ``data`` that are stated apart, such as ``source``.
        resume: whether a run is resumed.
        is_whole: whether a file states the whole configuration.
    """
    from textrnn.training.tasks.configuration import from_dict, read_config

    if resume and not data and _states_epochs_alone(stated):
        return None
    if resume and not (is_whole or stated or data.keys() - {"source"}):
        if not data:
            return None
        config = read_config(folder)  # a resumed run keeps its settings
    else:
        config = from_dict(stated)
    return replace(config, data=replace(config.data, **data))


def like_its_start(stated: Mapping[str, Any], resumed: Path | None = None) -> dict[str, Any]:
    """Return what is stated of a run, with what follows from the model that it starts from, if it does.

    Args:
        stated: settings, in sections.
        resumed: the run folder, if the run was made already.

    Raises:
        UserError: there is no such model.
    """
    section = stated.get("model")
    model = section.get("init_from") if isinstance(section, Mapping) else None
    if not (isinstance(model, str) and model):
        return dict(stated)
    from textrnn.training.tasks.pretrained import stated_from

    return stated_from(stated, model, resumed)


def _states_epochs_alone(stated: Mapping[str, Any]) -> bool:
    """Return whether nothing is stated but the number of epochs."""
    section = stated.get("train")
    return len(stated) == 1 and isinstance(section, Mapping) and section.keys() == {"epochs"}


class TemporaryRun:
    """A run folder that is removed with this object, at the latest when the process ends."""

    def __init__(self) -> None:
        whole = Path(tempfile.mkdtemp(prefix="textrnn-"))
        self.folder = whole / "run"
        self._remove = weakref.finalize(self, shutil.rmtree, whole, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder now."""
        self._remove()

    def keep(self) -> None:
        """Never remove the folder."""
        self._remove.detach()


def _plan(
    source: Source, folder: Path, task: str | None, resume: bool, budget: str | None, settings: Mapping[str, Any]
) -> Plan:
    from textrnn.training.search.budget import parse_duration
    from textrnn.training.tasks.configuration import answers_of

    stated = in_sections(settings, task)
    section = stated.get("data", {})
    answers = answers_of(stated.get("task"))
    memory = data_of(source, str(section.get("text", "text")), str(section.get(answers, answers)))
    if memory and resume:
        raise UserError("a resumed run has its data, was given data in memory; leave out the source")
    if memory and memory.is_pair and "task" not in stated:
        if memory.fraction is not None:
            raise UserError(
                f"a pair is classified by default, with labels that are no fractions, one was: {memory.fraction:g};"
                ' give task="regression", or task="classification"'
            )
        stated["task"] = "classification"
    if memory and memory.reads_vectors:
        stated["data"] = {"reads": "vectors", **section}
    if isinstance(mix := section.get("mix"), str):
        stated["data"] = {**stated["data"], "mix": [mix]}
    data = {} if memory or source is None else {"source": places_of(source)}
    if data and not data["source"]:
        raise UserError("a source must be one path or several, was an empty list; give one, or None for built-in data")
    stated = like_its_start(stated, folder if resume else None)
    config = stated_config(folder, stated, data, resume)
    seconds = parse_duration(budget) if budget is not None else None
    return Plan(folder, config, stated, resume, seconds, memory=memory)


def in_sections(settings: Mapping[str, Any], task: str | None = None) -> dict[str, Any]:
    """Return settings in sections, of settings by name, by key or in sections.

    Raises:
        UserError: a name belongs to several sections.
    """
    from textrnn.config import settings as known_settings
    from textrnn.training.tasks.configuration import insert, task_names

    keys: dict[str, list[str]] = {}
    for key in known_settings():
        keys.setdefault(key.rpartition(".")[2], []).append(key)
    values: dict[str, Any] = {} if task is None else {"task": task_names().get(task, task)}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            for inner, of_inner in value.items():
                insert(values, f"{name}.{inner}", _plain(of_inner))
            continue
        found = keys.get(name, [name])  # an unknown name is refused with all others, by `from_dict`
        if len(found) > 1:
            raise UserError(
                f"a setting's name must be of one section, {name} is {' and '.join(found)}; give"
                f' **{{"{found[0]}": ...}}'
            )
        insert(values, found[0], _plain(value))
    return values


def _plain(value: Any) -> Any:
    """Return a value of numpy or a path as Python's own type."""
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value


def _reporter(progress: bool | Callable[[TrainingProgress], object]) -> Report | None:
    if isinstance(progress, bool):
        return None

    def report(line: Mapping[str, Any], total_steps: int) -> None:
        progress(
            TrainingProgress(
                line["step"], total_steps, line.get("training_loss"), line.get("held_out_loss"), dict(line)
            )
        )

    return report


def train_run(run: Run, new: bool = False, report: Report | None = None) -> Path:
    """Train a run to its end and export its bundle; return the bundle's folder.

    Args:
        run: the run.
        new: whether its folder was just made; if so, a run that cannot even begin leaves no folder.
        report: function that is called with each line of the history and the number of steps of the training.

    Raises:
        UserError: as the stages raise it.
        Stopped: a signal asked to stop; the run can be resumed.
    """
    from textrnn.training.loop.run_lock import locked

    try:
        with locked(run.folder):
            return _train_and_export(run, new, report)
    except KeyboardInterrupt as interrupt:
        raise Stopped(f"stopped; go on with: {run.resume_command}") from interrupt


def _train_and_export(run: Run, new: bool, report: Report | None) -> Path:
    try:
        run.remove_leftovers()
        trainer = _trainer(run)
    except UserError as error:
        if new:
            clear_frames(error.__traceback__)  # unmaps the data, or Windows would not remove them
            run.remove_unless_trained()
        raise
    trainer.fit(report=report)
    if run.needs_bundle:
        trainer.finish()
    return run.bundle


def _trainer(run: Run) -> Trainer:
    """Prepare the data of a run, search its settings if asked to, and return its trainer. Print notes for the user."""
    from textrnn.training.tasks.table import prepare, task_of, trainer_of
    from textrnn.training.tensorflow_setup import import_tensorflow

    task = task_of(run.config)
    if not run.quiet:
        data = run.config.data
        say_how_tables_are_read([*data.source, *data.mix, *data.validation], task.reads_labels)
    prepared = prepare(run)  # what is wrong with the data shows before TensorFlow has taken its seconds to load
    if not run.quiet:
        say(task.notes(prepared))
    import_tensorflow()
    from textrnn.training.distributed.distribution import of_this_process
    from textrnn.training.search.search import is_searched, with_best_settings

    distribution = of_this_process()
    if is_searched(run.folder):
        del prepared  # unmaps the data, which may be removed
        run = with_best_settings(run, distribution)
        prepared = prepare(run)
    return trainer_of(run, prepared, distribution)


def _train_with_others(
    cluster: Cluster, folder: Path, config: Config | None, resume: bool, quiet: bool, report: Report | None
) -> Run:
    """Train as one worker of several; only the first of them writes files."""
    from textrnn.training.tasks.shared_run import open_shared_run
    from textrnn.training.tensorflow_setup import import_tensorflow

    if not quiet:
        print(f"worker {cluster.index} meets the others: {', '.join(cluster.workers)}", file=sys.stderr, flush=True)
    distribution = import_tensorflow(lambda: _join(cluster))
    from textrnn.training.tasks.table import trainer_of

    again = f"textrnn train --resume --out {quoted(str(folder))}"
    kept = f"the last checkpoint is kept, go on with, for every worker: {again}"
    with distribution.explain_lost_workers(kept), ExitStack() as held:
        run = open_shared_run(distribution, folder, config, resume, quiet, held)
        try:
            trainer = trainer_of(run, distribution=distribution)
        except UserError:
            if distribution.is_chief and not resume:
                run.remove_unless_trained()
            raise
        trainer.fit(report=report)
        # The others leave when the chief has written all, or it would miss them.
        distribution.chief_first(lambda: trainer.finish() if run.needs_bundle else None, lambda: None)
    return run


def _join(cluster: Cluster) -> Distribution:
    from textrnn.training.distributed.distribution import join

    return join(cluster)
