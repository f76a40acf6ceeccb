"""Parser for the language of rules. Errors name the position in the text.

    total = fare + tip                       charge = 0.17 * minutes           depth ~= 200 * z / (x + y)
    start <= end                             0 <= age_at_entry <= age          weekday = weekday(start)
    city -> country                          origin, dest -> distance          code <-> label
    pay == 'cash' => tip == 0                missing(end) <=> missing(delay)   fare % 0.5 = 0
    seen(origin, dest)                       unique(order, line)           hits + faults <= tries
    year < 1954 => missing(sf)               weekday(day) <= 4             day <= monthdays(month)
    lsize = log(size)                        quota = goals / shots         person -> sex
    numbered(order, line)

Names of columns are words, or in backticks: `unit price`. Text is in quotes.
"""

import re
from typing import NamedTuple

from synthjax.errors import InputError
from synthjax.rules.expressions import FUNCTIONS, RESERVED, Binary, Call, Expression, Name, Number, names
from synthjax.rules.keys import Numbered, Unique
from synthjax.rules.kinds import Determined, Equation, Order, Rule, Seen, Together, When
from synthjax.rules.predicates import Compare, Missing, Multiple, Predicate

_TOKENS = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![A-Za-z_])|(?P<word>[^\W\d]\w*)|`(?P<name>(?:[^`]|``)*)`"
    r"|'(?P<text>(?:[^']|'')*)'|\"(?P<quoted>[^\"]*)\""
    r"|(?P<sign><=>|<->|=>|->|==|!=|<=|>=|~=|[-+*/%(),<>=]))"
)
_COMPARISONS = ("=", "==", "!=", "<", "<=", ">", ">=", "~=")
_TURNED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
"""The operators for exchanged sides."""
_LONGEST, _DEEPEST, _LARGEST = 10_000, 50, 1e300
"""Maximum number of characters, depth of brackets, and number."""


class _Text(NamedTuple):
    """A quoted text in a comparison."""

    value: str


class _Comparison(NamedTuple):
    """Terms with operators between them, as written."""

    terms: list[Expression | _Text]
    operators: list[str]
    place: int
    """Position in the text, from 0."""


def parse(text: str) -> Rule:
    """Parses a rule.

    Args:
        text: one rule, see the module's docstring.

    Raises:
        InputError: the text is not a rule. The message has the position, counted from 1.

    >>> parse("total = fare + `tip (card)`").names
    ('total', 'fare', 'tip (card)')
    >>> parse("start<=end").text
    'start <= end'
    >>> parse("total = exec('rm')")
    Traceback (most recent call last):
    synthjax.errors.InputError: rule "total = exec('rm')": place 9: 'exec' is not a function; there are abs, ...
    """
    if not isinstance(text, str):
        raise InputError(f"rule {text!r}: a rule is a text, such as 'total = fare + tip'")
    return _Parser(text).rule()


def parse_expression(text: str) -> Expression:
    """Parses an expression, such as `fare + tip`; errors are those of `parse`."""
    parser = _Parser(text)
    found = parser.sum()
    parser.finish()
    return found


def parse_predicate(text: str) -> Predicate:
    """Parses a condition, such as `pay == 'cash'`; errors are those of `parse`."""
    parser = _Parser(text)
    found = parser.predicate(parser.predicate_or_comparison())
    parser.finish()
    return found


class _Parser:
    """A recursive descent parser: each method reads a part of the text from token `at` on."""

    def __init__(self, text: str):
        """Divides the text into tokens (kind, value, position)."""
        self.text, self.at, self.depth = text, 0, 0
        self.tokens: list[tuple[str, str, int]] = []
        if len(text) > _LONGEST:
            raise InputError(f"rule {text[:60]!r}...: longer than {_LONGEST:,} characters")
        place = 0
        while place < len(text.rstrip()):
            match = _TOKENS.match(text, place)
            if not match:
                start = place + len(text[place:]) - len(text[place:].lstrip())
                raise self.fault(f"{text[start]!r} is not of the language", start)
            kind = match.lastgroup or ""
            value = match[kind]
            value = {"name": value.replace("``", "`"), "text": value.replace("''", "'")}.get(kind, value)
            self.tokens.append((kind, value, match.end() - len(match[0].lstrip())))
            place = match.end()
        self.tokens.append(("end", "", len(text)))

    def fault(self, what: str, place: int | None = None) -> InputError:
        """The error at a position; None: at the next token."""
        place = self.tokens[self.at][2] if place is None else place
        shown = self.text if len(self.text) <= 200 else f"{self.text[:200]}..."
        return InputError(f"rule {shown!r}: place {place + 1}: {what}")

    # --- tokens

    def is_sign(self, *signs: str) -> bool:
        """Whether the next token is one of these signs."""
        kind, value, _ = self.tokens[self.at]
        return kind == "sign" and value in signs

    def take(self, *signs: str) -> str:
        """Reads the next token, which must be one of these signs."""
        if not self.is_sign(*signs):
            raise self.fault(f"{self.next()} where {' or '.join(signs)} is expected")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def next(self) -> str:
        """The next token, for messages."""
        kind, value, _ = self.tokens[self.at]
        return "the end" if kind == "end" else repr(value)

    def is_call(self, word: str) -> bool:
        """Whether the next tokens are `word(`."""
        kind, value, _ = self.tokens[self.at]
        return kind == "word" and value == word and self.tokens[self.at + 1][:2] == ("sign", "(")

    def name(self) -> str:
        kind, value, _ = self.tokens[self.at]
        if kind not in ("word", "name") or (kind == "word" and value in RESERVED):
            raise self.fault(f"{self.next()} where a column is expected")
        self.at += 1
        return value

    def name_list(self) -> tuple[str, ...]:
        found = [self.name()]
        while self.is_sign(","):
            self.at += 1
            found.append(self.name())
        if len(set(found)) < len(found):
            raise self.fault(f"a column is named twice among {', '.join(found)}", 0)
        return tuple(found)

    # --- rules

    def rule(self) -> Rule:
        found = self.whole()
        self.finish()
        return found

    def finish(self) -> None:
        if self.tokens[self.at][0] != "end":
            raise self.fault(f"{self.next()} after the end of the rule")

    def whole(self) -> Rule:
        for word, kind in (("seen", Seen), ("unique", Unique), ("numbered", Numbered)):
            if self.is_call(word):
                self.at += 2
                columns = self.name_list()
                self.take(")")
                if word != "unique" and len(columns) < 2:
                    raise self.fault(f"{word}(...) names two columns at least", 0)
                return kind(columns)
        if any(kind == "sign" and value in ("->", "<->") for kind, value, _ in self.tokens):
            return self.determined()
        parts = [self.predicate_or_comparison()]
        while self.tokens[self.at][:2] == ("word", "and"):
            self.at += 1
            parts.append(self.predicate_or_comparison())
        if self.is_sign("=>"):
            conditions = tuple(self.predicate(part) for part in parts)
            self.at += 1
            return When(conditions, _simple(self.claim(self.predicate_or_comparison())))
        if len(parts) > 1:
            raise self.fault(f"{self.next()} where => is expected: only conditions are joined by `and`")
        if self.is_sign("<=>"):
            together = [self.predicate(parts[0])]
            while self.is_sign("<=>"):
                self.at += 1
                together.append(self.predicate(self.predicate_or_comparison()))
            return Together(tuple(together))
        found = self.claim(parts[0])
        return found if isinstance(found, Rule) else When((), found)

    def determined(self) -> Rule:
        keys = self.name_list()
        place = self.at
        both = self.take("->", "<->") == "<->"
        if both and len(keys) > 1:
            raise self.fault("<-> has one column on either side", self.tokens[place][2])
        target = self.name()
        if target in keys:
            raise self.fault(f"{target!r} is on both sides")
        return Determined(keys, target, both)

    def predicate_or_comparison(self) -> Predicate | _Comparison:
        if self.is_call("missing"):
            self.at += 2
            name = self.name()
            self.take(")")
            return Missing(name)
        place = self.tokens[self.at][2]
        terms, operators = [self.term()], []
        while self.is_sign(*_COMPARISONS):
            operators.append(self.take(*_COMPARISONS))
            terms.append(self.term())
        if not operators:
            raise self.fault(f"{self.next()} where a comparison such as = or <= is expected")
        return _Comparison(terms, operators, place)

    def predicate(self, part: Predicate | _Comparison) -> Predicate:
        """Converts a comparison to a condition, which must be about one column and a value."""
        claim = _simple(self.claim(part))
        if isinstance(claim, Rule):
            place = part.place if isinstance(part, _Comparison) else 0
            raise self.fault("a condition compares one column with a value", place)
        return claim

    def claim(self, part: Predicate | _Comparison) -> Predicate | Equation | Order:
        """Converts a comparison to a claim."""
        if not isinstance(part, _Comparison):
            return part
        terms, operators, place = part
        if len(terms) > 2 or operators[0] in _TURNED:
            return self.chain(part)
        (left, right), operator = terms, operators[0]
        if isinstance(right, Name) and not isinstance(left, Name):
            left, right = right, left
        if isinstance(left, Name) and isinstance(right, Number | _Text) and operator != "~=":
            return Compare(left.name, "==" if operator == "=" else operator, right.value)
        if operator == "!=" or isinstance(left, _Text) or isinstance(right, _Text):
            raise self.fault("one column can be compared with one text or number here", place)
        if isinstance(left, Binary) and left.operator == "%" and isinstance(right, Number) and operator != "~=":
            name, step = left.left, left.right
            if isinstance(name, Name) and isinstance(step, Number) and step.value > 0:
                return Multiple(name.name, step.value, right.value)
        if not isinstance(left, Name):
            raise self.fault("one side of an equation has to be a column by itself", place)
        if not names(right) or left.name in names(right):
            raise self.fault(f"{left.name!r} has to be computed from other columns", place)
        return Equation(left.name, right, operator == "~=")

    def chain(self, part: _Comparison) -> Order | Compare:
        """Converts a comparison with `<`, `<=`, `>` or `>=`."""
        terms, operators, place = part
        if any(isinstance(term, _Text) for term in terms):
            if len(terms) == 2 and isinstance(terms[0], Name) and isinstance(terms[1], _Text):
                return Compare(terms[0].name, operators[0], terms[1].value)
            raise self.fault("a text is compared with one column", place)
        if {*operators} <= {"<", "<="}:
            pass
        elif {*operators} <= {">", ">="}:
            terms, operators = terms[::-1], [_TURNED[operator] for operator in operators[::-1]]
        else:
            raise self.fault("a chain has < and <= only, or > and >= only", place)
        found = Order(tuple(terms), tuple(operators))  # type: ignore[arg-type]
        if not found.names:
            raise self.fault("no column is named", place)
        return found

    # --- arithmetic

    def term(self) -> Expression | _Text:
        kind, value, _ = self.tokens[self.at]
        if kind in ("text", "quoted"):
            self.at += 1
            return _Text(value)
        return self.sum()

    def sum(self) -> Expression:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.fault(f"more than {_DEEPEST} brackets within each other")
        left = self.product()
        while self.is_sign("+", "-"):
            operator = self.take("+", "-")
            left = Binary(operator, left, self.product())
        self.depth -= 1
        return left

    def product(self) -> Expression:
        left = self.factor()
        while self.is_sign("*", "/", "%"):
            operator = self.take("*", "/", "%")
            left = Binary(operator, left, self.factor())
        return left

    def factor(self) -> Expression:
        minus = False
        while self.is_sign("-", "+"):
            minus ^= self.take("-", "+") == "-"
        node = self.atom()
        if not minus:
            return node
        return Number(-node.value) if isinstance(node, Number) else Binary("*", Number(-1), node)

    def atom(self) -> Expression:
        kind, value, place = self.tokens[self.at]
        if kind == "number":
            self.at += 1
            if float(value) > _LARGEST:
                raise self.fault("too large a number", place)
            return Number(float(value))
        if self.is_sign("("):
            self.at += 1
            inner = self.sum()
            self.take(")")
            return inner
        if kind == "word" and self.tokens[self.at + 1][:2] == ("sign", "("):
            return self.call(value, place)
        return Name(self.name())

    def call(self, function: str, place: int) -> Expression:
        if function not in FUNCTIONS:
            known = ", ".join(sorted(FUNCTIONS))
            raise self.fault(f"{function!r} is not a function; there are {known}", place)
        self.at += 2
        arguments = [self.sum()]
        while self.is_sign(","):
            self.at += 1
            arguments.append(self.sum())
        self.take(")")
        counts = FUNCTIONS[function][1]
        if len(arguments) not in counts:
            needed = " or ".join(map(str, counts)) if len(counts) < 3 else f"{counts[0]} to {counts[-1]}"
            raise self.fault(f"{function} takes {needed} values, not {len(arguments)}", place)
        return Call(function, tuple(arguments))


def _simple(claim: Predicate | Equation | Order) -> Predicate | Equation | Order:
    """Converts an order of one column and one number to a `Compare`."""
    if isinstance(claim, Order) and len(claim.terms) == 2:
        (low, high), operator = claim.terms, claim.operators[0]
        if isinstance(low, Name) and isinstance(high, Number):
            return Compare(low.name, operator, high.value)
        if isinstance(low, Number) and isinstance(high, Name):
            return Compare(high.name, _TURNED[operator], low.value)
    return claim
