"""Settings of a training run: default, range, meaning, and scope (the models that a setting applies to).

The defaults here are those of a language model. Each task of `textrnn.training.tasks` defines its different defaults.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from textrnn.errors import UserError

T = TypeVar("T")

MODELS = ("language model", "classifier", "regressor", "forecaster", "translator", "recognizer")
"""Kinds of models that the tasks train."""


@dataclass(frozen=True)
class Above:
    """Exclusive lower bound of another setting."""

    least: float


@dataclass(frozen=True)
class Scope:
    """Models that a setting applies to.

    Attributes:
        models: a subset of `MODELS`.
        reads: inputs of the models, ``"text"``, ``"vectors"`` or ``"audio"``; a series is vectors.
        needs: conditions on other settings, by key: allowed values, or a lower bound.
    """

    models: tuple[str, ...] = MODELS
    reads: tuple[str, ...] = ("text", "vectors", "audio")
    needs: Mapping[str, tuple[Any, ...] | Above] = field(default_factory=dict)

    def has(self, model: str, config: Config) -> bool:
        """Return whether a run trains one of the models on one of the inputs."""
        return model in self.models and config.data.reads in self.reads

    def unmet(self, config: Config) -> list[str]:
        """Return the keys of the settings that do not meet `needs`."""
        return [key for key, wanted in self.needs.items() if not _meets(value_of(config, key), wanted)]

    def __str__(self) -> str:
        kinds = "all models" if self.models == MODELS else " and ".join(f"{model}s" for model in self.models)
        inputs = "" if len(self.reads) == 3 or self.models in _OF_ONE_INPUT else f" of {self.reads[0]}"
        needs = " and ".join(_described(key, wanted) for key, wanted in self.needs.items())
        return f"{kinds}{inputs}{' with ' if needs else ''}{needs}"


_OF_ONE_INPUT = (("language model",), ("forecaster",), ("regressor",), ("translator",), ("recognizer",))
EVERY_RUN = Scope()
LANGUAGE_MODELS = Scope(("language model",))
CLASSIFIERS = Scope(("classifier",))
OF_SEQUENCES = Scope(("classifier", "regressor"))  # one output for a whole sequence
FORECASTS = Scope(("forecaster",))
TEXT = Scope(reads=("text",))
VECTORS = Scope(reads=("vectors",))
OF_VECTORS = Scope(("classifier", "regressor"), ("vectors",))
AUDIO = Scope(("classifier", "recognizer"), ("audio",))
CLASSIFIERS_OF_TEXT = Scope(("classifier",), ("text",))
TRANSLATORS = Scope(("translator",))
RECOGNIZERS = Scope(("recognizer",))
ONE_TEXT = Scope(("language model", "classifier"), ("text",))  # one tokenizer, whose kind is chosen


def _meets(value: Any, wanted: tuple[Any, ...] | Above) -> bool:
    return value > wanted.least if isinstance(wanted, Above) else value in wanted


def _described(key: str, wanted: tuple[Any, ...] | Above) -> str:
    if isinstance(wanted, Above):
        return f"{key} above {wanted.least:g}"
    return f"{key}={' or '.join(map(_shown, wanted))}" if any(wanted) else f"no {key}"


def _shown(value: Any) -> str:
    """Return a value in the notation of ``--set``."""
    return str(value) if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)


def _with(scope: Scope = EVERY_RUN, **needs: tuple[Any, ...] | Above) -> Scope:
    """Return a scope with conditions on other settings; ``model__layers`` is the key ``model.layers``."""
    return replace(scope, needs={key.replace("__", "."): wanted for key, wanted in needs.items()})


def _for(*scopes: Scope, **off: Any) -> dict[str, Any]:
    """Return metadata of a setting that applies to runs in any of `scopes`.

    ``off=...`` is the value that switches the setting off. All other runs may have this value too.
    """
    return {"scopes": scopes, **off}


def _between(low: float, high: float, hint: str) -> dict[str, Any]:
    return {"range": (low, high), "hint": hint}


def _one_of(*choices: str) -> dict[str, Any]:
    return {"choices": choices}


_COLUMN = {"column": True}  # a whole number is valid too


@dataclass(frozen=True)
class DataConfig:
    """Settings of the data: sources, columns and splits."""

    source: tuple[str, ...] = field(default=("builtin",), metadata=_for(EVERY_RUN))
    """Files, folders, Hugging Face ids, or "builtin": the Python language manual; for classification, short reviews in
    English and Chinese; for vectors, the handwritten digits of scikit-learn, if it is installed."""
    reads: str = field(default="text", metadata=_for(EVERY_RUN) | _one_of("text", "vectors", "audio"))
    """Classification: a record is a text, a sequence of vectors, or a recording (audio). Regression and forecasts read
    vectors, recognition reads recordings."""
    values: tuple[str, ...] = field(default=(), metadata=_for(VECTORS))
    """Vectors and series: the columns with the numbers. Empty: chosen from the source."""
    steps: str = field(default="rows", metadata=_for(OF_VECTORS) | _one_of("rows", "values"))
    """Vectors: a time step is a row of the array, or a single value, in row-major order."""
    recording: str = field(default="path", metadata=_for(AUDIO) | _COLUMN)
    """Recordings: the column of a table that holds their paths. If the table lacks it: its only column whose values
    end in .wav, .flac, .ogg or .mp3."""
    group: str = field(default="", metadata=_for(_with(AUDIO, data__validation=((),))) | _COLUMN)
    """Recordings: a column of the table, such as the speaker. Those of one group are held out together, or not at
    all."""
    sample_rate: int = field(
        default=0, metadata=_for(AUDIO) | _between(0, 48_000, "0 takes the lowest of the recordings, at most 16000")
    )
    """Recordings: samples a second, to which all are resampled. 0: the lowest of those to train on, at most 16,000."""
    mel_bins: int = field(default=40, metadata=_for(AUDIO) | _between(4, 256, "40 or 80 are usual"))
    """Recordings: values of a frame, the energies of so many bands of the mel scale. A frame starts every 10 ms."""
    mix: tuple[str, ...] = field(default=(), metadata=_for(LANGUAGE_MODELS, OF_SEQUENCES))
    """Learning on (`model.init_from`): sources that the model knows already. Half of every batch is of them, so that it
    forgets less; the share `held_out` of them is evaluated on."""
    validation: tuple[str, ...] = field(default=(), metadata=_for(EVERY_RUN))
    """Sources to evaluate on. Empty: the share `held_out` of the training data is held out."""
    held_out: float = field(
        default=0.1, metadata=_for(_with(data__validation=((),))) | _between(0.0001, 0.5, "0.1 keeps the last tenth")
    )
    """Share of the training data that is held out: the end of a text or series, or a share of each class."""
    text: str = field(default="text", metadata=_for(TEXT, RECOGNIZERS) | _COLUMN)
    """The text column of a table: its name, or its number (from 1) for a .csv or .tsv without a header. Recognition:
    the column of the transcripts."""
    label: str = field(default="label", metadata=_for(OF_SEQUENCES) | _COLUMN)
    """The label column, named as `text`."""
    target: str = field(default="target", metadata=_for(TRANSLATORS) | _COLUMN)
    """Text to text: the column of the target text, named as `text`, which is the source text."""
    label_names: tuple[str, ...] = field(default=(), metadata=_for(CLASSIFIERS))
    """Classification: names for labels, as in ["0=negative", "1=positive"]."""
    label_separator: str = field(default="", metadata=_for(_with(CLASSIFIERS_OF_TEXT, task=("multilabel",)), off=""))
    """Multi-label classification: the text between the labels of a record, as in "sports|politics". auto: the first of
    | ; , that a label has. JSON lists are read as well."""
    max_length: int = field(
        default=2048,
        metadata=_for(CLASSIFIERS_OF_TEXT, TRANSLATORS)
        | _between(2, 10_000_000, "2048 reads all but the longest reviews"),
    )
    """Classification: the maximum number of tokens of a text. Longer texts are cut in the middle: the first and last
    max_length/2 tokens are kept. Text to text: training pairs with more tokens on a side are left out."""
    document: str = field(
        default="file",
        metadata=_for(_with(LANGUAGE_MODELS, data__separate_documents=(True,))) | _one_of("file", "line"),
    )
    """A document of a plain text file: the whole file, or each line."""
    separate_documents: bool = field(default=False, metadata=_for(LANGUAGE_MODELS))
    """Separate documents: each ends with an end token, after which the state is reset."""
    season: int = field(
        default=0, metadata=_for(FORECASTS) | _between(0, 10_000_000, "365 for days, 12 or 24 for months or hours")
    )
    """Forecasts: the season in steps. The error of repeating the last season is reported beside the model's."""
    errors: str = field(
        default="strict", metadata=_for(LANGUAGE_MODELS, OF_SEQUENCES, TRANSLATORS) | _one_of("strict", "replace")
    )
    """Invalid UTF-8: "strict" stops with an error, "replace" reads U+FFFD."""
    processes: int = field(default=0, metadata=_for(LANGUAGE_MODELS) | _between(0, 1024, "0 takes all cores"))
    """Language models: the number of processes that tokenise a long text. It does not change the result."""


