"""The letter that a member gets when his personal data were changed, at his old address and at the new one.

Whoever takes over a membership begins with the address: so somebody who was known before is always told. The
letter names which kind of data was changed, never the data.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from loyalty.members.letters import Address, Letter
from loyalty.members.person import Person
from loyalty.programme import Programme
from pay_ivr.channels import Medium

KINDS = {
    "given_name": "name",
    "family_name": "name",
    "postcode": "address",
    "house_number": "address",
    "born": "born",
    "email": "email",
    "phone": "phone",
    "language": "language",
}
"""A field of `Person` → what a member calls it; the number is for life."""
FALLBACK = "en-US"


@dataclass(frozen=True)
class Words:
    """A language's words."""

    subject: str
    text: str
    kinds: dict[str, str]


WORDS = {
    "en-US": Words(
        "Your data with {programme}",
        "Your personal data were changed: {kinds}.\nIf you did not ask for it, please call us at once.",
        {
            "name": "name", "address": "address", "born": "date of birth", "email": "e-mail address",
            "phone": "phone number", "language": "language",
        },
    ),
    "de-DE": Words(
        "Ihre Daten bei {programme}",
        "Ihre persönlichen Daten wurden geändert: {kinds}.\nWenn Sie das nicht veranlasst haben, rufen Sie "
        "uns bitte sofort an.",
        {
            "name": "Name", "address": "Anschrift", "born": "Geburtsdatum", "email": "E-Mail-Adresse",
            "phone": "Telefonnummer", "language": "Sprache",
        },
    ),
    "es-ES": Words(
        "Sus datos en {programme}",
        "Se han modificado sus datos personales: {kinds}.\nSi no lo ha pedido, llámenos de inmediato.",
        {
            "name": "nombre", "address": "dirección", "born": "fecha de nacimiento",
            "email": "correo electrónico", "phone": "número de teléfono", "language": "idioma",
        },
    ),
    "fr-FR": Words(
        "Vos données chez {programme}",
        "Vos données personnelles ont été modifiées : {kinds}.\nSi vous ne l'avez pas demandé, appelez-nous "
        "immédiatement.",
        {
            "name": "nom", "address": "adresse", "born": "date de naissance", "email": "adresse e-mail",
            "phone": "numéro de téléphone", "language": "langue",
        },
    ),
    "hu-HU": Words(
        "Az Ön adatai – {programme}",
        "Megváltoztak az Ön személyes adatai: {kinds}.\nHa nem Ön kérte, kérjük, azonnal hívjon fel minket.",
        {
            "name": "név", "address": "cím", "born": "születési dátum", "email": "e-mail-cím",
            "phone": "telefonszám", "language": "nyelv",
        },
    ),
}  # fmt: skip


def letter_of(programme: Programme, names: Sequence[str], language: str) -> Letter:
    """The letter about a change of these fields of `Person`; in English where a language has no words."""
    words = WORDS.get(language, WORDS[FALLBACK])
    kinds = ", ".join(words.kinds[kind] for kind in dict.fromkeys(KINDS[name] for name in names))
    text = words.text.format(kinds=kinds)
    return Letter(words.subject.format(programme=programme.name), f"{programme.name}\n\n{text}\n")


def told_at(before: Person, after: Person, media: Collection[Medium]) -> tuple[Address, ...]:
    """Every old and new address that was changed; at least one that was known before, when there is any.

    `media`: what the tenant can send by.
    """
    old, new = _addresses(before, media), _addresses(after, media)
    changed = [one for one in old if one not in new]
    known = changed or old[:1]
    return (*known, *(one for one in new if one not in old))


def _addresses(person: Person, media: Collection[Medium]) -> list[Address]:
    """Those that there are, e-mail first."""
    addresses = ((Medium.EMAIL, person.email), (Medium.SMS, person.phone))
    return [(medium, to) for medium, to in addresses if to and medium in media]
