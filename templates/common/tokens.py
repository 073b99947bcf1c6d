"""Rows to token ids and labels: only what the model is to learn carries a label, everything else is IGNORED.

The trained part is found by rendering the conversation up to each answer with the model's own chat template and
comparing; no template needs the `{% generation %}` mark for that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chat import ChatTemplate, refused
from failures import BadData, BadJob, one_line
from job import Job
from rows import Row

LONG = 64  # turns of a conversation from which on its answers are looked for one by one
IGNORED = -100  # the label that PyTorch's cross entropy leaves out


def load_tokenizer(job: Job) -> Any:
    """The model's own tokenizer. Raises BadJob when there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(job.model, revision=job.revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise BadJob(f"no tokenizer for {job.model}: {one_line(error)}") from None


@dataclass(frozen=True)
class Document:
    """Token ids and their labels (equal to the id where trained, else IGNORED), from row `line`."""

    ids: list[int]
    labels: list[int]
    line: int

    @property
    def trained(self) -> int:
        """How many tokens carry loss. The first token has nothing before it to be predicted from."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass
class Prepared:
    """Documents cut to the sequence length, and what the cutting cost."""

    documents: list[Document] = field(default_factory=list)
    truncated: int = 0  # documents longer than the sequence length
    dropped: int = 0  # documents left without a trained token

    def add(self, document: Document, sequence_length: int) -> None:
        """Keep `document`, cut to `sequence_length` tokens, unless nothing trained is left of it."""
        cut = document
        if len(document.ids) > sequence_length:
            self.truncated += 1
            cut = Document(document.ids[:sequence_length], document.labels[:sequence_length], document.line)
        if cut.trained:
            self.documents.append(cut)
        else:
            self.dropped += 1

    @property
    def tokens(self) -> int:
        """Positions in one pass over the documents, prompts included, padding not."""
        return sum(len(document.ids) for document in self.documents)

    @property
    def tokens_trained(self) -> int:
        """Tokens with loss in one pass."""
        return sum(document.trained for document in self.documents)


class Encoder:
    """Encodes rows with one tokenizer; `train_on` is "assistant" (answers only) or "all"."""

    def __init__(self, tokenizer: Any, train_on: str) -> None:
        if not tokenizer.is_fast:
            raise BadJob(
                "the model's tokenizer does not report where its tokens are in the text (it is not a fast one)"
            )
        self.template = ChatTemplate(tokenizer)
        self._tokenizer = tokenizer
        self._train_all = train_on == "all"
        self._specials = tuple(tokenizer.all_special_tokens)

    def prepare(self, rows: Iterable[Row], sequence_length: int) -> Prepared:
        """All rows as documents of at most `sequence_length` tokens. Raises BadData when none is left to train on."""
        prepared = Prepared()
        for row in rows:
            for document in self.encode(row):
                prepared.add(document, sequence_length)
        if not prepared.documents:
            raise self.too_long(sequence_length)
        return prepared

    @staticmethod
    def too_long(sequence_length: int) -> BadData:
        """What is wrong when the cutting has left nothing to train on."""
        return BadData(f"no row has an answer within {sequence_length} tokens: raise sequence_length")

    def encode(self, row: Row) -> list[Document]:
        """One row as a document; as one per answer where the template rewrites earlier turns. Raises BadData.

        Every text of the row is in one of them: the template may not leave any out.
        """
        if row.messages:
            return [self._marked(text, spans, row.line) for text, spans in self._spans(self.template.fitted(row))]
        self._check_words(row, row.completion, "the completion")
        return [self._plain(row)]

    def _plain(self, row: Row) -> Document:
        """Prompt and completion as they stand, with the end-of-text token, which is trained too."""
        start = 0 if self._train_all else len(row.prompt)
        text = row.prompt + row.completion
        document = self._marked(text, [(start, len(text))], row.line, add_special_tokens=True)
        end = self._tokenizer.eos_token_id
        if end is None or document.ids[-1] == end:
            return document
        return Document([*document.ids, end], [*document.labels, end], row.line)

    def _marked(self, text: str, spans: list[tuple[int, int]], line: int, add_special_tokens: bool = False) -> Document:
        """`text` as tokens, labelled where a token lies wholly within one of the character `spans` (in order)."""
        encoded = self._tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=True)
        starts = [start for start, _ in spans]
        labels = []
        for token, (begin, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            place = bisect_right(starts, begin) - 1
            labels.append(token if place >= 0 and begin < end <= spans[place][1] else IGNORED)
        return Document(list(encoded["input_ids"]), labels, line)

    def _spans(self, row: Row) -> list[tuple[str, list[tuple[int, int]]]]:
        """Rendered texts with the character spans to train in each."""
        whole = self.template.render(row, len(row.messages))
        if self._train_all:
            self.template.check(row, whole, {})
            return [(whole, _without(row, whole))]
        if len(row.messages) > LONG and (found := self._spans_nearby(row, whole)):
            self.template.check(row, whole, {})
            for index, span in found.items():
                self._check_words(row, whole[slice(*span)], f"turn {index + 1}")
            return [(whole, list(found.values()))]
        last = len(row.messages) - 1
        learnt = [index for index in range(last + 1) if row.is_trained(index, all_turns=False)]
        after = {index: whole if index == last else self.template.render(row, index + 1) for index in learnt}
        self.template.check(row, whole, after)
        spans = {index: (self._answer_start(row, index, text), self._answer_end(text)) for index, text in after.items()}
        for index, span in spans.items():
            self._check_words(row, after[index][slice(*span)], f"turn {index + 1}")
        if all(whole.startswith(text[: spans[index][1]]) for index, text in after.items()):
            return [(whole, list(spans.values()))]
        return [(text, [spans[index]]) for index, text in after.items()]

    def _spans_nearby(self, row: Row, whole: str) -> dict[int, tuple[int, int]] | None:
        """Spans of a long conversation's answers, each rendered with its question alone and looked for in `whole`.

        All turns before each answer once more would take a time that grows with the square of their number. None where
        the template writes a question or its answer differently there, or the first answers differently while they are
        the last: then it takes that time.
        """
        answers = [index for index, turn in enumerate(row.messages) if turn["role"] == "assistant"]
        for index in {answers[0], answers[len(answers) // 2]}:
            begun = self.template.render(row, index + 1)
            if not whole.startswith(begun[: self._answer_end(begun)]):
                return None
        lead = next((at for at, turn in enumerate(row.messages) if turn["role"] not in ("system", "developer")), 0)
        spans, asked, at = {}, lead, 0
        for index, turn in enumerate(row.messages):
            asked = index if turn["role"] == "user" else asked
            if turn["role"] != "assistant":
                continue
            near = row._replace(messages=(*row.messages[:lead], *row.messages[asked : index + 1]))
            try:
                text = self.template.render(near, len(near.messages))
                start, end = self._answer_start(near, len(near.messages) - 1, text), self._answer_end(text)
            except BadData:
                return None
            begin = text.find(row.messages[asked]["content"].strip())
            found = whole.find(text[begin:end], at) if 0 <= begin <= start and len(near.messages) <= LONG else -1
            if found < 0:
                return None
            at = found + end - begin
            if row.is_trained(index, all_turns=False):
                spans[index] = (found + start - begin, at)
        return spans

    def _check_words(self, row: Row, text: str, name: str) -> None:
        """Raise BadData for an answer of which nothing but its end would be learnt."""
        for special in self._specials:
            text = text.replace(special, "")
        if not text.strip():
            raise refused(row, f"nothing but the end of {name} would be learnt", "only the end is learnt")

    def _answer_start(self, row: Row, index: int, after: str) -> int:
        """Where answer `index` begins in `after`: where the prompt the model would be given ends."""
        if index == 0:  # nothing to render before it
            return max(after.find(row.messages[0]["content"]), 0)
        prompt = self.template.render(row, index, add_generation_prompt=True)
        start = _shared(prompt, after)
        if start < len(prompt) and start < _shared(self.template.render(row, index), prompt):
            raise refused(row, "the chat template renders the question differently once the answer follows")
        return start

    def _answer_end(self, after: str) -> int:
        """The end of an answer: past its end-of-turn token, before the white space that only separates turns."""
        stripped = after.rstrip()
        return len(stripped) if stripped.endswith(self._specials) else len(after)


def _without(row: Row, whole: str) -> list[tuple[int, int]]:
    """All of a rendered conversation but the words of turns that are not to be trained."""
    spans, begin, at = [], 0, 0
    for index, turn in enumerate(row.messages):
        text = turn["content"].strip()
        found = whole.find(text, at) if text else -1
        if found < 0:
            continue
        at = found + len(text)
        if index in row.untrained:
            spans.append((begin, found))
            begin = at
    return [*spans, (begin, len(whole))]


def _shared(one: str, other: str) -> int:
    """How many characters both begin with."""
    if other.startswith(one):
        return len(one)
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