@dataclass(frozen=True)
class TokenizerConfig:
    """Settings of the tokenizer."""

    kind: str = field(default="char", metadata=_for(ONE_TEXT) | _one_of("char", "word", "sentencepiece"))
    """The tokenizer: characters, words, or SentencePiece."""
    source_kind: str = field(
        default="auto", metadata=_for(TRANSLATORS) | _one_of("auto", "char", "word", "sentencepiece")
    )
    """Text to text: the tokenizer of the source texts. auto: words where the texts are made of few different words or
    symbols, each frequent; SentencePiece for long texts with blanks; else char."""
    target_kind: str = field(
        default="auto", metadata=_for(TRANSLATORS) | _one_of("auto", "char", "word", "sentencepiece")
    )
    """Text to text: the tokenizer of the target texts, as `source_kind`."""
    shared: bool = field(default=False, metadata=_for(TRANSLATORS))
    """Text to text: one tokenizer for both sides, of `source_kind`, learned from both."""
    vocabulary_size: int = field(default=0, metadata=_for(TEXT) | _between(0, 10_000_000, "0 lets the corpus decide"))
    """Maximum vocabulary size. 0: all characters or words of the text; for SentencePiece one piece for every 20
    characters of text, at most 8,000."""
    min_count: int = field(
        default=1,
        metadata=_for(_with(TEXT, tokenizer__kind=("char", "word")), off=1)
        | _between(1, 1_000_000, "1 keeps every character or word"),
    )
    """Char and word: minimum number of occurrences in the training text."""
    lowercase: bool = field(default=False, metadata=_for(_with(ONE_TEXT, tokenizer__kind=("word",)), off=False))
    """Word: convert text to lower case."""
    split: str = field(
        default="space", metadata=_for(_with(ONE_TEXT, tokenizer__kind=("word",))) | _one_of("space", "punctuation")
    )
    """Word: split at blanks, or also at punctuation and between Chinese characters."""
    model_type: str = field(
        default="unigram",
        metadata=_for(_with(ONE_TEXT, tokenizer__kind=("sentencepiece",)), TRANSLATORS) | _one_of("unigram", "bpe"),
    )
    """SentencePiece: the segmentation algorithm."""


