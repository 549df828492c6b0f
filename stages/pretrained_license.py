"""Whether a license permits the use of weights in a product: a decision on SPDX expressions.

An OR permits if one side does, an AND if both do; an exception only adds permissions. Source: SPDX
Specification 2.3, Annex D. Expressions are parsed by `license-expression` with its SPDX list.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from audit.errors import Refused

_WORD: Final = re.compile(r"[^\s()]+")
_OPERATORS: Final = frozenset({"AND", "OR", "WITH", "and", "or", "with"})


def parse(expression: str) -> Any:
    """The parsed expression.

    Raises:
        ValueError: it is no SPDX expression, or names a license that SPDX does not list and that is
            no `LicenseRef-…`.
    """
    from license_expression import ExpressionError, get_spdx_licensing

    licensing = get_spdx_licensing()
    try:
        parsed = licensing.parse(expression, strict=True)
        unknown = licensing.unknown_license_keys(parsed)
    except ExpressionError:
        parsed, unknown = None, []
    if parsed is None:
        raise ValueError("write an SPDX license expression, for example `Apache-2.0`")
    if odd := [key for key in unknown if not key.startswith("LicenseRef-")]:
        raise ValueError(f"SPDX lists no license {odd[0]}; write LicenseRef-{odd[0]} for your own")
    keys = {key.lower() for key in licensing.license_keys(parsed)}
    for word in set(_WORD.findall(expression)) - _OPERATORS:
        if word.lower() not in keys:  # the library takes nicknames, `LicenseRef-Apache` among them
            raise ValueError(f"write the SPDX identifier for {word}")
    return parsed


def permits(expression: str, allowed: Collection[str]) -> bool:
    """Whether the allowed licenses permit what the expression says."""
    return _permits(parse(expression), frozenset(allowed))


def require_license(
    name: str, expression: str, justification: str | None, allowed: Collection[str]
) -> None:
    """Refuse an entry that nothing permits (WTS-3).

    Args:
        name: of the entry.
        expression: its license.
        justification: what permits the use beside the license, in writing.
        allowed: SPDX identifiers.

    Raises:
        Refused: neither license nor justification permits the use.
    """
    if justification is None and not permits(expression, allowed):
        raise Refused(
            f"The license {expression} of `weights.sources.{name}` is none that `weights.licenses` "
            "allows in this product.",
            "Take weights under another license, or write into `license_justification` what "
            "permits the use.",
        )


def _permits(parsed: Any, allowed: frozenset[str]) -> bool:
    from license_expression import AND, OR, LicenseWithExceptionSymbol

    if isinstance(parsed, OR):
        return any(_permits(part, allowed) for part in parsed.args)
    if isinstance(parsed, AND):
        return all(_permits(part, allowed) for part in parsed.args)
    if isinstance(parsed, LicenseWithExceptionSymbol):
        return parsed.license_symbol.key in allowed
    return str(parsed.key) in allowed
