"""What the columns of requests may hold, and counting what breaks it. Pure.

The rules are those of `data.contract` in params.yaml, which the pipeline holds training data
against, and the types of the live model's own columns. Rows are counted in the process that writes
the prediction log, so that no caller waits for it; rows that were answered are counted, since what
a model refuses is counted as that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from pydantic import BeforeValidator, Field

from registry.sections import Section

if TYPE_CHECKING:
    from serving.signature import Signature

RULES = ("min", "max", "allowed", "missing", "type")
"""What can be broken, by the names that they have in params.yaml; `type` is the model's own."""
NUMERIC, TEXT = "numeric", "text"
"""The kinds of columns that are told apart."""

_KINDS = dict.fromkeys(("boolean", "integer", "long", "float", "double"), NUMERIC)
_KINDS["string"] = TEXT
_USUAL: dict[str, set[type]] = {NUMERIC: {float, int, bool, type(None)}, TEXT: {str, type(None)}}
_ABSENT = object()
_NUMBERS = (int, float, Decimal)


def _name(value: Any) -> str:
    """By which a value is meant in `allowed`: 1, 1.0 and "1" are the same."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


class Rule(Section):
    """What one column may hold; the same keys as the pipeline reads."""

    min: float | None = None
    max: float | None = None
    allowed: tuple[Annotated[str, BeforeValidator(_name)], ...] | None = None
    missing: float = Field(default=1.0, ge=0, le=1)
    """Largest share of missing values; of a single row, one is too many where this is 0."""

    @property
    def names(self) -> list[str]:
        """Of RULES those that can be broken."""
        given = {"min": self.min, "max": self.max, "allowed": self.allowed}
        return [k for k, v in given.items() if v is not None] + ["missing"] * (self.missing == 0)


Rules = Mapping[str, Rule]
"""By column."""
Kinds = Mapping[str, str]
"""NUMERIC or TEXT by column, empty for what is neither; of all inputs of a model."""


class Counted(TypedDict):
    """Of one model: rows that were looked at, and violations by column and rule."""

    checked: int
    violations: dict[str, dict[str, int]]


def kinds(signature: Signature) -> dict[str, str]:
    """The kinds of a model's inputs; empty where it does not name them."""
    if not signature.by_column:
        return {}
    return {column.name: _KINDS.get(column.type, "") for column in signature.inputs}


def nothing() -> Counted:
    """Before any row."""
    return {"checked": 0, "violations": {}}


def add(sums: Counted, more: Counted) -> None:
    """Add what was counted of further rows of the same model."""
    sums["checked"] += more["checked"]
    for column, broken in more["violations"].items():
        known = sums["violations"].setdefault(column, {})
        for rule, count in broken.items():
            known[rule] = known.get(rule, 0) + count


def total(counted: Counted) -> int:
    """All violations."""
    return sum(sum(broken.values()) for broken in counted["violations"].values())


