"""YAML that people write beside their data, read into pydantic models; an error names file, line and key."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from arrears.errors import ArrearsError, SourceError

Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """Reads a number with a decimal point exactly, and refuses a key that stands twice."""


def _exact(loader: _Loader, node: yaml.ScalarNode) -> Decimal | float:
    text = loader.construct_scalar(node)
    try:
        return Decimal(text)
    except ArithmeticError:  # .inf, .nan, 1_000.5, 1:30.5
        return loader.construct_yaml_float(node)


def _once(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key.value} stands twice", key.start_mark)
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:float", _exact)
_Loader.add_constructor("tag:yaml.org,2002:map", _once)


def read_yaml(file: Path, model: type[Model], error_kind: type[ArrearsError] = SourceError) -> Model:
    """Reads a file into a model; an empty file is a model without a key.

    Raises:
        SourceError: it cannot be read, is not YAML, or says what the model does not allow; or another error, where
            the file says nothing of a source.
    """
    try:
        return _read(file, model)
    except SourceError as error:
        raise error_kind(str(error)) from error


def _read(file: Path, model: type[Model]) -> Model:
    try:
        document = yaml.load(_text(file), _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise SourceError(f"{file}{line}: not YAML: {getattr(error, 'problem', None) or error}.") from error
    if document is not None and not isinstance(document, dict):
        raise SourceError(f"{file}, line 1: not a list of keys with their values.")
    try:
        return model.model_validate(document or {})
    except ValidationError as error:
        first = error.errors()[0]
        told = "no such key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise SourceError(f"{place_of(file, first['loc'])}: {told}.") from error


def place_of(file: Path, key: Sequence[object]) -> str:
    """`FILE, line N, key a.b.c`; the line of the nearest key above where the file does not have it."""
    parts = [str(part) for part in key if part != "[key]"]
    node, line = yaml.compose(_text(file), yaml.SafeLoader), 1
    for part in parts:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next((pair for pair in node.value if pair[0].value == part), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return f"{file}, line {line}, key {'.'.join(parts)}" if parts else str(file)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{file}: not UTF-8.") from error
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror or error}.") from error
