"""FHIRPath expressions, compiled once each (library: fhirpathpy). Numbers come back as Decimal."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import fhirpathpy
from antlr4 import CommonTokenStream, InputStream, Token
from antlr4.error.ErrorListener import ErrorListener
from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser

Evaluate = Callable[[dict[str, Any], dict[str, Any]], list[Any]]


class BadPath(ValueError):
    """An expression is no FHIRPath."""


class PathFailed(ValueError):
    """An expression cannot be evaluated on a resource."""


@cache
def compiled(path: str) -> Evaluate:
    """A function (resource, variables) → the list of values at `path`, which raises PathFailed. Raises BadPath.

    Paths name elements as JSON does (`valueQuantity`, not `value`): no model of FHIR's types is used.
    """
    _check_syntax(path)
    expression = fhirpathpy.compile(path)

    def evaluate(resource: dict[str, Any], variables: dict[str, Any]) -> list[Any]:
        try:
            return list(expression(resource, variables))
        except Exception as error:  # noqa: BLE001 - the library raises plain Exceptions, whose texts may quote a value
            raise PathFailed(f"FHIRPath failed ({type(error).__name__})") from None

    try:
        evaluate({"resourceType": "Patient"}, {"base": ""})
    except PathFailed as error:
        raise BadPath(f"{path!r} cannot be evaluated: {error}") from None
    return evaluate


class _Strict(ErrorListener):  # type: ignore[misc]
    def syntaxError(self, *_: Any) -> None:  # noqa: N802 - ANTLR's name
        raise BadPath("no FHIRPath")


def _check_syntax(path: str) -> None:
    """The library guesses what a faulty expression means, and a check of a guess would prove nothing."""
    lexer = FHIRPathLexer(InputStream(path))
    parser = FHIRPathParser(CommonTokenStream(lexer))
    for one in (lexer, parser):
        one.removeErrorListeners()
        one.addErrorListener(_Strict())
    try:
        parser.expression()
    except BadPath:
        raise BadPath(f"{path!r} is no FHIRPath expression") from None
    if parser.getCurrentToken().type != Token.EOF:
        raise BadPath(f"{path!r} is no FHIRPath expression")
