"""What chat templates of every manner write of a conversation: all of it, or a sentence says what is left out."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chance import examples
from tests.templates.conftest import WITH_ITS_MODULES

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("chat")]  # they share what was asked once

_TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
_BEGIN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
# ChatML: any role, content alone, as the demo model's.
PLAIN = "{% for m in messages %}" + _TURN + "{% endfor %}" + _BEGIN
# With tools, calls as JSON, reasoning of the last turn only: as Qwen's.
TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>{{ m.content }}</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n"
    "{% if loop.last and m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endif %}"
    "{% endfor %}" + _BEGIN
)
# Calls without the words beside them, one call at a time, what tools say as JSON: as Llama 3.1's.
STRICT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one call at a time') }}{% endif %}"
    '{% set c = m.tool_calls[0].function %}{"name": "{{ c.name }}", "parameters": {{ c.arguments | tojson }}}'
    "{% elif m.role == 'tool' %}{{ m.content | tojson }}{% else %}{{ m.content | trim }}{% endif %}<|im_end|>\n"
    "{% endfor %}" + _BEGIN
)
# Questions and answers in turn, nothing else: as Gemma's.
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
# Roles that it does not know are left out in silence.
DEAF = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>\n{{ m.content }}<|im_end|>\n"
    "{% elif m.role == 'assistant' %}<|assistant|>\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
# The system's words before the last question: as Mistral's.
LATE = (
    "{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.index0 == ns.last and system %}{{ system }}\n\n{% endif %}"
    "{{ m.content }} [/INST]<|im_start|>{% elif m.role == 'assistant' %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
)
# It knows a developer, and writes what was thought: as gpt-oss's.
DEVELOPER = (
    "{% for m in messages %}{% if m.role == 'developer' %}# Instructions\n{{ m.content }}<|im_end|>\n{% else %}"
    "<|im_start|>{{ m.role }}\n{% if m.thinking %}({{ m.thinking }}){% endif %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    + _BEGIN
)
TEMPLATES = (PLAIN, TOOLS, STRICT, ALTERNATING, DEAF, LATE, DEVELOPER)
Asked = tuple[str, str, list[dict[str, Any]]]
Probe = Callable[[list[Asked]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def probe(warm_python: Path, demo_model: Path) -> Probe:
    """What the encoder makes of records under templates, with the demo model's tokenizer."""

    def ask(asked: list[Asked]) -> list[dict[str, Any]]:
        done = subprocess.run(
            [str(warm_python), str(Path(__file__).with_name("chat_probe.py")), str(demo_model)],
            input=json.dumps(asked), env=WITH_ITS_MODULES, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return ask


def chat(*turns: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def call(name: str = "add", **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], words: str | None = None, answer: str = "5", **more: Any) -> dict[str, Any]:
    turns = [
        {"role": "user", "content": "add 2 and 5"},
        {"role": "assistant", "content": words, "tool_calls": list(calls)},
        {"role": "tool", "content": answer},
        {"role": "assistant", "content": "It is 7."},
    ]
    return {"messages": turns, **more}


TOOL = {"name": "add", "description": "adds two numbers", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def said(probe: Probe) -> dict[str, dict[str, Any]]:
    """The single cases below, in one process."""
    thinking = chat(("user", "Why?"), ("assistant", "So."))
    thinking["messages"][1] |= {"reasoning_content": "let me see"}
    both = json.loads(json.dumps(thinking))
    both["messages"] += [{"role": "user", "content": "Sure?"}, {**both["messages"][1], "content": "Yes."}]
    both["messages"][3]["reasoning_content"] = "once more"
    analysed = chat(("developer", "Be brief."), ("user", "Why?"), ("assistant", "So."))
    analysed["messages"][2]["thinking"] = "let me see"
    weighted = chat(("user", "One?"), ("assistant", "First."), ("user", "Two?"), ("assistant", "Second."))
    weighted["messages"][1]["weight"] = 0
    asked: dict[str, Asked] = {
        "calls": (TOOLS, "assistant", [calling(call(a="two"), tools=[TOOL])]),
        "calls as text": (PLAIN, "assistant", [calling(call(a="two"), tools=[TOOL]), calling(call(a="two"))]),
        "calls of ShareGPT as text": (
            PLAIN,
            "assistant",
            [
                {
                    "conversations": [
                        {"from": "human", "value": "add 2 and 5"},
                        {"from": "function_call", "value": '{"name":  "add", "arguments": {}}'},
                        {"from": "observation", "value": "7"},
                        {"from": "gpt", "value": "It is 7."},
                    ]
                }
            ],
        ),
        "two calls": (STRICT, "assistant", [calling(call(a="two"), call("sub", b="é\n\"x\""))]),
        "one call": (STRICT, "assistant", [calling(call(a="é\n\"x\""), answer='two\nlines "quoted"')]),
        "words beside a call": (STRICT, "assistant", [calling(call(a="two"), words="Let me add.")]),
        "a tool's answer is left out": (DEAF, "assistant", [calling(call(a="two"), answer="2")]),
        "a system is left out": (DEAF, "assistant", [chat(("system", "Be brief."), ("user", "a"), ("assistant", "b"))]),
        "a system in the last question": (
            LATE,
            "assistant",
            [chat(("system", "Be brief."), ("user", "Why?"), ("assistant", "So."), ("user", "Sure?"), ("assistant", "Yes."))],
        ),
        "roles that do not alternate": (ALTERNATING, "assistant", [chat(("system", "Be brief."), ("user", "a"), ("assistant", "b"))]),
        "reasoning": (TOOLS, "assistant", [both]),
        "reasoning is left out": (PLAIN, "assistant", [thinking] * 2),
        "developer as system": (PLAIN, "assistant", [chat(("developer", "Be brief."), ("user", "Why?"), ("assistant", "So."))]),
        "developer": (DEVELOPER, "assistant", [analysed]),
        "weights": (PLAIN, "assistant", [weighted]),
        "weights, all trained": (PLAIN, "all", [weighted]),
        "only the end": (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if m.role == 'user' else '' }}<|im_end|>\n{% endfor %}" + _BEGIN,
            "assistant",
            [chat(("user", "Why?"), ("assistant", "So."))],
        ),
        "nothing but an end": (
            PLAIN,
            "assistant",
            [chat(("user", "Why?"), ("assistant", "<|im_end|>"))],
        ),
        "a completion that is an end": (PLAIN, "assistant", [{"prompt": "a", "completion": " <|im_end|>"}]),
        "only the end of a call": (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ '' if m.tool_calls else m.content }}<|im_end|>\n{% endfor %}" + _BEGIN,
            "assistant",
            [calling(call(a="two"))],
        ),
    }  # fmt: skip
    return dict(zip(asked, probe(list(asked.values())), strict=True))


