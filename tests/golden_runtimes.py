"""Golden cases for runtimes in other languages: what textrnn in Python computes from the same bundles.

    python tests/golden_runtimes.py FOLDER

writes FOLDER/cases.json, and FOLDER/tokenizers with a tokenizer for each kind and option. The cases are computed when
they are needed and are not committed: products in 8 bits differ between processors. cases.json holds:

    uniforms    [{seed (a string), stream, values}]: random numbers of `textrnn.sampling.random_streams`
    tokenizers  [{folder, kind, cases: [{text, ids, decoded, after, continued, whole}], broken: [{ids, decoded}]}]
                decoded is decode(ids); continued is decode(ids, after); whole is {ids, pieces} of encode_whole(text)
    refused     [[code points]]: strings with lone surrogates, which encode refuses
    models      [{name, folder, kind, precision, ...}] and, by kind:
                language_model: generate [{prompt, options, texts}], next [{text, probs}], score [{text, nats, tokens}]
                classifier, multilabel_classifier: classify [{texts, predictions}]
                vector_classifier, regressor: predict {records, values}
                forecaster: forecast [{values, steps, forecast}]
                text_to_text: transform [{options, texts, outputs}]
    audio       {frames, models}, as `golden_recordings.recording_cases` makes them

Options are those of `LanguageModel.generate`, and `count`. Texts must be equal; numbers must agree within 1e-5.
"""

from __future__ import annotations

import json
import random
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from golden_recordings import recording_cases

import textrnn
from textrnn.models.places import find_finished, finished_models
from textrnn.sampling import random_streams
from textrnn.tokenizers import Tokenizer, load_tokenizer, train_tokenizer

GOLDEN = Path(__file__).with_name("golden")

AWKWARD = [
    "",
    "the cat sat on the mat.",
    " leading and trailing  ",
    "tabs\tand\r\nCRLF\r\n\r\nlines\n\n",
    "NUL \x00 bell \x07 escape \x1b delete \x7f",
    "separators \x1c\x1d\x1e\x1f next line \x85 no-break\xa0space \u1680\u2003\u2028\u2029\u202f\u205f\u3000.",
    "byte order mark \ufeff in the text",
    "\ufeffbyte order mark at the beginning",
    "emoji 😀👍🏽👩\u200d👩\u200d👧\u200d👦🇫🇷🏴\U000e0067\U000e007f",
    "combining e\u0301 n\u0303 a\u0300\u0316 \u0301alone, q\u0307\u0323",
    "full width ＡＢＣ１２３，。！？ half width ｱｲｳ",
    "ligatures ﬁ ﬀ ㎏ ① ½ ² Ⅷ ﷺ",
    "中文，没有空格。还有English和数字123混排……——《书名》“引号”",
    "日本語テキスト、カタカナ　全角スペース",
    "हिन्दी में लिखा। ภาษาไทย ကမ္ဘာ 한국어 한글",
    "العربية مرحبا ‏שלום‏ עולם",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ. ΑΣ΄Α Σ İSTANBUL Straße ǅ ﬃ",
    "meta \u2581\u2581space \u2585 <unk> <s> </s> <pad> <0x41> <hex 4>",
    "mathematics 𝒜𝔅 𝟘 \U0001d16e \U00020000\U0002a6df \U0010ffff \ufffd \ue000",
    "don't stop-me_now... (really?) [yes] {no} \"quoted\" 'single' a/b\\c #tag @name 50% $9.99 a+b=c",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "the the the cat cat sat thecatsat",
    "\n",
    " ",
    "\u200d\u200c\u0301",
]
TRAINING = [
    "the cat sat on the mat. a dog slept on the hat, and one bird sang: don't (stop) it!\n" * 30,
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少？《诗》“好”\n" * 20,
    "Straße İstanbul ΟΔΟΣ हिन्दी में 한국어 e\u0301 ﬁ ＡＢ １２ 😀👍 <unk> \t\x07\n" * 10,
]
TOKENIZERS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "char": ("char", {"min_count": 20}, TRAINING),
    "word": ("word", {}, TRAINING),
    "word-lowercase": ("word", {"lowercase": True}, TRAINING),
    "word-punctuation": ("word", {"split": "punctuation"}, TRAINING),
    "word-punctuation-lowercase": ("word", {"split": "punctuation", "lowercase": True, "min_count": 20}, TRAINING),
    "unigram": ("sentencepiece", {}, TRAINING),
    "unigram-no-space": ("sentencepiece", {}, TRAINING[1:2]),
    "bpe": ("sentencepiece", {"model_type": "bpe", "vocabulary_size": 420}, TRAINING),
}
REFUSED = [[0xD800], [0x61, 0xDC00, 0x62], [0x1F600, 0xDBFF], [0xDC00, 0xD800]]