@dataclass(frozen=True)
class ModelConfig:
    """Settings of the network: embedding, stacked simple recurrent layers, output."""

    hidden_dim: int = field(
        default=512, metadata=_for(EVERY_RUN) | _between(1, 65_536, "256 to 1024 suit most corpora")
    )
    """Number of units of each recurrent layer."""
    layers: int = field(default=2, metadata=_for(EVERY_RUN) | _between(1, 64, "1 to 3 suit most corpora"))
    """Number of recurrent layers."""
    embedding_dim: int = field(
        default=0,
        metadata=_for(LANGUAGE_MODELS, OF_SEQUENCES, TRANSLATORS, RECOGNIZERS)
        | _between(0, 65_536, "0 takes hidden_dim"),
    )
    """Size of the token embedding. Vectors: size of a dense ReLU layer before the first recurrent layer; 0: none."""
    activation: str = field(default="tanh", metadata=_for(EVERY_RUN) | _one_of("tanh", "relu", "linear"))
    """The activation f of the recurrent layers."""
    residual: bool = field(default=True, metadata=_for(_with(model__layers=Above(1)), off=False))
    """Residual connections from the second layer on."""
    normalization: str = field(default="none", metadata=_for(EVERY_RUN) | _one_of("none", "layer"))
    """Layer normalisation (Ba et al. 2016) of the output of each layer, never inside the recurrence."""
    tied: bool = field(default=False, metadata=_for(LANGUAGE_MODELS))
    """Use the embedding as the output matrix too (Press & Wolf 2017)."""
    softmax: str = field(default="full", metadata=_for(LANGUAGE_MODELS) | _one_of("full", "adaptive"))
    """Language models: full or adaptive softmax (Grave et al. 2017). With `tied`, rare words have smaller embeddings
    too (Baevski & Auli 2019)."""
    cutoffs: tuple[int, ...] = field(default=(), metadata=_for(_with(LANGUAGE_MODELS, model__softmax=("adaptive",))))
    """Adaptive softmax: the first id of each cluster of rare words. Empty: chosen from the vocabulary size."""
    dropout: float = field(
        default=0.0, metadata=_for(EVERY_RUN) | _between(0.0, 0.95, "0.2 to 0.5 for a corpus of a few MB")
    )
    """Dropout between the layers and before the output layer (Zaremba et al. 2014)."""
    input_dropout: float = field(
        default=0.0, metadata=_for(TEXT) | _between(0.0, 0.95, "0.2 to 0.4 is usual for words")
    )
    """Text: dropout of the embedded input tokens (Merity et al. 2018)."""
    variational: bool = field(
        default=False,
        metadata=_for(
            _with(Scope(("language model", "forecaster", "translator", "recognizer")), model__dropout=Above(0)),
            _with(TEXT, model__input_dropout=Above(0)),
            _with(OF_SEQUENCES, model__dropout=Above(0), model__layers=Above(1)),
        ),
    )
    """Variational dropout: one mask for all steps of a sequence (Gal & Ghahramani 2016)."""
    embedding_dropout: float = field(default=0.0, metadata=_for(TEXT) | _between(0.0, 0.95, "0.1 is usual for words"))
    """Embedding dropout: whole tokens of the vocabulary are dropped (Gal & Ghahramani 2016)."""
    init_from: str = field(default="", metadata=_for(LANGUAGE_MODELS, OF_SEQUENCES, FORECASTS))
    """Start from another model, a run or a float32 bundle (``--from``). A model of the same task learns on: it keeps
    tokenizer, layers, output layer and classes, and new characters, words and classes are added. Of a model of another
    task with the same input, tokenizer, embedding and layers are taken."""
    bidirectional: bool = field(default=False, metadata=_for(OF_SEQUENCES, TRANSLATORS, RECOGNIZERS))
    """Classification, regression, recognition and the encoder of text to text: add a second stack of layers that reads
    backwards."""
    segment_length: int = field(
        default=0, metadata=_for(CLASSIFIERS_OF_TEXT) | _between(0, 1_000_000, "32 to 128 suit most texts")
    )
    """Classification: read a text in parallel segments of this many tokens, each from a zero state (Johnson & Zhang
    2016). 0: one segment."""
    input_ngrams: int = field(
        default=0, metadata=_for(TEXT) | _between(0, 5, "4 suits characters; 0 reads tokens alone")
    )
    """Input n-grams: each input is the vector of the token plus the vectors of the n-grams of 2 to this many tokens
    that end at it. 1: off. 0: off, or as in the model that `init_from` names."""
    ngram_rows: int = field(
        default=32_768,
        metadata=_for(_with(TEXT, model__input_ngrams=Above(1))) | _between(1, 10_000_000, "32768 is usual"),
    )
    """Rows of the table of input n-grams. A hash chooses the row of an n-gram, so several n-grams may share one."""
    ngram_dropout: float = field(
        default=0.0,
        metadata=_for(_with(TEXT, model__input_ngrams=Above(1)), off=0.0)
        | _between(0.0, 0.95, "0.2 to 0.5 for a corpus of a few MB"),
    )
    """Dropout of whole input n-grams, the same in all places of a batch."""
    min_count: int = field(
        default=1,
        metadata=_for(_with(CLASSIFIERS_OF_TEXT, model__init_from=("",)))
        | _between(1, 1_000_000, "2 is usual: the network learns little from a word that occurs once"),
    )
    """Classification: the network reads a token that occurs fewer times among the training texts as unknown. The direct
    path reads every token of the vocabulary."""
    direct_ngrams: int = field(
        default=0, metadata=_for(CLASSIFIERS_OF_TEXT) | _between(0, 5, "3 suits most texts; 0 is no direct path")
    )
    """Classification: a direct path from n-grams of up to this many tokens to the classes, fitted before the training
    and added to the network's output. One token less is tried too."""
    direct_rows: int = field(
        default=131_072,
        metadata=_for(_with(CLASSIFIERS_OF_TEXT, model__direct_ngrams=Above(0)))
        | _between(1, 10_000_000, "32768 makes a small file, at some cost"),
    )
    """Direct path: maximum number of n-grams. Those that separate the classes best are kept. In 8 bits an n-gram takes
    about 18 bytes of the bundle. Many classes lower the number: an n-gram has a weight for each."""
    recurrence: str = field(default="dense", metadata=_for(EVERY_RUN) | _one_of("dense", "diagonal", "rotation"))
    """The matrix U: dense; diagonal (IndRNN, Li et al. 2018); or rotations of pairs of units (a complex diagonal,
    Orvieto et al. 2023)."""
    recurrent_start: str = field(
        default="orthogonal",
        metadata=_for(_with(model__recurrence=("dense",), model__init_from=("",))) | _one_of("orthogonal", "identity"),
    )
    """Dense U: its initialisation (Saxe et al. 2014; Le et al. 2015)."""
    recurrent_scale: float = field(
        default=0.0,
        metadata=_for(_with(model__recurrence=("dense",), model__init_from=("",)))
        | _between(0.0, 10.0, "1 keeps what is remembered"),
    )
    """Dense U: scale of its initialisation. 0: 1, and less for ReLU."""
    max_excitation: float = field(
        default=0.0,
        metadata=_for(_with(model__recurrence=("dense",), model__activation=("relu",)), off=0.0)
        | _between(0.0, 100.0, "0.98 bounds the states"),
    )
    """Dense U with ReLU: the positive weights with which the last state excites a unit sum to at most so much, by
    construction. Below 1, states stay below the largest input / (1 - max_excitation) on texts of any length. 0 is no
    limit."""
    memory: float = field(
        default=100.0,
        metadata=_for(_with(model__recurrence=("diagonal", "rotation")), FORECASTS)
        | _between(1.0, 1e9, "about the length of what belongs together"),
    )
    """Diagonal U and rotations: at initialisation, the time constants of the units are 1 to `memory` steps. No unit
    ever grows."""
    mixing: str = field(default="none", metadata=_for(EVERY_RUN) | _one_of("none", "relu", "glu"))
    """The output of a layer: its state, or o_t = g(V h_t + c) with ReLU or a gated linear unit (Dauphin et al.
    2017)."""
    stride: int = field(
        default=1, metadata=_for(OF_VECTORS) | _between(1, 1_000, "4 suits a sequence of hundreds of single values")
    )
    """Vectors: temporal subsampling. The layers above the first read every stride-th state (after El Hihi & Bengio
    1996)."""
    frame_stack: int = field(
        default=1, metadata=_for(RECOGNIZERS) | _between(1, 16, "2 to 4 suit speech: 20 to 40 ms a step")
    )
    """Recognition: consecutive frames of a recording that are joined to one step of the network (Sak et al. 2015). A
    recording needs a step for each character of its transcript, and one more between two equal characters."""
    cepstra: int = field(
        default=0, metadata=_for(AUDIO, off=0) | _between(0, 64, "13 is usual, 0 reads the mel energies")
    )
    """Recordings: the number of cepstral coefficients of a frame (Davis & Mermelstein 1980). The network reads these
    and their slopes over 5 frames (Furui 1986), which differ less between voices than the mel energies. 0: it reads the
    mel energies."""
    pooling: str = field(default="all", metadata=_for(OF_SEQUENCES) | _one_of("all", "mean", "last"))
    """Classification and regression: pooling over time: maximum and mean of the states with the mean input (all),
    the mean state, or the last state."""
    horizon: int = field(default=1, metadata=_for(FORECASTS) | _between(1, 10_000, "1 to 30 are usual"))
    """Forecasts: the horizon, the number of steps predicted at each step."""
    weight_drop: float = field(
        default=0.0,
        metadata=_for(_with(model__recurrence=("dense",))) | _between(0.0, 0.95, "0.1 to 0.5 for a small corpus"),
    )
    """DropConnect on the recurrent matrix U, one mask a batch (Merity et al. 2018)."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop."""

    epochs: float = field(
        default=0.0, metadata=_for(EVERY_RUN) | _between(0.0, 1e6, "10 to 20 for a corpus of a few MB")
    )
    """Epochs. 0: chosen from the size of the data: 10 for a language model, up to 40 for a short text; 4 for
    classification, up to 40 for fewer than 12,000 texts; 300 steps for a forecast; 20,000 steps for text to
    text in 10 to 40 epochs; 2,000 steps for recognition in 10 to 100 epochs."""
    batch_size: int = field(default=64, metadata=_for(EVERY_RUN) | _between(1, 65_536, "64 is usual"))
    """Batch size. The default is smaller for small data."""
    sequence_length: int = field(
        default=128, metadata=_for(LANGUAGE_MODELS, FORECASTS) | _between(1, 1_000_000, "64 to 256 are usual")
    )
    """Length of truncated backpropagation through time; the state is carried over. The default is shorter for small
    data."""
    state_reset: float = field(
        default=0.02, metadata=_for(LANGUAGE_MODELS, off=0.0) | _between(0.0, 1.0, "0.02 is usual")
    )
    """Language models: share of the streams of text, drawn at each step, whose state begins at zero again, so that the
    model is good from the first token of a text on."""
    learning_rate: float = field(
        default=2e-3, metadata=_for(EVERY_RUN) | _between(1e-9, 10.0, "0.002 for 512 units, 0.001 for 1024")
    )
    """Learning rate after the warm-up."""
    optimizer: str = field(default="adamw", metadata=_for(EVERY_RUN) | _one_of("adamw", "rmsprop"))
    """AdamW (Loshchilov & Hutter 2019), or RMSprop (Hinton 2012)."""
    schedule: str = field(default="cosine", metadata=_for(EVERY_RUN) | _one_of("cosine", "constant"))
    """Learning-rate schedule after the warm-up: cosine decay to zero, or constant."""
    warmup_steps: int = field(default=100, metadata=_for(EVERY_RUN) | _between(0, 10_000_000, "100 is usual"))
    """Steps over which the learning rate rises from zero."""
    weight_decay: float = field(
        default=0.01, metadata=_for(_with(train__optimizer=("adamw",)), off=0.0) | _between(0.0, 10.0, "0.01 is usual")
    )
    """AdamW: decoupled weight decay of matrices."""
    beta_2: float = field(
        default=0.99, metadata=_for(_with(train__optimizer=("adamw",))) | _between(0.0, 0.999999, "0.99 to 0.999")
    )
    """AdamW: decay of the mean of squared gradients."""
    gradient_clip: float = field(default=1.0, metadata=_for(EVERY_RUN) | _between(1e-9, 1e9, "1.0 is usual"))
    """Maximum norm of the gradient (Pascanu et al. 2013)."""
    precision: str = field(default="float32", metadata=_for(EVERY_RUN) | _one_of("float32", "bfloat16"))
    """Precision of matrix products and stored activations. Weights, the carried state and sums stay float32."""
    recompute: int = field(
        default=0, metadata=_for(LANGUAGE_MODELS) | _between(0, 1_000_000, "128 suits sequences of thousands of steps")
    )
    """Gradient checkpointing: store the state every `recompute` steps and recompute the rest: sequences of any
    length in bounded memory, for another forward pass. Must divide sequence_length. 0: off."""
    evaluations: int = field(default=10, metadata=_for(EVERY_RUN) | _between(1, 100_000, "10 evaluations over the run"))
    """Number of evaluations on held-out data, evenly over the run; the last is at its end."""
    patience: int = field(default=0, metadata=_for(EVERY_RUN) | _between(0, 100_000, "0 never stops early"))
    """Early stopping: evaluations without a better held-out loss. 0: off."""
    checkpoint_seconds: float = field(
        default=60.0, metadata=_for(EVERY_RUN) | _between(0.0, 1e9, "60 loses a minute at most")
    )
    """Seconds between two checkpoints."""
    label_smoothing: float = field(default=0.1, metadata=_for(TRANSLATORS) | _between(0.0, 0.9, "0.1 is usual"))
    """Text to text: the share of the target probability that is spread over the vocabulary (Szegedy et al. 2016)."""
    augment: bool = field(default=True, metadata=_for(AUDIO, off=True))
    """Recordings: each time one is trained on, its speed, voice, level and background are changed at random, and parts
    are masked (after Park et al. 2019)."""
    class_weights: str = field(
        default="none", metadata=_for(_with(CLASSIFIERS, task=("classification",))) | _one_of("none", "balanced")
    )
    """Classification: "balanced" weights classes inversely to their frequency."""
    sample_length: int = field(
        default=200, metadata=_for(LANGUAGE_MODELS, off=0) | _between(0, 100_000, "0 writes no sample")
    )
    """Length of the sample text at each evaluation, in tokens. 0: none."""
    prompt: str = field(default="", metadata=_for(LANGUAGE_MODELS))
    """Prompt of the sample text."""


