"""Rows to token ids and labels: only what the model is to learn carries a label, everything else is IGNORED.

The trained part is found by rendering the conversation up to each answer with the model's own chat template and
comparing; no template needs the `{% generation %}` mark for that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from failures import BadData, BadJob, one_line
from job import Job
from rows import Row

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
        """One row as a document; as one per answer where the template rewrites earlier turns. Raises BadData."""
        if row.messages:
            return [self._marked(text, spans, row.line) for text, spans in self._spans(row)]
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
        """Rendered texts with the character spans of the answers to train in each."""
        whole = self._render(row, len(row.messages))
        if self._train_all:
            return [(whole, [(0, len(whole))])]
        turns = []
        for index, message in enumerate(row.messages):
            if message["role"] == "assistant" and index >= row.first_trained:
                after = whole if index == len(row.messages) - 1 else self._render(row, index + 1)
                turns.append((after, (self._answer_start(row, index, after), self._answer_end(after))))
        if all(whole.startswith(after[: span[1]]) for after, span in turns):
            return [(whole, [span for _, span in turns])]
        return [(after, [span]) for after, span in turns]

    def _answer_start(self, row: Row, index: int, after: str) -> int:
        """Where answer `index` begins in `after`: where the prompt the model would be given ends."""
        if index == 0:  # nothing to render before it
            return max(after.find(row.messages[0].get("content") or ""), 0)
        prompt = self._render(row, index, add_generation_prompt=True)
        start = _shared(prompt, after)
        if start < len(prompt) and start < _shared(self._render(row, index), prompt):
            raise BadData("the chat template renders the question differently once the answer follows", row.line)
        return start

    def _answer_end(self, after: str) -> int:
        """The end of an answer: past its end-of-turn token, before the white space that only separates turns."""
        stripped = after.rstrip()
        return len(stripped) if stripped.endswith(self._specials) else len(after)

    def _render(self, row: Row, turns: int, add_generation_prompt: bool = False) -> str:
        if not self._tokenizer.chat_template:
            raise BadData("the model has no chat template: use rows with prompt and completion, or text", row.line)
        try:
            text = self._tokenizer.apply_chat_template(
                list(row.messages[:turns]),
                tools=row.tools,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        except Exception as error:  # whatever a template raises about a conversation is about this row
            raise BadData(f"the model's chat template refuses the conversation: {error}", row.line) from None
        return str(text)


def _shared(one: str, other: str) -> int:
    """How many characters both begin with."""
    if other.startswith(one):
        return len(one)
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
