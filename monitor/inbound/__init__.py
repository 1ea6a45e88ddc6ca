"""What people answer outside: buttons in Slack, the acknowledge key of PagerDuty.

Both ways in come to one place, `answers.Answers`, which applies an answer once, in one transaction,
through the desk and with the rights of the mapped person. Whoever sent it gets its receipt (Slack's
envelope, the 200 of a web hook) only after that transaction has committed.
"""

from __future__ import annotations