@dataclass(frozen=True)
class Config:
    """All settings of a training run."""

    task: str = field(default="language_model", metadata=_for(EVERY_RUN))
    """A task of `textrnn.training.tasks`."""
    seed: int = field(default=1, metadata=_for(EVERY_RUN) | _between(0, 2**31 - 1, "any whole number"))
    """Seed of initialisation, order of the data, and dropout."""
    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as dictionaries and lists that JSON can encode; `build` reads them back."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]


ARCHITECTURE = (
    "hidden_dim",
    "layers",
    "embedding_dim",
    "activation",
    "max_excitation",
    "recurrence",
    "memory",
    "mixing",
    "residual",
    "normalization",
)
"""Settings that a run copies from the model that it starts from, in addition to the tokenizer."""
STRUCTURE = (
    "input_ngrams",
    "ngram_rows",
    "tied",
    "softmax",
    "cutoffs",
    "bidirectional",
    "segment_length",
    "pooling",
    "stride",
    "cepstra",
    "horizon",
)
"""Further settings that a run copies from a model of its own task."""
READING = ("text", "label", "label_names", "label_separator", "values", "steps", "document", "separate_documents")
"""Settings of the data that a run copies from a model of its own task where the user leaves the default."""


AUDIO_READING = ("sample_rate", "mel_bins", "recording")
"""Settings of the data with which a bundle's model reads recordings."""


