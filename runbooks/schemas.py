"""JSON Schema (2020-12) of the types that `convert` reads, for editors and for tests.

msgspec has a generator too; it cannot write a default that is a class of ours (a duration, a
condition), and such defaults are what a reader of a schema wants to see.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Final, cast

import msgspec
from msgspec import inspect as mi

_ATTRIBUTE: Final = re.compile(r"^    (\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
_NUMBERS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_TEXTS: Final = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
_ITEMS: Final = {"min_length": "minItems", "max_length": "maxItems"}
_KEYS: Final = {"min_length": "minProperties", "max_length": "maxProperties"}
_PLAIN: Final[dict[type, dict[str, Any]]] = {
    mi.AnyType: {},
    mi.NoneType: {"type": "null"},
    mi.BoolType: {"type": "boolean"},
    mi.DateTimeType: {"type": "string", "format": "date-time"},
    mi.DateType: {"type": "string", "format": "date"},
    mi.TimeType: {"type": "string", "format": "time"},
    mi.TimeDeltaType: {"type": "string", "format": "duration"},
    mi.UUIDType: {"type": "string", "format": "uuid"},
    mi.DecimalType: {"type": "string", "format": "decimal"},
}


def json_schema(kind: Any) -> dict[str, Any]:
    """The schema of a Struct, or of any type that `convert` reads.

    Raises:
        TypeError: a type in it has no schema.
    """
    writer = _Writer()
    root = writer.schema(mi.type_info(kind))
    return {**root, "$defs": writer.components} if writer.components else root


class _Writer:
    """Schemas of types; each Struct and enum once, under its name."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}
        self.names: dict[type, str] = {}

    def schema(self, info: mi.Type) -> dict[str, Any]:
        if isinstance(info, mi.Metadata):
            return {**self.schema(info.type), **(info.extra_json_schema or {})}
        if type(info) in _PLAIN:
            return dict(_PLAIN[type(info)])
        if isinstance(info, (mi.StructType, mi.EnumType)):
            return self.reference(info)
        if isinstance(info, (mi.IntType, mi.FloatType)):
            kind = "integer" if isinstance(info, mi.IntType) else "number"
            return {"type": kind, **_limits(info, _NUMBERS)}
        if isinstance(info, mi.StrType):
            return {"type": "string", **_limits(info, _TEXTS)}
        if isinstance(info, mi.LiteralType):
            return {"enum": list(info.values)}
        if isinstance(info, mi.UnionType):
            return self.union(info)
        if isinstance(info, mi.CustomType):
            described = getattr(info.cls, "json_schema", None)
            return cast("dict[str, Any]", described()) if described else {"type": "string"}
        return self.collection(info)

    def collection(self, info: mi.Type) -> dict[str, Any]:
        if isinstance(info, (mi.ListType, mi.VarTupleType, mi.SetType, mi.FrozenSetType)):
            items = {"type": "array", "items": self.schema(info.item_type)}
            unique = (
                {"uniqueItems": True} if isinstance(info, (mi.SetType, mi.FrozenSetType)) else {}
            )
            return {**items, **_limits(info, _ITEMS), **unique}
        if isinstance(info, mi.TupleType):
            parts = [self.schema(item) for item in info.item_types]
            size = len(parts)
            return {"type": "array", "prefixItems": parts, "minItems": size, "maxItems": size}
        if isinstance(info, mi.DictType):
            out = {"type": "object", "additionalProperties": self.schema(info.value_type)}
            keys = {k: v for k, v in self.schema(info.key_type).items() if k != "type"}
            return {**out, **_limits(info, _KEYS), **({"propertyNames": keys} if keys else {})}
        raise TypeError(f"no schema for {type(info).__name__}")

    def union(self, info: mi.UnionType) -> dict[str, Any]:
        structs = [bare for t in info.types if isinstance(bare := _bare(t), mi.StructType)]
        out: dict[str, Any] = {"anyOf": [self.schema(member) for member in info.types]}
        if len(structs) > 1 and structs[0].tag_field is not None:
            mapping = {str(struct.tag): self.reference(struct)["$ref"] for struct in structs}
            out["discriminator"] = {"propertyName": structs[0].tag_field, "mapping": mapping}
        return out

    def reference(self, info: mi.StructType | mi.EnumType) -> dict[str, Any]:
        """A pointer to the component, written when it is first asked for."""
        name = self.names.get(info.cls)
        if name is None:
            name = info.cls.__name__
            while name in self.components:
                name += "_"
            self.names[info.cls] = name
            self.components[name] = {}
            described = self.struct(info) if isinstance(info, mi.StructType) else _enum(info)
            self.components[name] = {"title": info.cls.__name__, **_doc(info.cls), **described}
        return {"$ref": f"#/$defs/{name}"}

    def struct(self, info: mi.StructType) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        required = []
        if info.tag_field is not None:
            properties[info.tag_field] = {"enum": [info.tag]}
            required.append(info.tag_field)
        said = _attributes(info.cls)
        for field in info.fields:
            told = {"description": said[field.name]} if field.name in said else {}
            properties[field.encode_name] = {**self.schema(field.type), **told, **_default(field)}
            if field.required:
                required.append(field.encode_name)
        out: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
        if info.forbid_unknown_fields:
            out["additionalProperties"] = False
        return out


def _bare(info: mi.Type) -> mi.Type:
    return info.type if isinstance(info, mi.Metadata) else info


def _limits(info: mi.Type, names: dict[str, str]) -> dict[str, Any]:
    values = ((theirs, getattr(info, ours, None)) for ours, theirs in names.items())
    return {name: value for name, value in values if value is not None}


def _enum(info: mi.EnumType) -> dict[str, Any]:
    return {"enum": [member.value for member in info.cls]}


def _doc(cls: type) -> dict[str, str]:
    doc = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]
    return {"description": " ".join(doc.split())} if doc else {}


def _attributes(cls: type) -> dict[str, str]:
    """What the docstrings of a class and of those it is made from say of each field."""
    said: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        doc = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = doc.partition("Attributes:\n")[2].partition("\n\n")[0]
        said |= {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(section)}
    return said


def _default(field: mi.Field) -> dict[str, Any]:
    if field.default is not msgspec.NODEFAULT:
        value = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    else:
        return {}
    return {"default": msgspec.to_builtins(value, str_keys=True, enc_hook=_as_text)}


def _as_text(value: object) -> str:
    """Our text classes print as they read."""
    return str(value)
