"""The words of messages to members, per language: what was redeemed, and a reset code."""

from dataclasses import dataclass, field

from loyalty.members import Letter
from loyalty.programme import Programme, RewardKind


@dataclass(frozen=True)
class Words:
    """A language's words."""

    voucher_subject: str
    voucher: str
    code: str
    donation_subject: str
    donation: str
    points: str
    receipt: str
    reset_subject: str
    reset: str


WORDS = {
    "en-US": Words(
        "Your voucher from {programme}", "You have redeemed points for {reward}.", "Your code: {code}",
        "Your donation with {programme}", "You have donated your points: {reward}. Thank you!",
        "Points: {points}", "Receipt: {receipt}",
        "Your PIN at {programme}",
        "Your reset code: {code}\nKey it on the telephone, then a new PIN. It is good for ten minutes. "
        "If you did not ask for it, you need not do anything.",
    ),
    "de-DE": Words(
        "Ihr Gutschein von {programme}", "Sie haben Punkte eingelöst: {reward}.", "Ihr Code: {code}",
        "Ihre Spende mit {programme}", "Sie haben Ihre Punkte gespendet: {reward}. Vielen Dank!",
        "Punkte: {points}", "Beleg: {receipt}",
        "Ihre PIN bei {programme}",
        "Ihr Rücksetz-Code: {code}\nGeben Sie ihn am Telefon ein und danach eine neue PIN. Er gilt zehn "
        "Minuten. Wenn Sie ihn nicht angefordert haben, brauchen Sie nichts zu tun.",
    ),
    "es-ES": Words(
        "Su vale de {programme}", "Ha canjeado puntos por {reward}.", "Su código: {code}",
        "Su donación con {programme}", "Ha donado sus puntos: {reward}. ¡Muchas gracias!",
        "Puntos: {points}", "Recibo: {receipt}",
        "Su PIN de {programme}",
        "Su código de restablecimiento: {code}\nMárquelo por teléfono y después un PIN nuevo. Vale durante "
        "diez minutos. Si no lo ha pedido, no tiene que hacer nada.",
    ),
    "fr-FR": Words(
        "Votre bon de {programme}", "Vous avez échangé des points contre {reward}.", "Votre code : {code}",
        "Votre don avec {programme}", "Vous avez donné vos points : {reward}. Merci !",
        "Points : {points}", "Reçu : {receipt}",
        "Votre code PIN chez {programme}",
        "Votre code de réinitialisation : {code}\nComposez-le au téléphone, puis un nouveau code PIN. Il est "
        "valable dix minutes. Si vous ne l'avez pas demandé, vous n'avez rien à faire.",
    ),
    "hu-HU": Words(
        "Az Ön utalványa – {programme}", "Pontokat váltott be erre: {reward}.", "Az Ön kódja: {code}",
        "Az Ön adománya – {programme}", "Felajánlotta a pontjait: {reward}. Köszönjük!",
        "Pontok: {points}", "Bizonylat: {receipt}",
        "Az Ön PIN-kódja – {programme}",
        "Az Ön visszaállító kódja: {code}\nÜsse be a telefonon, majd adjon meg új PIN-kódot. Tíz percig "
        "érvényes. Ha nem Ön kérte, nincs teendője.",
    ),
}  # fmt: skip
FALLBACK = "en-US"


@dataclass(frozen=True)
class Told:
    """What a redemption's message says."""

    kind: RewardKind
    reward: str
    """Its name, in the member's language."""
    points: int
    receipt: str
    code: str | None = field(repr=False)


def letter_of(programme: Programme, told: Told, language: str) -> Letter:
    """What a member is written about a redemption."""
    words = WORDS.get(language, WORDS[FALLBACK])
    voucher = told.kind is RewardKind.VOUCHER
    lines = [(words.voucher if voucher else words.donation).format(reward=told.reward)]
    if told.code is not None:
        lines += ["", words.code.format(code=told.code), ""]
    lines += [words.points.format(points=told.points), words.receipt.format(receipt=told.receipt)]
    subject = words.voucher_subject if voucher else words.donation_subject
    return Letter(subject.format(programme=programme.name), "\n".join([programme.name, "", *lines, ""]))


def reset_letter(programme: Programme, code: str, language: str) -> Letter:
    """What a member is written with a reset code."""
    words = WORDS.get(language, WORDS[FALLBACK])
    text = words.reset.format(code=code)
    return Letter(words.reset_subject.format(programme=programme.name), f"{programme.name}\n\n{text}\n")
