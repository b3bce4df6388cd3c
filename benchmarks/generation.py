"""What a written token costs: text in to text out, beside the bare graph and beside other ways to write.

    python benchmarks/generation.py [--units N] [--layers N ...] [--vocabulary N] [--count N] [--tokens N] [--json FILE]

One core, one thread for every candidate, run in turn; medians in microseconds a token of each text. The networks are
untrained. `bare graph` is onnxruntime on the step graph with ids and state fed back, nothing drawn and no text made;
`bare graph, bound` the same through arrays bound once. `filters` are top_k 20 and top_p 0.9, in the graph of the bundle
and, as for bundles without it, in numpy. Of the peers, `sliding window` is textgenrnn's way: Keras
predicts over the last 40 characters for every character. The peers compute in float32 and draw with temperature 1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# One thread for every candidate, said before any of them is loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"

import numpy as np
from measure import alternate, median_rows, peer, print_table, write_json
from random_bundle import Weights, bare_session, keras_weights, random_bundle, random_weights

import textrnn
from textrnn.bundle import Bundle
from textrnn.tokenizers import END_ID

FILTERS = {"top_k": 20, "top_p": 0.9}
WINDOW = 40
WINDOW_TOKENS = 8  # of the sliding window, which takes a thousand times longer
Candidate = tuple[Callable[[], object], int]
"""What to run, and how many tokens of each text it writes."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--vocabulary", type=int, default=85, help="85 is 65 characters and the special tokens")
    parser.add_argument("--count", type=int, default=64, help="texts written side by side, beside one alone")
    parser.add_argument("--tokens", type=int, default=200, help="of each text")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each table")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for layers in arguments.layers:
            sizes = (arguments.units, layers, arguments.vocabulary)
            bundles = {
                precision: random_bundle(Path(name) / f"{layers}{precision}", *sizes, quantize)
                for precision, quantize in (("float32", None), ("int8", "int8"))
            }
            weights = random_weights(*sizes)
            for count in dict.fromkeys([1, arguments.count]):
                candidates = {}
                for precision, bundle in bundles.items():
                    candidates |= ours(bundle, precision, count, arguments.tokens)
                if count == 1:
                    candidates |= peers(weights, layers, arguments.tokens)
                found = table(candidates, arguments.seconds)
                print(f"\n{arguments.units} units, {layers} layers, {count} texts")
                print_table(found)
                rows += [{"layers": layers, "texts": count, **row} for row in found]
    if arguments.json:
        facts = {name: getattr(arguments, name) for name in ("units", "vocabulary", "tokens")}
        write_json(arguments.json, "generation", rows, **facts)
    return 0


def table(candidates: dict[str, Candidate], seconds: float) -> list[dict[str, Any]]:
    """Microseconds a token, against the bare graph of the same precision and against our text in 8 bits."""
    times = alternate({name: run for name, (run, _) in candidates.items()}, seconds)
    cost = {row["candidate"]: 1e3 * row["milliseconds"] / candidates[row["candidate"]][1] for row in median_rows(times)}
    rows = []
    for name, microseconds in cost.items():
        row = {"candidate": name, "microseconds_a_token": microseconds}
        if (bare := f"bare graph, {name.split(', ')[-1]}") in cost:
            row["of_bare_graph"] = microseconds / cost[bare]
        rows.append({**row, "of_textrnn_int8": microseconds / cost["textrnn, int8"], "runs": len(times[name])})
    return rows


def ours(bundle: Bundle, precision: str, count: int, tokens: int) -> dict[str, Candidate]:
    """Text of the product, and the bare step graph of the same bundle."""
    model = textrnn.load(bundle.folder)
    in_numpy = textrnn.load(bundle.folder)
    in_numpy.has_filters = False

    def writing(model: Any, **options: Any) -> Callable[[], object]:
        if count == 1:
            return partial(model.generate, length=tokens, seed=1, **options)
        return partial(model.samples, count=count, length=tokens, seed=1, **options)

    session = bare_session(bundle.path(bundle.manifest.graphs["step"].file))
    state = model.initial_state(count)
    ids = np.full(count, model.vocabulary_size - 1, np.int32)

    def bare() -> None:
        memory = state
        for _ in range(tokens):
            _, memory = session.run(["logits", "next_state"], {"ids": ids, "state": memory})

    logits, states = np.empty((count, model.vocabulary_size), np.float32), (state.copy(), state.copy())
    bindings = []
    for source, target in (states, states[::-1]):
        binding = session.io_binding()
        for name, array in (("ids", ids), ("state", source)):
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in (("logits", logits), ("next_state", target)):
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        bindings.append(binding)

    def bound(arrays: tuple[Any, ...]) -> None:  # holds the arrays, of which the bindings know the addresses only
        for position in range(tokens):
            session.run_with_iobinding(bindings[position % 2])

    return {
        f"bare graph, {precision}": (bare, tokens),
        f"bare graph, bound, {precision}": (partial(bound, (ids, logits, *states)), tokens),
        f"textrnn, {precision}": (writing(model), tokens),
        f"textrnn, filters, {precision}": (writing(model, **FILTERS), tokens),
        f"textrnn, filters in numpy, {precision}": (writing(in_numpy, **FILTERS), tokens),
    }


