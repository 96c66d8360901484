"""A tenant's own wording: `<tenants_dir>/<tenant>/<xx_yy>.ftl` lies over the house's sentences.

Read at start, like tenant files, and checked as hard: a sentence that asks for a value nobody gives, or that
a voice cannot read, is named with its file and line before a caller meets it.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from fluent.runtime import FluentResource
from fluent.syntax import ast

from pay_ivr.catalogue import DESK, PART, Catalogue, CatalogueError
from pay_ivr.languages import languages
from pay_ivr.pieces import values_of
from pay_ivr.sentences import EXAMPLES, VALUES, Key
from pay_ivr.tenants import TenantError, read_text

Wordings = Mapping[tuple[str, str], str]
"""(tenant, language) → Fluent source."""


def wordings_of(tenants_dir: Path, tenants: Collection[str]) -> Wordings:
    """Every tenant's own sentences, checked; TenantError names the first wrong line."""
    tags = {tag.lower().replace("-", "_"): tag for tag in languages()}
    found = {}
    for tenant in sorted(tenants):
        for path in sorted((tenants_dir / tenant).glob("*.ftl")):
            if path.stem not in tags:
                raise TenantError(f"{tenant}/{path.name}: there is no such language; one is de_de.ftl")
            source = read_text(path)
            _check(f"{tenant}/{path.name}", tags[path.stem], source)
            found[tenant, tags[path.stem]] = source
    return found


def _check(file: str, tag: str, source: str) -> None:
    for entry in FluentResource(source).body:
        if isinstance(entry, ast.Junk):
            raise TenantError(f"{file}:{_line(source, entry)}: this is not Fluent")
        if isinstance(entry, ast.Message) and (problem := _problem(entry)):
            raise TenantError(f"{file}:{_line(source, entry)}: {entry.id.name}: {problem}")
    try:
        catalogue = Catalogue({("tenant", tag): source})
    except CatalogueError as error:
        raise TenantError(f"{file}: {error}") from None
    for entry in FluentResource(source).body:
        if isinstance(entry, ast.Message) and not entry.id.name.startswith(PART):
            _try(f"{file}:{_line(source, entry)}", catalogue, tag, entry.id.name)


def _problem(message: ast.Message) -> str:
    name = message.id.name
    if name.startswith(DESK):
        return "labels of the console are not a tenant's"
    if name.startswith(PART):
        return ""
    if name not in set(Key):
        return "there is no such sentence"
    if message.value is None:
        return "it has no text"
    unknown = values_of(message) - set(VALUES.get(Key(name), {}))
    return f"it is not given {', '.join(sorted(unknown))}" if unknown else ""


def _try(place: str, catalogue: Catalogue, tag: str, key: str) -> None:
    """Says it once with each example, the first of all others beside it."""
    wanted = VALUES.get(Key(key), {})
    first = {name: EXAMPLES[name][0] for name in wanted}
    tries = [{**first, name: value} for name in wanted for value in EXAMPLES[name]] or [{}]
    for values in tries:
        try:
            text = catalogue.said(tag, key, tenant_id="tenant", **values).text
        except CatalogueError as error:
            raise TenantError(f"{place}: {error}") from None
        if not text or not text.isprintable() or set(text) & set("<>{}"):
            raise TenantError(f"{place}: {key} holds something that no voice can read")


def _line(source: str, entry: ast.Junk | ast.Message) -> int:
    """Where it begins; a comment above a sentence belongs to it and is not meant."""
    span = entry.id.span if isinstance(entry, ast.Message) else entry.span
    return source.count("\n", 0, span.start if span is not None else 0) + 1