def test_a_template_with_tools_gets_calls_and_tools(said: dict[str, dict[str, Any]]) -> None:
    """As objects; nothing is lost."""
    (row,) = said["calls"]["rows"]
    assert '<tool_call>{"name": "add", "arguments": {"a": "two"}}</tool_call>' in row["learnt"]
    assert "adds two numbers" in row["read"]
    assert "adds two numbers" not in row["learnt"]
    assert said["calls"]["lost"] == {}


def test_a_template_without_tools_gets_calls_as_text(said: dict[str, dict[str, Any]]) -> None:
    """And it is told, with the lines, that the list of tools has no place."""
    for row in said["calls as text"]["rows"]:
        assert '<tool_call>\n{"name": "add", "arguments": {"a": "two"}}\n</tool_call>' in row["learnt"]
    assert said["calls as text"]["lost"] == {"calls": [1, 2], "tools": [1]}
    (row,) = said["calls of ShareGPT as text"]["rows"]
    assert '{"name":  "add", "arguments": {}}' in row["learnt"], "as it was written"


def test_a_template_decides_for_its_kind_of_calls(said: dict[str, dict[str, Any]]) -> None:
    """One call in the template's form, with escapes; what it refuses is refused; what it drops beside a call is named."""
    assert '"parameters": {"a": "é\\n\\"x\\""}' in said["one call"]["rows"][0]["learnt"]
    assert "refuses the conversation: one call at a time" in said["two calls"]["rows"][0]["refused"]
    dropped = "the model's chat template leaves out the text of turn 2: Let me add."
    assert said["words beside a call"]["rows"][0]["refused"] == dropped


def test_a_turn_that_is_left_out_is_a_fault(said: dict[str, dict[str, Any]]) -> None:
    """Also where its text stands elsewhere by chance."""
    assert said["a tool's answer is left out"]["rows"][0]["refused"].endswith("leaves out the text of turn 3: 2")
    assert said["a system is left out"]["rows"][0]["refused"].endswith("leaves out the text of turn 1: Be brief.")


def test_texts_may_be_written_elsewhere(said: dict[str, dict[str, Any]]) -> None:
    """Some templates put the system's words into a question."""
    (row,) = said["a system in the last question"]["rows"]
    assert "Be brief." in row["read"]
    assert "refuses the conversation: roles must alternate" in said["roles that do not alternate"]["rows"][0]["refused"]


def test_reasoning_is_learnt_where_the_template_writes_it(said: dict[str, dict[str, Any]]) -> None:
    """Each answer's own, where it is learnt for itself; what has no place is told."""
    (row,) = said["reasoning"]["rows"]
    assert "<think>let me see</think>So." in row["learnt"]
    assert "<think>once more</think>Yes." in row["learnt"]
    assert said["reasoning"]["lost"] == {}
    assert said["reasoning is left out"]["lost"] == {"reasoning_content": [1, 2]}


