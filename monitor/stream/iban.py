"""Bank account numbers: the form of an IBAN (ISO 13616) and its check (ISO 7064 mod 97-10)."""

from __future__ import annotations

import re

_COUNTRIES = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29
ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25
QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
"""
LENGTHS = {one[:2]: int(one[2:]) for one in _COUNTRIES.split()}
"""Characters in an IBAN of each country."""

CANDIDATE = re.compile(
    r"(?<![0-9A-Za-z])[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,4})?(?![0-9A-Za-z])"
)


def candidates(text: str) -> list[str]:
    """Substrings with the form and the length of an IBAN of their country, without spaces."""
    found = (match.group().replace(" ", "") for match in CANDIDATE.finditer(text))
    return [one for one in found if LENGTHS.get(one[:2]) == len(one)]


def is_valid(iban: str) -> bool:
    """Whether the check digits are right: the rearranged number leaves 1 when divided by 97.

    >>> is_valid("DE89370400440532013000"), is_valid("DE88370400440532013000")
    (True, False)
    """
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1