def data_of_bundle(runtime: Mapping[str, Any]) -> DataConfig:
    """Return the data settings with which a bundle's model reads sources, from the runtime block of its manifest."""
    sources = runtime["sources"]
    others = {name: runtime[name] for name in ("steps", "label_separator", "target") if name in runtime}
    if "audio" in runtime:
        others |= {"reads": "audio", **{name: runtime["audio"][name] for name in AUDIO_READING}}
    return DataConfig(
        text=sources["text"],
        label=sources["label"],
        label_names=tuple(sources["label_names"]),
        values=tuple(sources["values"]),
        document=sources["document"],
        separate_documents=sources["separate_documents"],
        season=sources["season"],
        errors=sources["errors"],
        **others,
    )


def settings_of_bundle(cls: type[T], section: Mapping[str, Any], prefix: str) -> T:
    """Return the settings in a section of a manifest's runtime block.

    Unknown settings are ignored. Missing settings have their defaults.

    Raises:
        UserError: a value has the wrong type or is out of its range.
    """
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return build(cls, {name: value for name, value in section.items() if name in known}, prefix)


def require_consistent(config: Config) -> None:
    """Raise a UserError if two settings contradict each other."""
    model = config.model
    tokens = config.tokenizer.model_type if config.tokenizer.kind == "sentencepiece" else config.tokenizer.kind
    if model.softmax == "adaptive" and tokens in ("char", "bpe"):
        raise UserError(
            "model.softmax=adaptive needs frequent tokens first, as words and unigram pieces are, the tokenizer was: "
            f"{tokens}; set tokenizer.kind=word"
        )
    if any(low >= high for low, high in itertools.pairwise((0, *model.cutoffs))):
        raise UserError(f"model.cutoffs must rise from above 0, were: {list(model.cutoffs)}; 2000 and 10000 are usual")
    if model.pooling == "last" and model.segment_length:
        raise UserError(
            f"model.pooling=last reads a text as one, segment_length was: {model.segment_length}; set it to 0"
        )
    if model.input_ngrams - 1 > model.hidden_dim:  # the state holds the tokens before
        raise UserError(
            f"model.input_ngrams must be {model.hidden_dim + 1} at most with model.hidden_dim={model.hidden_dim}, was: "
            f"{model.input_ngrams}; lower it"
        )
    if config.data.mix and not model.init_from:
        raise UserError(
            f"data.mix is for a run that starts from a model, which model.init_from names, was: {config.data.mix[0]}; "
            "add it to the sources"
        )
    if model.cepstra > config.data.mel_bins:
        raise UserError(
            f"model.cepstra must be {config.data.mel_bins} at most with data.mel_bins={config.data.mel_bins}, was: "
            f"{model.cepstra}; lower it"
        )
    if model.recurrence == "rotation" and model.hidden_dim % 2:
        raise UserError(f"rotations pair units, model.hidden_dim was: {model.hidden_dim}; give an even number")


