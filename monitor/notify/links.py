"""Links of a page that may be sent: a bad one is left out, since it must not cost the page."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from monitor.notify.channel import Link
from monitor.url import check_url

LINKS = 20
_HREF = 2000
_URL_CHARACTERS = "/:?#[]@!$&'()*+,;=%~"
"""What a URL may hold as it is; the rest (quotes, angle brackets, bars) is percent-encoded."""


def sound_links(links: Iterable[Link]) -> list[Link]:
    """The first 20 of `links` that are http(s) addresses, percent-encoded; text as it came."""
    out = []
    for link in links:
        try:
            href = quote(check_url(link.href, allow_http=True), safe=_URL_CHARACTERS)
        except ValueError:
            continue
        if len(href) <= _HREF:
            out.append(Link(link.text, href))
    return out[:LINKS]