def peers(weights: Weights, layers: int, tokens: int) -> dict[str, Candidate]:
    """The same network in other hands, one text; what is not installed is left out."""
    candidates: dict[str, Candidate] = {"numpy loop": (numpy_loop(weights, layers, tokens), tokens)}
    if torch := peer("torch"):
        candidates["torch loop"] = (torch_loop(torch, weights, layers, tokens), tokens)
    if keras := peer("keras"):
        candidates["Keras, sliding window"] = (sliding_window(keras, weights, layers, WINDOW_TOKENS), WINDOW_TOKENS)
    return candidates


def numpy_loop(weights: Weights, layers: int, tokens: int) -> Callable[[], list[int]]:
    """As lean as numpy allows: the first projection looked up, one row at a time."""
    table = weights["embedding"] @ weights["kernel_0"] + weights["bias_0"]
    random = np.random.default_rng(1)

    def run() -> list[int]:
        states = [np.zeros(table.shape[1], np.float32)] * layers
        token, written = END_ID, []
        for _ in range(tokens):
            projected = table[token]
            for layer in range(layers):
                if layer:
                    projected = states[layer - 1] @ weights[f"kernel_{layer}"] + weights[f"bias_{layer}"]
                states[layer] = np.tanh(projected + states[layer] @ weights[f"recurrent_kernel_{layer}"])
            logits = states[-1] @ weights["output_kernel"] + weights["output_bias"]
            cumulative = np.exp(logits - logits.max()).cumsum()
            token = int(cumulative.searchsorted(random.random() * cumulative[-1], side="right"))
            written.append(token)
        return written

    return run


def torch_loop(torch: Any, weights: Weights, layers: int, tokens: int) -> Callable[[], list[int]]:
    """nn.RNN on one token at a time, Linear, softmax, multinomial."""
    torch.set_num_threads(1)
    vocabulary_size, units = weights["embedding"].shape
    embedding = torch.nn.Embedding(vocabulary_size, units)
    rnn = torch.nn.RNN(units, units, num_layers=layers, batch_first=True)
    output = torch.nn.Linear(units, vocabulary_size)
    with torch.no_grad():
        embedding.weight.copy_(torch.from_numpy(weights["embedding"]))
        output.weight.copy_(torch.from_numpy(weights["output_kernel"].T))
        output.bias.copy_(torch.from_numpy(weights["output_bias"]))
        for layer in range(layers):
            getattr(rnn, f"weight_ih_l{layer}").copy_(torch.from_numpy(weights[f"kernel_{layer}"].T))
            getattr(rnn, f"weight_hh_l{layer}").copy_(torch.from_numpy(weights[f"recurrent_kernel_{layer}"].T))

    def run() -> list[int]:
        with torch.no_grad():
            token, state, written = torch.tensor([[END_ID]]), None, []
            for _ in range(tokens):
                hidden, state = rnn(embedding(token), state)
                token = torch.multinomial(torch.softmax(output(hidden[:, -1]), dim=-1), 1)
                written.append(int(token))
        return written

    return run


def sliding_window(keras: Any, weights: Weights, layers: int, tokens: int) -> Callable[[], list[int]]:
    """Keras predicts what follows a window of characters, which then moves on by one."""
    vocabulary_size, units = weights["embedding"].shape
    inputs = keras.Input((WINDOW,), dtype="int32")
    hidden = keras.layers.Embedding(vocabulary_size, units)(inputs)
    for layer in range(layers):
        hidden = keras.layers.SimpleRNN(units, return_sequences=layer + 1 < layers)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(vocabulary_size, activation="softmax")(hidden))
    model.set_weights(keras_weights(weights, layers))
    random = np.random.default_rng(1)

    def run() -> list[int]:
        written = [END_ID] * WINDOW
        for _ in range(tokens):
            probs = model.predict(np.array([written[-WINDOW:]], np.int32), verbose=0)[0].astype(np.float64)
            written.append(int(random.choice(vocabulary_size, p=probs / probs.sum())))
        return written[WINDOW:]

    return run


if __name__ == "__main__":
    raise SystemExit(main())