class Checks:
    """The rules of one model, made ready for many rows."""

    def __init__(self, rules: Rules, known: Kinds) -> None:
        """Where no kinds are known, a column may be left out, and its type is not looked at."""
        self._columns = frozenset(known or rules)
        self._plan = [_plan(name, rule, known) for name, rule in rules.items()]
        # Without a rule the type is all there is to see, and mostly it is the right one.
        bare = [name for name, kind in known.items() if kind and name not in rules]
        self._bare = [(name, _USUAL[known[name]], _plan(name, Rule(), known)) for name in bare]

    def count(self, rows: Iterable[Mapping[str, Any]], *, typed: bool = True) -> Counted:
        """Violations of some rows, each the features by name.

        `typed` says whether text and numbers can be told apart, which in CSV they cannot. Rows with
        none of the columns (they have no names, say) are not checked. A value of another type than
        the model's breaks no further rule.
        """
        counted = nothing()
        if not self._plan and not self._bare:
            return counted
        columns, found = self._columns, counted["violations"]
        for row in rows:
            if columns.isdisjoint(row):
                continue
            counted["checked"] += 1
            for name, rule in self._broken(row, typed):
                broken = found.setdefault(name, {})
                broken[rule] = broken.get(rule, 0) + 1
        return counted

    def _broken(self, row: Mapping[str, Any], typed: bool) -> list[tuple[str, str]]:
        """Columns of a row with the rule that each breaks."""
        found: list[tuple[str, str]] = []
        get, plan = row.get, self._plan
        if strange := [p for name, usual, p in self._bare if type(get(name)) not in usual]:
            plan = [*plan, *strange]
        for name, kind, required, must, low, high, allowed, numbers in plan:
            value: Any = get(name, _ABSENT)
            if value is _ABSENT or value is None or value != value:
                if must and (required or value is not _ABSENT):
                    found.append((name, "missing"))
            elif isinstance(value, _NUMBERS):
                if kind == TEXT and typed and not isinstance(value, Decimal):
                    found.append((name, "type"))
                    continue
                if low is not None and value < low:
                    found.append((name, "min"))
                if high is not None and value > high:
                    found.append((name, "max"))
                if allowed is not None and value not in numbers and _name(value) not in allowed:
                    found.append((name, "allowed"))
            elif kind == NUMERIC or (kind == TEXT and isinstance(value, dict | list)):
                found.append((name, "type"))
            elif allowed is not None and (isinstance(value, dict | list) or value not in allowed):
                found.append((name, "allowed"))
        return found


def _plan(name: str, rule: Rule, known: Kinds) -> tuple[Any, ...]:
    kind, required = known.get(name, ""), name in known
    allowed = None if rule.allowed is None else frozenset(rule.allowed)
    numbers = frozenset(_numbers(rule.allowed or ()))
    return name, kind, required, rule.missing == 0, rule.min, rule.max, allowed, numbers


def _numbers(texts: Sequence[str]) -> Iterator[float]:
    for text in texts:
        try:
            yield float(text)
        except ValueError:
            continue


class Contracts:
    """The gateway's side: what is to be checked, and what was counted, by model."""

    def __init__(
        self,
        rules: Mapping[str, Rules] | None = None,
        signatures: Callable[[], Mapping[str, Signature]] = dict,
    ) -> None:
        """`signatures` are those of the live versions, asked for again and again."""
        self._rules, self._signatures = dict(rules or {}), signatures
        self._known = dict(signatures())
        self._counted: dict[str, Counted] = {}

    def moved(self) -> bool:
        """Whether a model's live version takes other columns than when this was asked before."""
        now = self._signatures()
        if now == self._known:
            return False
        self._known = dict(now)
        return True

    def settings(self) -> dict[str, Any]:
        """For `checks`, in JSON."""
        plain = {
            model: {column: rule.model_dump(exclude_none=True) for column, rule in rules.items()}
            for model, rules in self._rules.items()
        }
        return {"rules": plain, "kinds": {m: kinds(s) for m, s in self._known.items()}}

    def add(self, counted: Mapping[str, Counted]) -> None:
        """Add what was counted, by model."""
        for model, more in counted.items():
            add(self._counted.setdefault(model, nothing()), more)

    def of(self, model: str) -> Counted:
        """What was counted of a model since the gateway's start."""
        return self._counted.get(model, nothing())

    def violations(self) -> dict[tuple[str, str, str], int]:
        """By model, column and rule; 0 for what the live version might break and does not."""
        found: dict[tuple[str, str, str], int] = {}
        for model in {**self._rules, **self._known}:
            rules = self._rules.get(model, {})
            known = kinds(self._known[model]) if model in self._known else {}
            found |= {(model, c, name): 0 for c, rule in rules.items() for name in rule.names}
            found |= {(model, c, "type"): 0 for c, kind in known.items() if kind}
        for model, counted in self._counted.items():
            for column, broken in counted["violations"].items():
                found |= {(model, column, rule): count for rule, count in broken.items()}
        return found


def checks(settings: Mapping[str, Any]) -> dict[str, Checks]:
    """Read back `Contracts.settings`: what to check, by model."""
    rules, known = settings.get("rules", {}), settings.get("kinds", {})
    return {
        model: Checks(
            {column: Rule(**raw) for column, raw in rules.get(model, {}).items()},
            known.get(model, {}),
        )
        for model in {**rules, **known}
    }
