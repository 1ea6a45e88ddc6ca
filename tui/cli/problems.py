"""Problems of files a person wrote, as text or JSON; exit 3 when there are any."""

from __future__ import annotations

from collections.abc import Sequence

from runbooks.problems import Problem, Severity, summary
from tui.cli.command import Call
from tui.cli.output import OK, PROBLEMS, show, tell, to_json, write
from tui.lines.line import Line, Role


def say_problems(call: Call, schema: str, found: Sequence[Problem], *, strict: bool = True) -> int:
    """`file:line:col: error[code]: text` each, then the count; the exit status.

    Args:
        call: where to say it.
        schema: name of the JSON answer.
        found: in the order to say them.
        strict: warnings alone also make the command end with 3.
    """
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
        show((line for problem in found for line in problem_lines(call, problem)), call.flags)
        tell(summary(found), call.flags)
    wrong = found if strict else [p for p in found if p.severity is Severity.ERROR]
    return PROBLEMS if wrong else OK


def problem_lines(call: Call, problem: Problem) -> list[Line]:
    """A problem for a person, in colours where they are wanted."""
    first, *hints = str(problem).splitlines()
    head = f"{problem.severity}[{problem.code}]"
    place, mark, text = first.partition(head)
    say = call.face.say
    role: Role = "bad" if problem.severity is Severity.ERROR else "warn"
    line = Line.of((say(place, limit=None), "dim"), (mark, role), (say(text, limit=None), ""))
    return [line, *(Line.of((say(hint, limit=None), "dim")) for hint in hints)]
