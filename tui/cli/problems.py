"""Problems of files a person wrote, as text or JSON; exit 3 when there are any."""

from __future__ import annotations

from collections.abc import Sequence

from runbooks.problems import Problem, summary
from tui.cli.command import Call
from tui.cli.output import OK, PROBLEMS, tell, to_json, write


def say_problems(call: Call, schema: str, found: Sequence[Problem]) -> int:
    """`file:line:col: error[code]: text` each, then the count; the exit status."""
    if call.flags.output == "json":
        data = [
            {
                "file": problem.file,
                "line": problem.line,
                "col": problem.col,
                "severity": problem.severity.value,
                "code": problem.code,
                "text": problem.text,
                "hint": problem.hint,
            }
            for problem in found
        ]
        write(to_json(schema, data))
    else:
        for problem in found:
            for line in str(problem).splitlines():
                write(call.face.say(line, limit=None))
        tell(summary(found), call.flags)
    return PROBLEMS if found else OK
