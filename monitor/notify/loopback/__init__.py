"""Receivers on this machine that answer as the providers do, for rehearsal without an account.

They keep the providers' rules (limits, errors, folding of repeats), so that what they accept the
provider would accept, and they show what a phone would. The demo pages through them; the tests use
the same rules as their oracle and add failures on top.
"""

from __future__ import annotations