PROMPTS = ["", "the cat", "the cat ", "A dog — 春眠 \x00 😀", "one bird sang on the map.\n" * 5]
OPTIONS: list[dict[str, Any]] = [
    {"seed": 1, "length": 100},
    {"seed": 2**53 - 1, "length": 40, "temperature": 0.5},
    {"seed": 7, "length": 40, "temperature": 1.7, "count": 3},
    {"length": 30, "temperature": 0},
    {"seed": 3, "length": 40, "top_k": 5},
    {"seed": 4, "length": 40, "top_p": 0.8, "temperature": 1.3},
    {"seed": 5, "length": 40, "min_p": 0.1, "repetition_penalty": 1.3, "count": 2},
    {"seed": 6, "length": 80, "stop": [".", " the"]},
    {"seed": 6, "length": 80, "stop": ["sat on", "on the"], "top_k": 20},
    {"seed": 1, "length": 0},
    {"length": 12, "beams": 3},
]
TEXTS = [
    "the film was good and the story",
    "bad",
    "",
    "的 电影 好 film " * 12,
    "这家酒店很好，服务热情！",
    "Arrived broken, and nobody answers.",
    "I love it! " * 60,
    "the cat slept",
]
SOURCES = ["42", "7", " 99 ", "0", "4x2", "123456", "5\u0660\U0001f600", "7" * 30]
SEARCHES: list[dict[str, Any]] = [
    {"align": True},
    {"beams": 1, "align": True},
    {"beams": 7, "length_penalty": 0.3},
    {"beams": 300},
]