def require_applicable(config: Config, default: Config, model: str) -> None:
    """Raise a UserError if a setting has no effect: it differs from the default, and the run is out of its scope.

    Args:
        config: configuration of the run.
        default: configuration with the default values, which are always allowed.
        model: kind of model that the run trains, one of `MODELS`.
    """
    for key, metadata in settings().items():
        value, scopes = value_of(config, key), metadata["scopes"]
        if value in (value_of(default, key), metadata.get("off")):
            continue
        within = [scope.unmet(config) for scope in scopes if scope.has(model, config)]
        if [] in within:
            continue
        if within:
            given = "with " + " and ".join(f"{other}={_shown(value_of(config, other))}" for other in within[0])
        else:
            inputs = "" if (model,) in _OF_ONE_INPUT else f" of {config.data.reads}"
            given = f"for a {model}{inputs}"
        raise UserError(
            f"{key} applies to {', or to '.join(map(str, scopes))}, was: {_shown(value)} {given}; leave it out"
        )


def settings() -> dict[str, Mapping[str, Any]]:
    """Return the metadata of all settings by key: ``scopes``, and ``range`` or ``choices`` if it has any."""
    found: dict[str, Mapping[str, Any]] = {}
    for each in dataclasses.fields(Config):
        if dataclasses.is_dataclass(each.default):
            found |= {f"{each.name}.{inner.name}": inner.metadata for inner in dataclasses.fields(each.default)}
        else:
            found[each.name] = each.metadata
    return found


