"""Runtime of a language model: four graphs over the same weights.

    step      ids int32 (batch,), state float32 (layers, batch, hidden)
              -> logits float32 (batch, vocabulary), next_state of the shape of state
    sequence  ids int32 (batch, time), state
              -> logits float32 (batch, time, vocabulary), next_state
    generate  ids int32 (batch,), state, given int32 (steps, batch), uniforms float64 (steps, batch),
              temperature float64 (batch,)
              -> tokens int32 (steps, batch), next_state
    filtered  the inputs of generate, top_k int32 (batch,), top_p float64 (batch,), min_p float64 (batch,)
              -> tokens int32 (steps, batch), next_state

The generate and filtered graphs draw the same tokens as `textrnn.sampling` draws from the logits of the step graph. For
beams and the repetition penalty, the step graph is called for each token. Older bundles have no filtered graph: there,
top-k, top-p and min-p use the step graph too. In the oldest, the temperature of the generate graph is one value,
``()``, for all texts of a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from textrnn import generation
from textrnn.bundle import Bundle
from textrnn.errors import UserError, require_whole_number
from textrnn.generation import GenerationOptions, State
from textrnn.runtime.sessions import OfBundle, Sessions, checked_ids, checked_state, load_bundled_tokenizer
from textrnn.sampling import SamplingOptions, log_softmax
from textrnn.scoring import Scorer, TextMetrics, text_size
from textrnn.tokenizers import END_ID
from textrnn.tokenizers.base import check_text

# The sequence graph reads prompts of at least this many tokens, even if it is not loaded yet. Compared with the
# generate graph, it saves its loading time on prompts of 16 tokens (2 layers of 512 units, vocabulary of 5,000,
# float32) to 460 tokens (vocabulary of 69, int8); benchmarks/scoring.py measures it.
PREFILL_FROM = 64
FILTERS = {"top_k", "top_p", "min_p"}
PREFILL_CHUNK_LOGITS = 1 << 22  # maximum logits in memory while a prompt is read, 16 MB


class LanguageModel(OfBundle):
    """Language model of a bundle: generates text, scores text and predicts the next token.

    Every text begins with the bundle's start token and the zero state. Results may differ in the last digit between
    batch sizes.

    Attributes:
        manifest: manifest of the bundle.
        tokenizer: tokenizer between text and ids.
        vocabulary_size: number of ids.
        start_id: token before every text.
        never_drawn: ids that are never drawn, int32 ``(tokens,)``.
        has_temperatures: whether texts of one call of the generate graph may have different temperatures.
        has_filters: whether the bundle has the filtered graph.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        self._sessions = Sessions(bundle, threads)
        self._layers, _, self._hidden = self._state_shape()
        # The generate graph is loaded now, so that a broken bundle fails now. The others are loaded at their first use.
        self._sessions("generate")
        self.tokenizer = load_bundled_tokenizer(bundle)
        self.vocabulary_size = self.tokenizer.vocabulary_size
        declared = self.manifest.graphs["step"].outputs[0].shape[-1]
        start_id = self.manifest.start_id
        if declared != self.vocabulary_size or start_id is None or not 0 <= start_id < self.vocabulary_size:
            raise UserError(
                f"tokenizer and graph of a bundle must belong together, {bundle.folder} has {self.vocabulary_size} "
                f"tokens, {declared} logits and start_id {start_id}; export it again"
            )
        self.start_id = start_id
        self.never_drawn = self._read_never_drawn()
        self.has_temperatures = self._has_temperatures()
        self.has_filters = "filtered" in self.manifest.graphs

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 200,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        beams: int = 1,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
    ) -> str:
        """Generate a continuation of `prompt`, without the prompt itself.

        >>> model = textrnn.load("runs/demo")
        >>> model.generate("the cat", length=30, seed=1) == model.generate("the cat", length=30, seed=1)
        True
        >>> model.generate("the cat", length=30, temperature=0, stop=".")
        '...'

        Args:
            prompt: text to continue. Unknown characters are allowed.
            length: maximum number of tokens to generate; the text may end earlier.
            temperature: sampling temperature: lower is more predictable, higher more random; 0 is greedy.
            top_k: sample from the k most probable tokens; 0 from all.
            top_p: sample from the fewest tokens whose probabilities sum to this; 1 from all.
            min_p: drop tokens below this fraction of the top token's probability.
            repetition_penalty: above 1, tokens that are already in the text become less probable.
            beams: above 1, beam search with this many beams instead of sampling.
            stop: a string or strings that end the text; they are not part of it.
            seed: random seed: the same seed gives the same text. None: a new one each time.

        Raises:
            UserError: a value is out of its range.
        """
        options = {
            "length": length,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "beams": beams,
            "stop": stop,
            "seed": seed,
        }
        return "".join(piece for _, piece in self._write(prompt, 1, options, whole=True))

    def stream(self, prompt: str = "", **options: Any) -> Iterator[str]:
        """Yield the text of `generate` in pieces as it is generated, with the same options.

        >>> model = textrnn.load("runs/demo")
        >>> pieces = list(model.stream("the cat", length=30, seed=1))
        >>> "".join(pieces) == model.generate("the cat", length=30, seed=1)
        True

        A piece consists of whole characters and is final. Beam search yields its text as one piece at the end.
        """
        return (piece for _, piece in self._write(prompt, 1, options))

    def samples(self, prompt: str = "", *, count: int, **options: Any) -> list[str]:
        """Generate `count` texts as one batch, with the options of `generate`.

        >>> len(textrnn.load("runs/demo").samples("the cat", count=3, length=10))
        3

        The first text uses the same random numbers as `generate` with the same seed.
        """
        pieces = self._write(prompt, count, options, whole=True)
        texts: list[list[str]] = [[] for _ in range(count)]
        for index, piece in pieces:
            texts[index].append(piece)
        return ["".join(pieces) for pieces in texts]

    def score(self, text: str) -> TextMetrics:
        """Measure how well the model predicts a text. Each token counts once; the first follows the start token.

        >>> model = textrnn.load("runs/demo")
        >>> model.score("the cat sat").nats_per_token < model.score("tcatha t es").nats_per_token
        True
        """
        ids = self.tokenizer.encode(text)
        nats = -float(self.token_log_probs(ids).sum())
        return TextMetrics.of(nats, len(ids), text_size(self.tokenizer, text))

    def token_log_probs(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the log probability in nats of each of the ids ``(tokens,)``, float64 ``(tokens,)``.

        Each is conditioned on the start token and the ids before it. The ids are read in chunks with the state carried
        over, so that the logits of a long text do not fill the memory.
        """
        ids = checked_ids(ids, self.vocabulary_size, 1)
        return -Scorer(self.read, self.vocabulary_size, self.start_id).add(ids)

    def next_probs(self, text: str, top: int = 10) -> dict[str, float]:
        """Return the `top` most probable tokens after a text with their probabilities, the highest first.

        >>> list(textrnn.load("runs/demo").next_probs("the c", top=2))
        ['a', ...]
        """
        require_whole_number("top", top, 1, "give a number of tokens")
        ids = np.concatenate([[self.start_id], self.tokenizer.encode(text)])
        logits, _ = self._prefill(ids[None], self.initial_state(1))
        probs = np.exp(log_softmax(logits)[0])
        best = np.argsort(-probs, kind="stable")[:top]
        return {self.tokenizer.token_text(int(token)): float(probs[token]) for token in best}

    def initial_state(self, batch: int) -> State:
        """Return the state before the first token: zeros, float32 ``(layers, batch, hidden)``."""
        return np.zeros((self._layers, batch, self._hidden), np.float32)

    def step(self, ids: NDArray[np.integer[Any]], state: State) -> tuple[NDArray[np.float32], State]:
        """Read one token of each sequence in a batch.

        Args:
            ids: token ids ``(batch,)``.
            state: float32 ``(layers, batch, hidden)``.

        Returns:
            Logits of the next token, float32 ``(batch, vocabulary)``, and the next state.

        Raises:
            UserError: an id is not in the vocabulary, or the state has another shape.
        """
        ids = checked_ids(ids, self.vocabulary_size, 1)
        state = checked_state(state, self.initial_state(len(ids)))
        logits, state = self._sessions("step").run(["logits", "next_state"], {"ids": ids, "state": state})
        return logits, state

    def read(self, ids: NDArray[np.integer[Any]], state: State | None = None) -> tuple[NDArray[np.float32], State]:
        """Read several tokens of each sequence in a batch, with the sequence graph.

        Args:
            ids: token ids ``(batch, time)``.
            state: float32 ``(layers, batch, hidden)``; None is the zero state.

        Returns:
            Logits after each token, float32 ``(batch, time, vocabulary)``, and the state after the last token.

        Raises:
            UserError: an id is not in the vocabulary, or the state has another shape.
        """
        ids = checked_ids(ids, self.vocabulary_size, 2)
        zero = self.initial_state(len(ids))
        state = zero if state is None else checked_state(state, zero)
        logits, state = self._sessions("sequence").run(["logits", "next_state"], {"ids": ids, "state": state})
        return logits, state

    def _write(
        self, prompt: str, count: int, options: dict[str, Any], whole: bool = False
    ) -> Iterator[tuple[int, str]]:
        """Check the options and return an iterator that generates the pieces."""
        checked = GenerationOptions(count=count, **options)
        check_text(prompt)
        state = self.initial_state(1)
        inside = self.graph_of(checked) != "step"
        return generation.generate(
            self.step if inside else _Stepper(self._sessions("step"), state, self.vocabulary_size),
            state,
            self.tokenizer,
            self.start_id,
            prompt,
            checked,
            self.never_drawn,
            prefill=self.remember,
            write=self._writer(checked) if inside else None,
            whole=whole,
        )

    def _writer(self, options: GenerationOptions) -> generation.Write:
        """Return the writer that draws each token inside the graph of these options."""

        def write(
            ids: NDArray[np.int32], state: State, uniforms: NDArray[np.float64], texts: Sequence[int]
        ) -> tuple[NDArray[np.int32], State]:
            return self.draw(ids, state, uniforms, [options] * len(ids))

        return write

    def graph_of(self, options: GenerationOptions) -> str:
        """Return the use of the graph that generates with these options: generate, filtered or step."""
        changed = {option.name for option in fields(SamplingOptions) if getattr(options, option.name) != option.default}
        changed.discard("temperature")
        if options.temperature == 0:
            changed -= FILTERS  # all keep the most probable token
        if options.beams > 1 or not changed <= FILTERS:
            return "step"
        if not changed:
            return "generate"
        return "filtered" if self.has_filters else "step"

    def draw(
        self,
        ids: NDArray[np.int32],
        state: State,
        uniforms: NDArray[np.float64],
        options: Sequence[GenerationOptions],
    ) -> tuple[NDArray[np.int32], State]:
        """Generate tokens of several texts with the generate or the filtered graph.

        Args:
            ids: ``(batch,)``, read first.
            state: the state before them, float32 ``(layers, batch, hidden)``.
            uniforms: ``(steps, batch)`` in [0, 1), one for each token.
            options: options of each text, all of one graph; with one temperature unless `has_temperatures`.

        Returns:
            Tokens, int32 ``(steps, batch)``, and the state, which does not include the last ones.

        Raises:
            UserError: the model is damaged.
        """
        given = np.full(uniforms.shape, -1, np.int32)
        tokens, state = self._run_drawing(self.graph_of(options[0]), ids, state, given, uniforms, options)
        if (tokens < END_ID).any():  # the graph returns such an id only if logits are NaN
            raise UserError("logits must be finite numbers, were not; the model is damaged, train it again")
        return tokens, state

    def remember(self, ids: NDArray[np.int32], state: State) -> State:
        """Return the state after ids ``(batch, time)``, from the graph that is faster for this length with its loading.

        The choice ignores which graphs are loaded already: they may differ in the last digit, and repeated calls must
        generate the same text.
        """
        if ids.shape[1] >= PREFILL_FROM:
            return self._prefill(ids, state)[1]
        given = np.roll(ids.T, -1, axis=0)  # the token after each id; the one after the last id is not read
        plain = [GenerationOptions()] * len(ids)
        return self._run_drawing("generate", ids[:, 0], state, given, np.zeros(given.shape), plain)[1]

    def _run_drawing(
        self,
        use: str,
        ids: NDArray[np.int32],
        state: State,
        given: NDArray[np.int32],
        uniforms: NDArray[np.float64],
        options: Sequence[GenerationOptions],
    ) -> tuple[NDArray[np.int32], State]:
        temperatures = np.array([each.temperature for each in options], np.float64)
        feeds = {
            "ids": ids,
            "state": state,
            "given": given,
            "uniforms": uniforms,
            "temperature": temperatures if self.has_temperatures or use != "generate" else np.array(temperatures.max()),
        }
        if use == "filtered":
            feeds["top_k"] = np.array([min(each.top_k, self.vocabulary_size) for each in options], np.int32)
            feeds["top_p"] = np.array([each.top_p for each in options], np.float64)
            feeds["min_p"] = np.array([each.min_p for each in options], np.float64)
        tokens, state = self._sessions(use).run(["tokens", "next_state"], feeds)
        return tokens, state

    def _prefill(self, ids: NDArray[np.integer[Any]], state: State) -> tuple[NDArray[np.float32], State]:
        """Return the logits after the last of ids ``(batch, time)`` and the state.

        The ids are read in chunks, so that memory does not grow with time.
        """
        chunk = max(1, PREFILL_CHUNK_LOGITS // self.vocabulary_size)
        for begin in range(0, ids.shape[1], chunk):
            logits, state = self.read(ids[:, begin : begin + chunk], state)
        return logits[:, -1], state

    def _read_never_drawn(self) -> NDArray[np.int32]:
        """Return the ids of `textrnn.generation.untrained` from the manifest."""
        listed = self.manifest.runtime["never_drawn"]
        ids = set(listed)
        if not generation.SPECIAL <= ids < set(range(self.vocabulary_size)):
            raise UserError(
                "the manifest's runtime.never_drawn must list ids, the special ones among them and not all of "
                f"{self.vocabulary_size}, {self._bundle.folder} has: {listed!r:.60}; export the bundle again"
            )
        return np.array(sorted(ids), np.int32)

    def _has_temperatures(self) -> bool:
        return any(tensor.name == "temperature" and tensor.shape for tensor in self.manifest.graphs["generate"].inputs)

    def _state_shape(self) -> tuple[int, str, int]:
        """Return the shape of the step graph's state: (layers, "batch", hidden)."""
        if lacking := {"step", "sequence", "generate"} - set(self.manifest.graphs):
            raise UserError(
                f"a language model must have a {min(lacking)} graph, {self._bundle.folder} has none; export it again"
            )
        inputs = self.manifest.graphs["step"].inputs
        shape = next((tensor.shape for tensor in inputs if tensor.name == "state"), ())
        layers, batch, hidden = shape if len(shape) == 3 else (0, 0, 0)
        if not (isinstance(layers, int) and isinstance(batch, str) and isinstance(hidden, int)):
            raise UserError(f'state must have the shape (layers, "batch", hidden), was: {shape}; export it again')
        return layers, batch, hidden


class _Stepper:
    """Step graph with preallocated, bound arrays for a batch of one, which halves the cost of a call.

    Later calls overwrite the results: the next call the logits, the call after it the state. Larger batches run as
    usual.
    """

    def __init__(self, session: onnxruntime.InferenceSession, state: State, vocabulary_size: int) -> None:
        layers, _, hidden = state.shape
        self._session = session
        self._ids = np.zeros(1, np.int32)
        self._logits = np.zeros((1, vocabulary_size), np.float32)
        self._states = (np.zeros((layers, 1, hidden), np.float32), np.zeros((layers, 1, hidden), np.float32))
        self._bindings = (self._bind(*self._states), self._bind(*self._states[::-1]))
        self._current = 0  # index of the state that the next call reads; the call writes the other state

    def _bind(self, state: State, next_state: State) -> onnxruntime.IOBinding:
        binding = self._session.io_binding()
        # The binding holds only addresses: the arrays must live as long as the binding.
        for name, array in (("ids", self._ids), ("state", state)):
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in (("logits", self._logits), ("next_state", next_state)):
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding

    def __call__(self, ids: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
        if len(ids) > 1:
            logits, next_state = self._session.run(["logits", "next_state"], {"ids": ids, "state": state})
            return logits, next_state
        self._ids[0] = ids[0]
        if state is not self._states[self._current]:
            self._states[self._current][...] = state
        self._session.run_with_iobinding(self._bindings[self._current])
        self._current = 1 - self._current
        return self._logits, self._states[self._current]