def random_texts(count: int = 40) -> list[str]:
    """Return texts of random characters of several scripts, and of words with random blanks."""
    choose = random.Random(0)
    ranges = [(32, 127), (0, 0x300), (0x300, 0x700), (0x900, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
    words = [word for text in TRAINING for word in text.split()[:40]]
    texts = []
    for _ in range(count):
        low, high = choose.choice(ranges)
        characters = [chr(choose.randint(low, high)) for _ in range(choose.randint(20, 200))]
        # Only old characters, which every runtime's tables of Unicode have.
        texts.append("".join(each for each in characters if unicodedata.ucd_3_2_0.category(each) not in ("Cn", "Cs")))
        blanks = choose.choices(["", " ", "  ", "\n", "\t", "\u3000"], k=20)
        texts.append("".join(choose.choice(words) + blank for blank in blanks))
    return texts


def tokenizer_cases(tokenizer: Tokenizer, texts: list[str]) -> dict[str, Any]:
    """Return what a tokenizer makes of texts, and of ids that no text has."""
    cases = []
    for number, text in enumerate(texts):
        ids, after = tokenizer.encode(text), texts[number - 1]
        decoded, continued = tokenizer.decode(ids), tokenizer.decode(ids, after)
        whole, pieces = tokenizer.encode_whole(text)
        case = {"text": text, "ids": ids.tolist(), "decoded": decoded, "after": after, "continued": continued}
        cases.append({**case, "whole": {"ids": whole.tolist(), "pieces": pieces}})
    choose = random.Random(1)
    broken = [[choose.randrange(tokenizer.vocabulary_size) for _ in range(30)] for _ in range(20)]
    broken += [[choose.randrange(min(tokenizer.vocabulary_size, 260)) for _ in range(30)] for _ in range(20)]
    return {"cases": cases, "broken": [{"ids": ids, "decoded": tokenizer.decode(ids)} for ids in broken]}


def language_model_cases(model: textrnn.LanguageModel) -> dict[str, Any]:
    """Return texts, probabilities and losses of a language model."""
    generated = []
    for number, options in enumerate(OPTIONS):
        for prompt in PROMPTS if number == 0 else PROMPTS[1:2]:
            count = options.get("count", 1)
            given = {name: value for name, value in options.items() if name != "count"}
            texts = [model.generate(prompt, **given)] if count == 1 else model.samples(prompt, count=count, **given)
            generated.append({"prompt": prompt, "options": options, "texts": texts})
    scores = [(text, model.score(text)) for text in AWKWARD if text]
    return {
        "generate": generated,
        "next": [{"text": text, "probs": model.next_probs(text, 5)} for text in PROMPTS],
        "score": [{"text": text, "nats": found.nats, "tokens": found.tokens} for text, found in scores],
    }


def model_cases(model: Any) -> dict[str, Any]:
    """Return the cases of a model, by its kind."""
    kind = model.manifest.kind
    if kind == "language_model":
        return language_model_cases(model)
    if kind in ("classifier", "multilabel_classifier"):
        return {"classify": [{"texts": TEXTS, "predictions": [found.to_dict() for found in model.classify(TEXTS)]}]}
    if kind == "text_to_text":
        return {
            "transform": [
                {"options": options, "texts": SOURCES, "outputs": [found.to_dict() for found in outputs]}
                for options in SEARCHES
                for outputs in [model.transform(SOURCES, **options)]
            ]
        }
    if kind == "forecaster":
        history = (100 + 10 * np.sin(2 * np.pi * np.arange(60) / 24)).tolist()
        cases = [(history, 3), (history, 8), (history[:1], 1)]
        return {
            "forecast": [
                {"values": values, "steps": steps, "forecast": model.forecast(values, steps).tolist()}
                for values, steps in cases
            ]
        }
    generator = np.random.default_rng(0)
    wide = (28, model.features) if model.features > 1 else (8,)
    records = [generator.integers(0, 17, wide).astype(float).tolist() for _ in range(3)]
    return {"predict": {"records": records, "values": np.asarray(model.predict(records), float).tolist()}}


def write_cases(folder: Path) -> Path:
    """Write cases.json and the tokenizers into an existing folder, and return the path of cases.json."""
    texts = AWKWARD + random_texts()
    tokenizers = []
    for name, (kind, options, training) in TOKENIZERS.items():
        place = folder / "tokenizers" / name
        place.mkdir(parents=True)
        train_tokenizer(kind, training, **options).save(place)
        found = tokenizer_cases(load_tokenizer(place, kind), texts)
        tokenizers.append({"folder": place.as_posix(), "kind": kind, **found})
    bundles = sorted(path.parent for path in GOLDEN.glob("*/manifest.json"))
    bundles = [bundle for bundle in bundles if not bundle.name.startswith(("audio", "recognizer"))]  # below
    models = []
    for bundle in bundles + [find_finished(name) for name in finished_models()]:
        model = textrnn.load(bundle)
        described = {"kind": model.manifest.kind, "precision": model.manifest.precision}
        models.append({"name": bundle.name, "folder": bundle.as_posix(), **described, **model_cases(model)})
    uniforms = [
        {"seed": str(seed), "stream": stream, "values": random_streams(seed, stream + 1)[stream].random(20).tolist()}
        for seed, stream in [(0, 0), (1, 0), (1, 3), (2**32, 1), (2**64 - 1, 0), (2**53 - 1, 2)]
    ]
    cases = {"uniforms": uniforms, "tokenizers": tokenizers, "refused": REFUSED, "models": models}
    cases["audio"] = recording_cases(folder / "recordings")
    path = folder / "cases.json"
    path.write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {Path(__file__).name} FOLDER, of a new folder")
    target = Path(sys.argv[1]).resolve()
    target.mkdir(parents=True)
    print(write_cases(target))