def test_a_developer_is_system_where_the_template_knows_none(said: dict[str, dict[str, Any]]) -> None:
    """Where it does, it stays one."""
    assert "<|im_start|>system\nBe brief." in said["developer as system"]["rows"][0]["read"]
    (row,) = said["developer"]["rows"]
    assert "# Instructions\nBe brief." in row["read"]
    assert "(let me see)So." in row["learnt"]


def test_an_answer_of_weight_0_is_read_and_not_learnt(said: dict[str, dict[str, Any]]) -> None:
    """Under `train_on: all` too."""
    for name in ("weights", "weights, all trained"):
        (row,) = said[name]["rows"]
        assert "First." in row["read"]
        assert "First." not in row["learnt"]
        assert "Second." in row["learnt"]
        assert ("Two?" in row["learnt"]) == (name != "weights")


def test_an_answer_with_only_its_end_left_is_a_fault(said: dict[str, dict[str, Any]]) -> None:
    """Whatever was left out of it is named first; calls that have no form are text by then."""
    assert said["only the end"]["rows"][0]["refused"].endswith("leaves out the text of turn 2: So.")
    assert "<tool_call>" in said["only the end of a call"]["rows"][0]["learnt"]
    assert said["nothing but an end"]["rows"][0]["refused"] == "nothing but the end of turn 2 would be learnt"
    completion = said["a completion that is an end"]["rows"][0]["refused"]
    assert completion == "nothing but the end of the completion would be learnt"


WORDS = ("Hello", "é", "a\nb", '{"x": [1]}', "tab\there", "\\", '"quoted"', "🙂", "'s", "<b>", "1", "ok", "</think>")


def text(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 4)))


def record(chance: random.Random, roles: bool) -> tuple[dict[str, Any], list[list[str]], list[list[str]]]:
    """A conversation, the texts that have to be read, and those that have to be learnt, each in any of some forms."""
    turns: list[dict[str, Any]] = []
    read: list[list[str]] = []
    learnt: list[list[str]] = []
    if roles and chance.random() < 0.4:
        turns.append({"role": chance.choice(["system", "developer"]), "content": text(chance)})
    for _ in range(chance.randint(1, 3)):
        turns.append({"role": "user", "content": text(chance)})
        if roles and chance.random() < 0.4:
            turns.append(
                {"role": "assistant", "content": "", "tool_calls": [call(f"f{chance.randint(0, 9)}", a=text(chance))]}
            )
            turns.append({"role": "tool", "content": text(chance)})
        turns.append({"role": "assistant", "content": text(chance), **chance.choice([{}, {}, {"weight": 0}])})
    turns[-1].pop("weight", None)
    for turn in turns:
        own = [turn["content"]] if turn["content"] else []
        for each in turn.get("tool_calls", ()):
            own += [each["function"]["name"], each["function"]["arguments"]["a"]]
        read += map(forms, own)
        if turn["role"] == "assistant" and "weight" not in turn:
            learnt += map(forms, own)
    return {"messages": turns}, read, learnt


def forms(words: str) -> list[str]:
    """A text, or as JSON has it."""
    return [words, json.dumps(words, ensure_ascii=False)[1:-1], json.dumps(words)[1:-1]]


def test_all_of_an_accepted_row_is_read_and_learnt(probe: Probe) -> None:
    """Under each template, for many conversations: else the row is refused, with what is left out."""
    chance = random.Random("conversations")
    asked, wanted = [], []
    for template in TEMPLATES:
        made = [record(chance, roles=template != ALTERNATING) for _ in range(examples(60))]
        asked.append((template, "assistant", [row for row, _, _ in made]))
        wanted.append([(read, learnt) for _, read, learnt in made])
    for template, said, texts in zip(TEMPLATES, probe(asked), wanted, strict=True):
        accepted = 0
        for row, (read, learnt) in zip(said["rows"], texts, strict=True):
            if "refused" in row:
                assert "chat template" in row["refused"], row
                continue
            accepted += 1
            for each in read:
                assert any(form in row["read"] for form in each), (template, each, row)
            for each in learnt:
                assert any(form in row["learnt"] for form in each), (template, each, row)
        assert accepted >= len(texts) // 8, template


def test_a_long_conversation_is_learnt_as_a_short_one(probe: Probe) -> None:
    """Its answers are looked for one by one, and found where rendering everything before each would find them."""
    chance = random.Random("long")
    asked: list[Asked] = []
    for template in TEMPLATES:
        rows = []
        for system in ((), ("system",)) if template not in (ALTERNATING, DEAF) else ((),):
            turns = [{"role": role, "content": "Be brief."} for role in system]
            for _ in range(40):
                turns.append({"role": "user", "content": chance.choice(["hi", "why?", "hi hi"])})
                turns.append(
                    {"role": "assistant", "content": chance.choice(["hi", "no"]), **chance.choice([{}, {"weight": 0}])}
                )
            rows.append(
                {"messages": [*turns, {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}]}
            )
        asked.append((template, "assistant", rows))
    for said in probe(asked):  # which compares
        assert all("learnt" in row for row in said["rows"]), said
