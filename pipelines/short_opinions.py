"""Short opinions of goods, places and films, composed of words: what reviews of films and hotels lack, with negations.

Every pattern has its label. ``{thing}``, ``{good}`` and ``{bad}`` are filled at random; ``{mild}`` is a bad word whose
negation is praise ("not bad"), which that of a worse one is not ("not horrible").
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

ENGLISH_WORDS: Mapping[str, str] = {
    "thing": "film|phone|hotel|room|food|service|book|battery|screen|laptop|coffee|keyboard|game|app|jacket|lamp|music|"
    "restaurant|shop|chair|camera|kettle|story|meal|bag|tool|toy|watch|printer|breakfast",
    "good": "good|great|excellent|lovely|perfect|wonderful|fantastic|comfortable|useful|reliable|impressive|superb|"
    "pleasant|beautiful|brilliant|nice|amazing",
    "bad": "bad|terrible|awful|poor|horrible|disappointing|useless|boring|dreadful|cheap|faulty|worthless|dirty|ugly|"
    "unreliable|annoying|broken",
    "mild": "bad|boring|disappointing|expensive|difficult|slow|noisy|complicated",
}
ENGLISH: Mapping[str, Sequence[str]] = {
    "positive": (
        "The {thing} is {good}.",
        "The {thing} was really {good}.",
        "{good} {thing}!",
        "A {good} {thing}, and worth every penny.",
        "I love this {thing}.",
        "I love it!",
        "Like it a lot.",
        "I like the {thing} very much.",
        "I recommend this {thing} to everyone.",
        "Highly recommended, {good}.",
        "Would buy this {thing} again.",
        "I am very happy with the {thing}.",
        "The {thing} is not {mild} at all.",
        "Not {mild}, quite the opposite.",
        "The {thing} wasn't {mild}.",
        "Never had a problem with the {thing}.",
        "No complaints about the {thing}.",
        "I could not be happier with the {thing}.",
        "Can't praise the {thing} enough.",
        "You won't be disappointed.",
        "Better than I expected.",
    ),
    "negative": (
        "The {thing} is {bad}.",
        "The {thing} was really {bad}.",
        "{bad} {thing}!",
        "A {bad} {thing}, and a waste of money.",
        "I hate this {thing}.",
        "I hated it!",
        "Hate the {thing}.",
        "I don't like this {thing}.",
        "I did not like the {thing} at all.",
        "I don't recommend this {thing} to anyone.",
        "Would not recommend, {bad}.",
        "Not recommended at all.",
        "I can't recommend the {thing}.",
        "Would not buy this {thing} again.",
        "I am not happy with the {thing}.",
        "The {thing} is not {good}.",
        "The {thing} isn't {good} at all.",
        "The {thing} is not as {good} as I hoped.",
        "It wasn't as {good} as people say.",
        "Not {good}, not worth the price.",
        "Nothing but problems with the {thing}.",
        "The {thing} does not work.",
        "The {thing} stopped working.",
        "Worse than I expected.",
    ),
}
CHINESE_WORDS: Mapping[str, str] = {
    "thing": "电影|手机|酒店|房间|菜|服务|书|电池|屏幕|电脑|咖啡|键盘|游戏|软件|衣服|台灯|音乐|餐厅|"
    "店|椅子|相机|水壶|故事|早餐|包|玩具|手表|耳机|鞋|快递",
    "good": "好|不错|很好|好用|漂亮|满意|舒服|实用|精彩|完美|出色|可靠|划算|喜欢",
    "bad": "差|糟糕|难用|难看|失望|无聊|没用|脏|粗糙|劣质|坑人|烂|麻烦|恶心",
    "mild": "差|贵|难|慢|无聊|麻烦|吵",
}
CHINESE: Mapping[str, Sequence[str]] = {
    "positive": (
        "这个{thing}非常{good}。",
        "{thing}太{good}了！",
        "{thing}真的{good}，推荐给大家。",
        "我很喜欢这个{thing}。",
        "对{thing}很满意，下次还会买。",
        "一点也不{mild}。",
        "{thing}并不{mild}，值这个价。",
        "没有想到{thing}这么{good}。",
        "{thing}比想象的好。",
        "强烈推荐这个{thing}。",
        "{thing}没有任何问题。",
    ),
    "negative": (
        "这个{thing}非常{bad}。",
        "{thing}太{bad}了！",
        "{thing}真的{bad}，不推荐。",
        "我不喜欢这个{thing}。",
        "对{thing}不满意，不会再买。",
        "一点也不{good}。",
        "{thing}不太好。",
        "{thing}不怎么样。",
        "{thing}没有想象的那么{good}。",
        "{thing}没有说的那么好。",
        "{thing}比想象的差。",
        "千万别买这个{thing}。",
        "{thing}用了几天就坏了。",
    ),
}


def composed(patterns: Mapping[str, Sequence[str]], words: Mapping[str, str], copies: int) -> list[tuple[str, str]]:
    """Return pairs of label and text: every pattern, filled `copies` times. They are the same at every call."""
    draw = random.Random(1)
    choices = {name: alternatives.split("|") for name, alternatives in words.items()}
    found = []
    for label, texts in patterns.items():
        for text in texts:
            for _ in range(copies):
                filled = text.format(**{name: draw.choice(each) for name, each in choices.items()})
                found.append((label, filled[0].upper() + filled[1:]))
    return found
