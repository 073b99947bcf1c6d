"""What the trainer makes of data files, in its own Python with its own modules: no part of the client is imported.

Reads a list of [job file, {line: texts that the row there holds}] from stdin; prints one document a job:
{"problems": [sentence], "missing": [text of a row that is not in what is trained on]}.
"""

import json
import sys
from pathlib import Path

import check_data
from failures import Failure
from job import read
from tokens import Encoder


def look(job_file: str, texts: dict[str, list[str]]) -> dict[str, list[str]]:
    """The verdict about one job's data, and what of its texts is not in the rendered rows."""
    try:
        job = read(Path(job_file))
        found = check_data.inspect(job)
    except Failure as failure:
        return {"problems": [str(failure)], "missing": []}
    if found["problems"]:
        return {"problems": [each["problem"] for each in found["problems"]], "missing": []}
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.model)
    encoder = Encoder(tokenizer, job.train_on)
    rows, _ = check_data._sorted(Path(job.data.path), job.data.format, job.train_on)
    missing = []
    for row in rows:
        rendered = "".join(tokenizer.decode(document.ids) for document in encoder.encode(row))
        missing += [text for text in texts.get(str(row.line), []) if text.strip() not in rendered]
    return {"problems": [], "missing": missing}


for job_file, texts in json.load(sys.stdin):
    print(json.dumps(look(job_file, texts)))