def value_of(config: Config, key: str) -> Any:
    """Return the value of a setting by its key, such as ``model.layers``."""
    section, _, name = key.rpartition(".")
    return getattr(getattr(config, section) if section else config, name)


def build(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Build a dataclass of settings from nested dictionaries. Missing settings have their defaults.

    Args:
        cls: `Config` or one of its sections.
        values: values by name.
        prefix: name of the section and a dot, for messages.

    Raises:
        UserError: a key is unknown (the message names the nearest one), or a value has the wrong type or is out of its
            range.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in fields:
            section = difflib.get_close_matches(name, fields, 1, 0.6) if isinstance(value, Mapping) else []
            raise UserError(f"unknown config key: {key}; did you mean {section[0] if section else _nearest_key(key)}?")
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                nearest = _nearest_key(key)
                raise UserError(
                    f"{key} is a section of settings, was: {value!r}; set one of its keys, such as {nearest}"
                )
            arguments[name] = build(cast("type[Any]", hint), value, f"{key}.")
        else:
            arguments[name] = _checked(key, value, hint, fields[name].metadata)
    return cls(**arguments)


def _checked(key: str, value: Any, hint: Any, metadata: Mapping[str, Any]) -> Any:
    if get_origin(hint) is tuple:
        items = [value] if isinstance(value, (str, int)) else value
        of = get_args(hint)[0]
        if not isinstance(items, (list, tuple)) or not all(type(item) is of for item in items):
            what = "a string or a list of strings" if of is str else "a list of whole numbers"
            raise UserError(f"{key} must be {what}, was: {value!r}")
        return tuple(items)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(str(value))  # from its digits: a number that is too large becomes infinite, no OverflowError
    if "column" in metadata and type(value) is int:
        value = str(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{key} must be of type {hint.__name__}, was: {value!r}")
    if "range" in metadata:
        low, high = metadata["range"]
        if not low <= value <= high:
            raise UserError(f"{key} must be between {low:g} and {high:g}, was: {value!r}; {metadata['hint']}")
    if "choices" in metadata and value not in metadata["choices"]:
        near = difflib.get_close_matches(value, metadata["choices"], 1, 0.5)
        hint_text = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{key} must be one of {', '.join(metadata['choices'])}, was: {value!r}{hint_text}")
    return value


def _keys(cls: Any, prefix: str = "") -> list[str]:
    keys = []
    for name, hint in get_type_hints(cls).items():
        keys += _keys(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [prefix + name]
    return keys


def _nearest_key(key: str) -> str:
    """Return the known key that is most similar: by the last word in any section, else by the whole path."""
    keys = _keys(Config)
    by_name = {k.rpartition(".")[2]: k for k in keys}
    near = difflib.get_close_matches(key.rpartition(".")[2], by_name, 1, 0.6)
    return by_name[near[0]] if near else difflib.get_close_matches(key, keys, 1, 0.0)[0]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value
