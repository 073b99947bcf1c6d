"""Counts the words of a job's data: `python check.py job.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))

from failures import BadData
from job import read
from reader import problems

job = read(Path(sys.argv[1]))
found = list(problems(Path(job.data.path), job.data.format))
bad = [{"line": each.line, "problem": each.problem} for each in found if isinstance(each, BadData)]
rows = [each for each in found if not isinstance(each, BadData)]
lengths = sorted(len(content.split()) for row in rows for _, content in row.turns) or [0]
answer: dict[str, Any] = {"rows": len(rows), "tokens": sum(lengths), "tokens_trained": sum(lengths), "steps": len(rows)}
answer |= {"tokens_p50": lengths[len(lengths) // 2], "tokens_p95": lengths[-1], "tokens_max": lengths[-1]}
answer |= {"tokens_processed": sum(lengths), "truncated_percent": 0.0, "dropped_percent": 0.0}
print(json.dumps({**answer, "problem_count": len(bad), "problems": bad}))
