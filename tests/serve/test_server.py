"""What clients get from a real server on the loopback: texts, labels, forecasts, scores, errors."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from spoken import speech, write_wav

import textrnn
from textrnn.errors import UserError

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from serve.running import GOLDEN, Running, eventually, running

CHARACTERS, WORDS, PIECES = (f"language-model-{kind}-float32" for kind in ("char", "word", "sentencepiece"))
INT8 = "language-model-char-int8"
TRANSLATOR = "text-to-text-float32"
LISTENER, RECOGNIZER = "audio-classifier-float32", "recognizer-float32"
MODELS = (
    CHARACTERS,
    WORDS,
    PIECES,
    INT8,
    "classifier-float32",
    "multilabel-classifier-float32",
    "vector-classifier-float32",
    "regressor-float32",
    "forecaster-float32",
    TRANSLATOR,
    LISTENER,
    RECOGNIZER,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(*MODELS) as server:
        yield server


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: textrnn.load(GOLDEN / name) for name in MODELS}


def test_a_server_says_what_it_serves(server: Running) -> None:
    assert server.get("/health").document == {"status": "ok"}
    assert [model["id"] for model in server.get("/v1/models").document["data"]] == list(MODELS)
    info = server.get("/info").document
    assert info["version"] == textrnn.__version__
    kinds = {model["name"]: model["kind"] for model in info["models"]}
    assert kinds[CHARACTERS] == "language_model"
    assert kinds["forecaster-float32"] == "forecaster"


def test_the_openapi_document_has_every_path_and_field(server: Running) -> None:
    document = server.get("/openapi.json").document
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method in methods:
            answer = server.get(path) if method == "get" else server.post(path, {})
            assert answer.status in (200, 422), path
    content = document["paths"]["/v1/completions"]["post"]["requestBody"]["content"]
    fields = content["application/json"]["schema"]["properties"]
    assert fields["max_tokens"] == {
        "type": "integer",
        "description": "maximum number of tokens",
        "minimum": 0,
        "default": 16,
    }


@pytest.mark.parametrize("model", [CHARACTERS, WORDS, PIECES, INT8])
def test_a_text_is_that_of_the_python_call(server: Running, models: dict[str, Any], model: str) -> None:
    answer = server.post("/v1/completions", {"model": model, "prompt": "the cat", "max_tokens": 60, "seed": 3})
    (choice,) = answer.document["choices"]
    assert choice["text"] == models[model].generate("the cat", length=60, seed=3)
    assert choice["finish_reason"] in ("length", "stop")
    assert answer.document["usage"]["completion_tokens"] <= 60


def test_several_texts_of_several_prompts_come_in_order(server: Running, models: dict[str, Any]) -> None:
    request = {"model": CHARACTERS, "prompt": ["the cat", "a dog"], "max_tokens": 40, "seed": 5, "n": 3}
    choices = server.post("/v1/completions", request).document["choices"]
    assert [choice["index"] for choice in choices] == list(range(6))
    expected = [*models[CHARACTERS].samples("the cat", count=3, length=40, seed=5)]
    expected += models[CHARACTERS].samples("a dog", count=3, length=40, seed=5)
    assert [choice["text"] for choice in choices] == expected


def test_token_ids_are_prompts_too(server: Running, models: dict[str, Any]) -> None:
    ids = models[CHARACTERS].tokenizer.encode("the cat").tolist()
    request = {"model": CHARACTERS, "max_tokens": 20, "seed": 1}
    by_text, by_ids, by_list = (
        server.post("/v1/completions", {**request, "prompt": prompt}).document["choices"][0]["text"]
        for prompt in ("the cat", ids, [ids])
    )
    assert by_text == by_ids == by_list


@pytest.mark.parametrize("path", ["/v1/completions", "/generate_stream"])
@pytest.mark.parametrize("model", [CHARACTERS, PIECES, INT8])
def test_the_pieces_of_a_stream_are_the_text(server: Running, models: dict[str, Any], path: str, model: str) -> None:
    expected = models[model].generate("the cat", length=300, seed=4, stop="mat")
    request: dict[str, Any] = {"model": model, "prompt": "the cat", "seed": 4, "stop": ["mat"]}
    request |= {"max_tokens": 300, "stream": True} if path == "/v1/completions" else {"length": 300}
    answer = server.post(path, request)
    assert answer.headers["content-type"].startswith("text/event-stream")
    if path == "/v1/completions":
        assert answer.body.endswith(b"data: [DONE]\n\n")
        pieces = [event["choices"][0]["text"] for event in answer.events]
        reason = answer.events[-1]["choices"][0]["finish_reason"]
    else:
        pieces = [event["text"] for event in answer.events[:-1]]
        reason = answer.events[-1]["finish_reason"]
        assert answer.events[-1]["done"]
        assert answer.events[-1]["seed"] == 4
    assert "".join(pieces) == expected
    assert reason == ("length" if len(models[model].tokenizer.encode(expected)) == 300 else "stop")


def test_a_stream_without_a_seed_names_one_that_gives_its_text_again(server: Running) -> None:
    first = server.post("/generate_stream", {"prompt": "the", "length": 50}).events
    again = server.post("/generate_stream", {"prompt": "the", "length": 50, "seed": first[-1]["seed"]}).events
    other = server.post("/generate_stream", {"prompt": "the", "length": 50}).events
    text, same, different = ("".join(event.get("text", "") for event in events) for events in (first, again, other))
    assert text == same != different


@pytest.mark.parametrize("model", [CHARACTERS, WORDS, PIECES])
def test_tokens_have_the_probabilities_of_the_model(server: Running, models: dict[str, Any], model: str) -> None:
    request = {"model": model, "prompt": "the cat", "length": 40, "seed": 2, "logprobs": 3}
    *events, last = server.post("/generate_stream", request).events
    tokens = [token for event in events for token in event["tokens"]]
    text = "".join(event["text"] for event in events)
    assert len(tokens) == last["generated_tokens"]
    assert "".join(token["text"] for token in tokens) == text
    best = models[model].next_probs("the cat", top=3)
    assert [found["text"] for found in tokens[0]["alternatives"]] == list(best)
    for found, probability in zip(tokens[0]["alternatives"], best.values(), strict=True):
        assert found["probability"] == pytest.approx(probability, rel=1e-5)
    without = server.post("/generate_stream", {**request, "logprobs": None}).events[:-1]
    assert "".join(event["text"] for event in without) == text
    assert "tokens" not in without[0]


@pytest.mark.parametrize("model", [CHARACTERS, INT8])
def test_echo_scores_a_prompt_as_evaluation_harnesses_ask(server: Running, models: dict[str, Any], model: str) -> None:
    text = "the cat sat on the mat"
    for tokens in (0, 1):
        request = {"model": model, "prompt": [text, "a dog"], "echo": True, "logprobs": 1, "max_tokens": tokens}
        choices = server.post("/v1/completions", {**request, "temperature": 0}).document["choices"]
        found = choices[0]["logprobs"]
        assert choices[0]["text"][: len(text)] == text
        assert "".join(found["tokens"]) == choices[0]["text"]
        assert len(found["token_logprobs"]) == len(text) + tokens
        ids = models[model].tokenizer.encode(text)
        expected = models[model].token_log_probs(ids).tolist()
        assert found["token_logprobs"][: len(text)] == pytest.approx(expected, abs=1e-5)
        assert found["text_offset"][: len(text)] == list(range(len(text)))
        for log_prob, top in zip(found["token_logprobs"], found["top_logprobs"], strict=True):
            assert log_prob <= max(top.values())


def test_a_stop_string_cuts_tokens_too(server: Running) -> None:
    request = {"model": CHARACTERS, "prompt": "the cat", "max_tokens": 300, "seed": 4, "stop": "mat", "logprobs": 0}
    (choice,) = server.post("/v1/completions", request).document["choices"]
    assert choice["finish_reason"] == "stop"
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
    assert "mat" not in choice["text"]


def options_of(random: Random) -> dict[str, Any]:
    """Some options of generation, every kind of them."""
    options: dict[str, Any] = {
        "length": random.randrange(1, 200),
        "seed": random.randrange(10**6),
        "temperature": random.choice([0, 0.3, 0.7, 1, 1.5]),
    }
    options |= random.choice([{}, {}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}, {"repetition_penalty": 1.3}])
    return options | random.choice([{}, {"stop": ["at"]}])


@pytest.mark.parametrize("model", [CHARACTERS, WORDS, INT8])
def test_a_text_is_the_same_alone_and_among_others(server: Running, models: dict[str, Any], model: str) -> None:
    random = Random(0)
    prompts = ["", "the cat", "a dog sat on the mat and " * 40]
    cases = [(random.choice(prompts), options_of(random), random.choice([None, 0, 2])) for _ in range(40)]

    def text(case: tuple[str, dict[str, Any], int | None]) -> str:
        prompt, options, logprobs = case
        request = {"model": model, "prompt": prompt, **options, "logprobs": logprobs}
        return "".join(event.get("text", "") for event in server.post("/generate_stream", request).events)

    with ThreadPoolExecutor(20) as pool:
        together = list(pool.map(text, cases))
    assert together == [models[model].generate(prompt, **options) for prompt, options, _ in cases]
    eventually(lambda: server.admitted() == 0)


def test_texts_are_classified_as_in_python(server: Running, models: dict[str, Any]) -> None:
    texts = ["good", "bad", "", "a good good film"]
    answer = server.post("/classify", {"model": "classifier-float32", "texts": texts}).document
    model = models["classifier-float32"]
    expected = [prediction.to_dict() for prediction in model.classify(["good", "bad", "a good good film"])]
    expected.insert(2, {"label": None, "probability": None, "reason": "empty text"})
    assert answer == {"model": "classifier-float32", "predictions": expected}
    explained = server.post("/classify", {"texts": ["good bad"], "explain": True, "label": model.labels[0]}).document
    (prediction,) = explained["predictions"]
    assert prediction["explanation"] == model.explain("good bad", model.labels[0]).to_dict()


@pytest.mark.parametrize("model", [CHARACTERS, WORDS, PIECES])
def test_tokens_of_a_text_are_those_of_its_echo(server: Running, models: dict[str, Any], model: str) -> None:
    text = "the cat sat. Ωé"
    found = server.post("/tokenize", {"model": model, "prompt": text, "add_special_tokens": False}).document
    assert found["tokens"] == models[model].tokenizer.encode(text).tolist()
    request = {"model": model, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    by_text, by_ids = (
        server.post("/v1/completions", {**request, "prompt": prompt}).document["choices"][0]["logprobs"]
        for prompt in (text, found["tokens"])
    )
    assert by_text == by_ids
    assert len(by_ids["token_logprobs"]) == found["count"] + 1
    decoded = server.post("/detokenize", {"model": model, "tokens": found["tokens"]}).document["prompt"]
    assert decoded == models[model].tokenizer.decode(found["tokens"])
    facts = server.get(f"/tokenizer_info?model={model}").document
    start = server.post("/tokenize", {"model": model, "prompt": facts["bos_token"]}).document["tokens"]
    assert server.post("/tokenize", {"model": model, "prompt": facts["eos_token"]}).document["tokens"] == [3]
    (choice,) = server.post("/v1/completions", {**request, "prompt": start + found["tokens"]}).document["choices"]
    assert choice["logprobs"]["token_logprobs"] == [None, *by_ids["token_logprobs"]]
    assert choice["logprobs"]["text_offset"] == [0, *by_ids["text_offset"]]
    events = server.post("/v1/completions", {**request, "prompt": start + found["tokens"], "stream": True}).events
    parts = [event["choices"][0]["logprobs"]["token_logprobs"] for event in events]
    assert [value for part in parts for value in part] == [None, *by_ids["token_logprobs"]]


def test_every_kind_of_model_answers(server: Running, models: dict[str, Any]) -> None:
    name = "multilabel-classifier-float32"
    (expected,) = models[name].classify(["good"])
    assert server.post("/classify", {"model": name, "texts": ["good"]}).document["predictions"] == [expected.to_dict()]
    name = "vector-classifier-float32"
    record = [[0.1] * models[name].features] * 3
    found = server.post("/classify", {"model": name, "vectors": [record]}).document["predictions"]
    assert found == [prediction.to_dict() for prediction in models[name].classify([record])]
    name = "regressor-float32"
    record = [[0.1] * models[name].features] * 3
    found = server.post("/classify", {"model": name, "vectors": [record]}).document["predictions"]
    assert found[0]["values"] == pytest.approx(models[name].predict([record])[0].tolist(), rel=1e-6)
    forecast = server.post("/forecast", {"values": [1, 2, 3], "steps": 5}).document["forecast"]
    expected_rows = models["forecaster-float32"].forecast([1, 2, 3], 5).tolist()
    assert [row[0] for row in forecast] == pytest.approx([row[0] for row in expected_rows], rel=1e-6)


def test_texts_are_transformed_as_in_python(server: Running, models: dict[str, Any]) -> None:
    sources = ["42", "", "7" * 40, "99", " 7 "]
    answer = server.post("/transform", {"texts": sources, "n_best": 6, "explain": True}).document
    expected = [found.to_dict() for found in models[TRANSLATOR].transform(["42", "7" * 40, "99", "7"], beams=6)]
    assert answer["model"] == TRANSLATOR
    assert answer["outputs"].pop(1) == {"text": None, "reason": "empty text"}
    assert answer["outputs"][0]["text"] == "forty two"
    assert answer["outputs"][1]["is_longer"]
    alignments = [[each.pop("alignment") for each in output["candidates"]] for output in answer["outputs"]]
    assert answer["outputs"] == expected
    assert [len(found) for found in alignments] == [6] * 4
    assert alignments[0][0]["source"] == ["4", "2"]
    assert alignments[0][0]["output"] == ["forty", "two"]
    assert [row.index(max(row)) for row in alignments[0][0]["weights"]] == [0, 1]
    greedy = server.post("/transform", {"model": TRANSLATOR, "texts": ["42"], "beams": 1}).document["outputs"]
    assert [found["text"] for found in greedy[0]["candidates"]] == ["forty two"]
    assert "alignment" not in greedy[0]["candidates"][0]
    short, long = (
        server.post("/transform", {"texts": ["42"], "length_penalty": penalty}).document["outputs"][0]["score"]
        for penalty in (0, 1)
    )
    assert short == pytest.approx(3 * long)  # two words and the end


def test_recordings_are_read_as_in_python(server: Running, models: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("kaldi_native_fbank", reason="comes with the extra audio")
    files = [write_wav(tmp_path / f"{text}.wav", speech([text], 0.1)).read_bytes() for text in ("acb", "bb")]
    recordings = [b64encode(file).decode() for file in files]
    labelled = server.post("/classify", {"recordings": recordings}).document
    assert labelled["model"] == LISTENER
    assert labelled["predictions"] == [found.to_dict() for found in models[LISTENER].classify(files)]
    written = server.post("/transcribe", {"recordings": recordings, "beams": 3}).document
    assert written["model"] == RECOGNIZER
    assert written["transcripts"] == [found.to_dict() for found in models[RECOGNIZER].transcribe(files, 3)]
    assert [found["text"] for found in written["transcripts"]] == ["acb", "bb"]
    damaged = server.post("/classify", {"recordings": [b64encode(b"text").decode()]})
    assert (damaged.status, "recording 1 is not: Format not" in damaged.message) == (422, True)
    facts = {model["name"]: model.get("sample_rate") for model in server.get("/info").document["models"]}
    assert {name: rate for name, rate in facts.items() if rate} == {LISTENER: 8000, RECOGNIZER: 8000}


def test_a_text_is_scored_as_in_python(server: Running, models: dict[str, Any]) -> None:
    request = {"model": CHARACTERS, "texts": ["the cat", ""], "logprobs": 1}
    scores = server.post("/score", request).document["scores"]
    tokens = scores[0].pop("token_probabilities")
    assert scores[0] == models[CHARACTERS].score("the cat").to_dict()
    assert sum(math.log(token["probability"]) for token in tokens) == pytest.approx(-scores[0]["nats"])
    assert scores[1]["token_probabilities"] == []


@pytest.mark.parametrize(
    ("path", "request_", "status", "part"),
    [
        ("/v1/completions", b"{", 400, "must be JSON"),
        ("/v1/completions", b"\xff", 400, "must be JSON"),
        ("/v1/completions", b"[" * 100_000, 400, "must be JSON"),
        ("/v1/completions", b'{"prompt": NaN}', 400, "NaN is no number"),
        ("/v1/completions", [1], 400, "must be a JSON object, was: [1]"),
        ("/v1/completions", {"max_token": 5}, 422, "did you mean max_tokens?"),
        ("/v1/completions", {"max_tokens": -1}, 422, "max_tokens must be 0 or above, was: -1"),
        ("/v1/completions", {"max_tokens": 5.5}, 422, "must be a whole number"),
        ("/v1/completions", {"max_tokens": True}, 422, "must be a whole number"),
        ("/v1/completions", {"max_tokens": 10**30}, 422, "at most 10,000 on this server"),
        ("/v1/completions", {"temperature": -1}, 422, "temperature must be between 0 and"),
        ("/v1/completions", {"top_p": 0}, 422, "top_p must be above 0"),
        ("/v1/completions", {"n": 81}, 422, "at most 80 texts"),
        ("/v1/completions", {"stop": [""]}, 422, "stop must be strings"),
        ("/v1/completions", {"best_of": 3}, 422, "best_of is not supported"),
        ("/v1/completions", {"prompt": [10**30]}, 422, "ids must be"),
        ("/v1/completions", {"prompt": [-1]}, 422, "ids must be"),
        ("/v1/completions", {"prompt": "\ud800"}, 422, "lone surrogates"),
        ("/v1/completions", {"model": "gpt"}, 404, "model must be a language model of the server, was: 'gpt'"),
        ("/v1/completions", {"model": "forecaster-float32"}, 404, "must be a language model"),
        ("/v1/completions", {"max_tokens": 9000, "n": 2, "logprobs": 1}, 422, "at most 10,000 tokens"),
        ("/generate_stream", {"max_tokens": 3}, 422, "may have the fields"),
        ("/classify", {}, 422, "one of texts, vectors, recordings, had: none"),
        ("/classify", {"texts": ["a"], "recordings": []}, 422, "had: texts, recordings; give one"),
        ("/classify", {"recordings": ["?"]}, 422, "recording 1 is not; encode it"),
        ("/classify", {"recordings": ["/etc/passwd"]}, 422, "recording 1 is not"),
        ("/transcribe", {}, 422, "recordings must be given"),
        ("/transcribe", {"recordings": ["?"]}, 422, "recording 1 is not; encode it"),
        ("/transcribe", {"recordings": [], "beams": 65}, 422, "beams must be between 1 and 64"),
        ("/classify", {"texts": ["a"], "label": "x"}, 422, "label is for explain"),
        ("/classify", {"texts": ["a"], "label": "x", "explain": True}, 422, "label must be one of"),
        ("/classify", {"model": "classifier-float32", "vectors": [1]}, 422, "reads texts"),
        ("/classify", {"vectors": [["a"]]}, 422, "numbers"),
        ("/classify", {"vectors": [[[[[[1]]]]]]}, 422, "record 1"),
        ("/transform", {}, 422, "texts must be given"),
        ("/transform", {"texts": ["1"], "n_best": 5, "beams": 4}, 422, "n_best must be at most beams, 4, was: 5"),
        ("/transform", {"texts": ["1"], "beams": 65}, 422, "beams must be between 1 and 64"),
        ("/transform", {"texts": ["1", "2" * 2000]}, 422, "text 2 has 2,000; split it"),
        ("/transform", {"texts": ["\ud800"]}, 422, "lone surrogates"),
        ("/transform", {"model": CHARACTERS, "texts": ["1"]}, 404, "must be a model from a text to another"),
        ("/forecast", {}, 422, "values must be given"),
        ("/forecast", {"values": [1, None]}, 422, "numbers"),
        ("/forecast", {"values": [[1, 2]]}, 422, "must"),
        ("/score", {"texts": "a"}, 422, "list of strings"),
        ("/tokenize", {"prompt": ["a"]}, 422, "prompt must be a string"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": True}, 422, "add_special_tokens is not supported"),
        ("/detokenize", {"tokens": [10**30]}, 422, "ids must be"),
        ("/detokenize", {"tokens": "a"}, 422, "a list of whole numbers"),
    ],
)
def test_a_wrong_request_gets_one_line(server: Running, path: str, request_: Any, status: int, part: str) -> None:
    answer = server.post(path, request_)
    assert (answer.status, part in answer.message) == (status, True), answer
    assert "Traceback" not in answer.message


def test_paths_and_methods_that_do_not_exist_are_refused(server: Running) -> None:
    assert server.get("/nothing").status == 404
    assert server.get("/v1/completions").status == 405
    assert server.request("PUT", "/health", None, {}).status == 405
    assert server.get("/../../etc/passwd").status == 404


def test_metrics_count_requests_and_tokens(server: Running) -> None:
    def count(line: str) -> float:
        text = server.get("/metrics").body.decode()
        return sum(float(found.split()[-1]) for found in text.splitlines() if found.startswith(line))

    line, refused = (f'textrnn_requests_total{{path="/v1/completions",status="{status}"}}' for status in (200, 422))
    tokens = f'textrnn_generated_tokens_total{{model="{CHARACTERS}"}}'
    before, before_refused, before_tokens = count(line), count(refused), count(tokens)
    request = {"model": CHARACTERS, "max_tokens": 30, "temperature": 0}
    used = server.post("/v1/completions", request).document["usage"]["completion_tokens"]
    server.post("/v1/completions", {"n": 0})
    assert count(line) == before + 1
    assert count(refused) == before_refused + 1
    assert count(tokens) == before_tokens + used
    server.get("/no/such/path/1")
    assert "/no/such/path" not in server.get("/metrics").body.decode()  # paths of attackers fill no memory


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="different names"), running(CHARACTERS, f"{GOLDEN}/./{CHARACTERS}"):
        pass


def test_a_stream_says_its_usage_when_asked(server: Running) -> None:
    request = {"prompt": "the", "max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}
    answer = server.post("/v1/completions", {"model": CHARACTERS, **request})
    assert answer.events[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    assert json.loads(answer.body.split(b"\n\n")[0][6:])["object"] == "text_completion"
