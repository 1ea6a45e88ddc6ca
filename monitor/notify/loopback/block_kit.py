"""What Slack refuses in a message's blocks: the rules of the block reference that we can meet.

Only the kinds of block that a page may use are known; any other is refused, so that a new one gets
its limits here first. Lengths are counted in UTF-16 units, the strictest reading.
"""

from __future__ import annotations

from collections.abc import Iterator

from monitor.notify.fit import units

BLOCKS = 50
TOTAL = 13_200
"""Characters of all text in a message's blocks; undocumented, slackapi/bolt-js#2509."""

_KEYS = {
    "header": {"type", "block_id", "text"},
    "section": {"type", "block_id", "text", "fields", "accessory", "expand"},
    "context": {"type", "block_id", "elements"},
    "divider": {"type", "block_id"},
    "actions": {"type", "block_id", "elements"},
}
_TEXT_KEYS = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}
_BUTTON_KEYS = {"type", "text", "action_id", "url", "value", "style", "confirm"}
_BUTTON_LIMITS = {"value": 2000, "url": 3000, "action_id": 255}
_CONFIRM_LIMITS = {"title": 100, "text": 300, "confirm": 30, "deny": 30}
_STYLES = {"primary", "danger"}


def problems(blocks: object) -> list[str]:
    """Everything Slack would refuse, each with a JSON pointer, in Slack's manner."""
    if not isinstance(blocks, list):
        return ["must be an array [json-pointer:/blocks]"]
    found = []
    if len(blocks) > BLOCKS:
        found.append(f"no more than {BLOCKS} items allowed [json-pointer:/blocks]")
    for place, block in enumerate(blocks):
        found += [f"{what} [json-pointer:/blocks/{place}{at}]" for what, at in _block(block)]
    ids = [b.get("block_id") for b in blocks if isinstance(b, dict) and b.get("block_id")]
    if len(ids) != len(set(map(str, ids))):
        found.append("block_id is not unique [json-pointer:/blocks]")
    return found


def total(value: object) -> int:
    """Units of all strings under `text`, `value` and `url` in the blocks."""
    if isinstance(value, list):
        return sum(total(item) for item in value)
    if not isinstance(value, dict):
        return 0
    own = sum(units(v) for k, v in value.items() if k in {"text", "value", "url"} and _is_text(v))
    return own + sum(total(item) for item in value.values())


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _block(block: object) -> Iterator[tuple[str, str]]:
    if not isinstance(block, dict):
        yield "must be an object", ""
        return
    kind = block.get("type")
    if kind not in _KEYS:
        yield f"unsupported type: {kind}", "/type"
        return
    for name in block.keys() - _KEYS[kind]:
        yield f"invalid additional property: {name}", ""
    if units(str(block.get("block_id", ""))) > 255:
        yield "must be less than 256 characters", "/block_id"
    if kind == "header":
        yield from _text(block.get("text"), 150, "/text", kinds=("plain_text",))
    elif kind == "section":
        yield from _section(block)
    elif kind == "context":
        yield from _elements(block, 10)
    elif kind == "actions":
        yield from _elements(block, 25)


def _section(block: dict[str, object]) -> Iterator[tuple[str, str]]:
    if "text" not in block and "fields" not in block:
        yield "missing required field: text", ""
    if "text" in block:
        yield from _text(block["text"], 3000, "/text")
    fields = block.get("fields", [])
    if not isinstance(fields, list) or len(fields) > 10:
        yield "no more than 10 items allowed", "/fields"
        return
    for place, item in enumerate(fields):
        yield from _text(item, 2000, f"/fields/{place}")


def _elements(block: dict[str, object], most: int) -> Iterator[tuple[str, str]]:
    elements = block.get("elements")
    if not isinstance(elements, list) or not elements:
        yield "missing required field: elements", ""
        return
    ids = [str(item["action_id"]) for item in elements if _has(item, "action_id")]
    if len(ids) != len(set(ids)):
        yield "action_id is not unique", "/elements"
    if len(elements) > most:
        yield f"no more than {most} items allowed", "/elements"
    for place, item in enumerate(elements):
        at = f"/elements/{place}"
        if block["type"] == "context":
            yield from _text(item, 3000, at)
        else:
            yield from _button(item, at)


def _has(item: object, name: str) -> bool:
    return isinstance(item, dict) and bool(item.get(name))


def _button(button: object, at: str) -> Iterator[tuple[str, str]]:
    if not isinstance(button, dict) or button.get("type") != "button":
        yield "must be a button", at
        return
    for name in button.keys() - _BUTTON_KEYS:
        yield f"invalid additional property: {name}", at
    yield from _text(button.get("text"), 75, f"{at}/text", kinds=("plain_text",))
    if "style" in button and button["style"] not in _STYLES:
        yield "must be a valid enum value", f"{at}/style"
    if "confirm" in button:
        yield from _confirm(button["confirm"], f"{at}/confirm")
    for name, limit in _BUTTON_LIMITS.items():
        if units(str(button.get(name, ""))) > limit:
            yield f"must be less than {limit + 1} characters", f"{at}/{name}"


def _confirm(dialog: object, at: str) -> Iterator[tuple[str, str]]:
    if not isinstance(dialog, dict):
        yield "must be an object", at
        return
    for name in dialog.keys() - _CONFIRM_LIMITS.keys() - {"style"}:
        yield f"invalid additional property: {name}", at
    if dialog.get("style", "primary") not in _STYLES:
        yield "must be a valid enum value", f"{at}/style"
    for name, limit in _CONFIRM_LIMITS.items():
        yield from _text(dialog.get(name), limit, f"{at}/{name}", kinds=("plain_text",))


def _text(
    text: object, limit: int, at: str, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")
) -> Iterator[tuple[str, str]]:
    if not isinstance(text, dict) or text.get("type") not in kinds:
        yield "failed to match all allowed schemas", at
        return
    for name in text.keys() - _TEXT_KEYS[text["type"]]:
        yield f"invalid additional property: {name}", at
    words = text.get("text")
    if not isinstance(words, str) or not words:
        yield "must be more than 0 characters", f"{at}/text"
    elif units(words) > limit:
        yield f"must be less than {limit + 1} characters", f"{at}/text"
