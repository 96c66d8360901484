### Deutsch (Deutschland). Alles, was Anrufende hören und was am Platz zu lesen ist.
### MONEY, CARDINAL, CODE, ENDING, DATE und KEY machen aus Werten Wörter; Beträge stehen immer im Nominativ.

## Ein Anruf mit Mitarbeiter

welcome = Willkommen bei { $tenant }.
connecting = Einen Moment bitte. Ich verbinde Sie.
agent_busy_goodbye = Alle Plätze sind gerade besetzt. Bitte rufen Sie etwas später noch einmal an. Auf Wiederhören.
capture_intro = Ihre Zahlung: { MONEY($amount_minor, $currency) }. Bitte benutzen Sie die Tasten Ihres Telefons. Wir bleiben in der Leitung, können Sie und Ihre Tasten jetzt aber nicht hören.
ask_pan = Bitte tippen Sie Ihre Kartennummer ein.
ask_expiry = Jetzt das Ablaufdatum: zwei Ziffern für den Monat, dann zwei Ziffern für das Jahr.
ask_cvv = { $digits ->
    [4] Jetzt die vierstellige Prüfnummer auf der Vorderseite Ihrer Karte.
   *[3] Jetzt die dreistellige Prüfnummer auf der Rückseite Ihrer Karte.
}
grammar = Wenn Sie eine Eingabe neu beginnen möchten, drücken Sie die Sterntaste. Wenn Sie mit uns sprechen möchten, drücken Sie zweimal die Sterntaste. Wenn Sie fertig sind, drücken Sie die Rautetaste.
field_cleared = Gelöscht. Bitte tippen Sie noch einmal.
problem_too_short = Es fehlen noch Ziffern. Bitte tippen Sie noch einmal.
problem_luhn = Diese Kartennummer stimmt nicht. Bitte prüfen Sie sie und tippen Sie noch einmal.
problem_unknown_brand = Diese Kartenart nehmen wir nicht an. Bitte tippen Sie eine andere Kartennummer ein.
problem_bad_month = Diesen Monat gibt es nicht. Bitte tippen Sie zwei Ziffern für den Monat, dann zwei Ziffern für das Jahr.
problem_expired = Nach diesem Datum ist Ihre Karte abgelaufen. Bitte prüfen Sie das Datum und tippen Sie noch einmal.
problem_too_far = Dieses Datum liegt zu weit in der Zukunft. Bitte tippen Sie zwei Ziffern für den Monat, dann zwei Ziffern für das Jahr.
problem_no_input = Ich habe noch keine Eingabe erhalten. Bitte nehmen Sie sich Zeit.
problem_refused_by_provider = Diese Eingabe wurde nicht angenommen. Bitte prüfen Sie sie und tippen Sie noch einmal.
problem_confirm_refused = Das war nicht die Taste eins. Es wurde nichts abgebucht.
all_received = Vielen Dank. Ich habe alles, was ich brauche.
please_wait = Einen Moment bitte.
approved = Vielen Dank. Ihre Zahlung ist genehmigt: { MONEY($amount_minor, $currency) }.
declined_generic = Es tut mir leid. Ihre Bank hat die Zahlung abgelehnt. Es wurde nichts abgebucht.
declined_funds = Es tut mir leid. Ihre Bank hat die Zahlung wegen des Kartenlimits oder der Deckung abgelehnt. Es wurde nichts abgebucht.
declined_pan_wrong = Es tut mir leid. Ihre Bank kennt diese Kartennummer nicht. Es wurde nichts abgebucht.
declined_expiry_wrong = Es tut mir leid. Ihre Bank hat das Ablaufdatum nicht angenommen. Es wurde nichts abgebucht.
declined_cvv_wrong = Es tut mir leid. Ihre Bank hat die Prüfnummer nicht angenommen. Es wurde nichts abgebucht.
declined_temporary = Es tut mir leid. Ihre Bank kann im Moment nicht antworten. Es wurde nichts abgebucht.
declined_online_confirmation = Es tut mir leid. Ihre Bank verlangt eine Bestätigung im Internet, die am Telefon nicht möglich ist. Es wurde nichts abgebucht.
unknown_outcome = Ihre Bank hat noch keine klare Antwort gegeben. Wir prüfen das für Sie. Bitte zahlen Sie nicht noch einmal, bevor Sie von uns hören.
retry_cvv = Für einen neuen Versuch tippen Sie bitte noch einmal die Prüfnummer ein.
retry_other_card = Wenn Sie möchten, können Sie mit einer anderen Karte zahlen.
talk_on = Wir können Sie jetzt hören. Bitte sagen oder tippen Sie jetzt keine Kartendaten.
talk_off = Wir können Sie jetzt nicht mehr hören. Bitte tippen Sie weiter.
time_warning = Bitte beachten Sie: Es { $seconds ->
    [one] bleibt noch { CARDINAL($seconds, gender: "feminine") } Sekunde
   *[other] bleiben noch { CARDINAL($seconds, gender: "feminine") } Sekunden
}.
capture_restarted = Wir wurden kurz unterbrochen. Es wurde nichts abgebucht.
cancelled = Die Zahlung wurde abgebrochen. Es wurde nichts abgebucht.
expired = Die Zeit für diese Zahlung ist abgelaufen. Es wurde nichts abgebucht.
link_sent = Ich habe Ihnen einen Link geschickt. Bitte zahlen Sie dort mit Ihrer Karte. Sie können in der Leitung bleiben oder auflegen.
link_declined = Ihre Bank hat die Zahlung auf der Seite abgelehnt. Es wurde nichts abgebucht. Sie können es dort mit einer anderen Karte noch einmal versuchen.
agent_lost_confirm = Die Verbindung zu unserem Mitarbeiter ist abgebrochen. Der Betrag ist: { MONEY($amount_minor, $currency) }. Um jetzt zu zahlen, drücken Sie die Eins. Wenn Sie nichts tun, wird nichts abgebucht.
not_charged_goodbye = Es wurde nichts abgebucht. Auf Wiederhören.
receipt = Ihre Belegnummer lautet: { CODE($receipt) }. Noch einmal: { CODE($receipt) }.
goodbye = Vielen Dank für Ihren Anruf. Auf Wiederhören.
technical_problem = Es tut mir leid. Wir haben gerade ein technisches Problem. Bitte rufen Sie später noch einmal an. Auf Wiederhören.

## Ein Anruf ohne Mitarbeiter

unattended_welcome = Willkommen am Zahlungstelefon von { $tenant }.
unattended_grammar = Wenn Sie eine Eingabe neu beginnen möchten, drücken Sie die Sterntaste. Wenn Sie fertig sind, drücken Sie die Rautetaste.
ask_code = Bitte tippen Sie Ihren Zahlungscode ein.
code_unknown = Diesen Code kenne ich nicht. Bitte prüfen Sie ihn und tippen Sie noch einmal.
code_confirm = Ihre Zahlung: { MONEY($amount_minor, $currency) }. Die Vorgangsnummer endet auf { ENDING($reference) }. Wenn das stimmt, drücken Sie die Eins. Wenn nicht, drücken Sie die Zwei.
no_input_goodbye = Ich habe keine Eingabe erhalten. Es wurde nichts abgebucht. Bitte rufen Sie wieder an, wenn Sie bereit sind. Auf Wiederhören.
too_many_attempts_goodbye = Das hat leider nicht geklappt. Es wurde nichts abgebucht. Bitte wenden Sie sich an uns, wir helfen gern. Auf Wiederhören.

## Das Punktekonto: Anmelden

part_points = { $points ->
    [one] { CARDINAL($points) } Punkt
   *[other] { CARDINAL($points) } Punkte
}
portal_welcome = Willkommen bei { $tenant }.
announcement = { $text }
language_offer = Für Deutsch drücken Sie { KEY($digit) }.
identify_menu = Um sich mit Ihrer Kundennummer oder Kartennummer anzumelden, drücken Sie die Eins. Um sich mit Postleitzahl und Geburtsdatum anzumelden, drücken Sie die Zwei.
ask_number = Bitte tippen Sie Ihre Kundennummer oder die Nummer Ihrer Kundenkarte ein. Zum Schluss drücken Sie die Rautetaste.
ask_postcode = Bitte tippen Sie Ihre Postleitzahl ein.
ask_birthdate = Bitte tippen Sie Ihr Geburtsdatum ein: zwei Ziffern für den Tag, zwei für den Monat, vier für das Jahr.
ask_house_number = Bitte tippen Sie noch Ihre Hausnummer ein, nur die Ziffern. Zum Schluss drücken Sie die Rautetaste.
login_failed = Diese Angaben stimmen nicht. Bitte versuchen Sie es noch einmal.

ask_pin = Bitte tippen Sie Ihre Geheimzahl ein. Niemand kann Ihre Tasten hören. Zum Schluss drücken Sie die Rautetaste.
ask_pin_old = Bitte tippen Sie zuerst Ihre bisherige Geheimzahl ein. Zum Schluss drücken Sie die Rautetaste.
ask_pin_new = Bitte tippen Sie eine neue Geheimzahl ein. Zum Schluss drücken Sie die Rautetaste.
ask_pin_again = Bitte tippen Sie die neue Geheimzahl noch einmal ein.
ask_pin_code = Bitte tippen Sie den Code ein, den wir Ihnen geschickt haben.
pin_mismatch = Die beiden Eingaben stimmen nicht überein. Wir fangen mit der neuen Geheimzahl noch einmal an.
pin_easy = Diese Geheimzahl ist zu leicht zu erraten. Bitte wählen Sie eine andere.
pin_too_short = Das waren zu wenige Ziffern. Bitte tippen Sie noch einmal.
pin_no_input = Ich habe noch keine Eingabe erhalten. Bitte nehmen Sie sich Zeit.
pin_changed = Vielen Dank. Ihre neue Geheimzahl gilt ab sofort.
pin_not_changed = Ihre Geheimzahl wurde nicht geändert.
pin_locked = Zu Ihrem Schutz ist dieser Zugang jetzt gesperrt. Unser Team hilft Ihnen gern weiter.
pin_time_up = Die Zeit für diese Eingabe ist abgelaufen.

## Das Punktekonto: die Auswahl

menu_balance = Um Ihren Punktestand zu hören, drücken Sie { KEY($digit) }.
menu_redeem = Um Punkte einzulösen, drücken Sie { KEY($digit) }.
menu_change_pin = Um Ihre Geheimzahl zu ändern, drücken Sie { KEY($digit) }.
menu_lock_card = Um Ihre Kundenkarte zu sperren, drücken Sie { KEY($digit) }.
menu_movements = Um Ihre letzten Buchungen zu hören, drücken Sie { KEY($digit) }.
menu_language = Um die Sprache zu wechseln, drücken Sie { KEY($digit) }.
menu_agent = Um mit uns zu sprechen, drücken Sie { KEY($digit) }.
menu_repeat = Um alles noch einmal zu hören, drücken Sie { KEY($digit) }.
menu_goodbye = Um das Gespräch zu beenden, drücken Sie { KEY($digit) }.
menu_slower = Wenn Sie mehr Zeit brauchen, drücken Sie { KEY($digit) }.
menu_back = Um zurückzugehen, drücken Sie { KEY($digit) }.
menu_more = Um weitere zu hören, drücken Sie { KEY($digit) }.

## Das Punktekonto: Stand und Buchungen

balance = Ihr Punktestand: { part_points }.
balance_expiring = { $points ->
    [one] Davon verfällt { part_points } am { DATE($year, $month, $day) }.
   *[other] Davon verfallen { part_points } am { DATE($year, $month, $day) }.
}
no_movements = Auf Ihrem Punktekonto gibt es noch keine Buchungen.
movement_earned = Am { DATE($year, $month, $day) }: { part_points } gesammelt.
movement_redeemed = Am { DATE($year, $month, $day) }: { part_points } eingelöst.
movement_expired = Am { DATE($year, $month, $day) }: { part_points } verfallen.
movement_reversed = Am { DATE($year, $month, $day) }: Buchung zurückgenommen, { part_points }.
movement_other = Am { DATE($year, $month, $day) }: andere Buchung, { part_points }.

## Das Punktekonto: Karte sperren

lock_confirm = Sie möchten Ihre Kundenkarte sperren. Mit einer gesperrten Karte kann niemand Punkte einlösen. Entsperren kann sie nur unser Team.
card_locked = Ihre Kundenkarte ist jetzt gesperrt. Ihre Punkte bleiben erhalten.
card_already_locked = Ihre Kundenkarte ist schon gesperrt. Ihre Punkte bleiben erhalten.
confirm_or_back = Um das zu bestätigen, drücken Sie die Eins. Um zurückzugehen, drücken Sie die Zwei.

## Das Punktekonto: Punkte einlösen

redeem_intro = { $points ->
    [one] Zum Einlösen steht { part_points } bereit.
   *[other] Sie können bis zu { part_points } einlösen.
}
reward_voucher = Für den Gutschein: { $reward }, { part_points }, drücken Sie { KEY($digit) }.
reward_donation = Für die Spende: { $reward }, { part_points }, drücken Sie { KEY($digit) }.
redeem_confirm = Sie haben gewählt: { $reward }. Der Preis: { part_points }.
redeemed_donation = Vielen Dank. Ihre Spende: { $reward }, { part_points }. Ihre Belegnummer lautet: { CODE($receipt) }. Noch einmal: { CODE($receipt) }.
redeemed_voucher = Vielen Dank. Ihr Gutschein: { $reward }, { part_points }.
voucher_code = Ihr Gutscheincode lautet: { CODE($code) }. Noch einmal: { CODE($code) }.
voucher_sent = Wir schicken Ihnen den Gutscheincode auch zu.
redeem_insufficient = Dafür reichen Ihre Punkte leider nicht. Ihr Punktestand: { part_points }.
redeem_limit = Mehr davon können Sie heute leider nicht einlösen. Bitte versuchen Sie es morgen wieder.
redeem_out_of_stock = Diese Prämie ist leider gerade vergriffen. Es wurden keine Punkte abgebucht.
redeem_later = Das dauert gerade etwas länger. Ihre Punkte sind reserviert. Sie bekommen Ihre Prämie, sobald alles geklärt ist.
redeem_unknown = Ich kann im Moment nicht sagen, ob das gebucht ist. Bitte hören Sie später Ihren Punktestand ab. Nichts wird doppelt gebucht.
redeem_card_locked = Mit einer gesperrten Kundenkarte können Sie leider keine Punkte einlösen. Unser Team hilft Ihnen gern weiter.
nothing_to_redeem = Für Ihren Punktestand gibt es gerade keine Prämie.
not_redeemed = Es wurden keine Punkte eingelöst.

## Das Punktekonto: Übergabe und Ende

to_agent = Ich verbinde Sie mit unserem Team. Bitte bleiben Sie in der Leitung.
agents_closed = Unser Team ist gerade nicht erreichbar. Sie können weiter alles selbst erledigen.
agents_closed_goodbye = Unser Team ist um diese Zeit nicht erreichbar. Bitte rufen Sie während unserer Servicezeiten wieder an. Auf Wiederhören.
agents_busy = Alle Plätze sind gerade besetzt. Sie können weiter alles selbst erledigen.
invalid_choice = Diese Taste ist hier nicht belegt.
asked_again = Ich habe keine Eingabe erhalten. Noch einmal:
not_understood = Das habe ich nicht verstanden. Noch einmal:
loyalty_goodbye = Vielen Dank für Ihren Anruf. Auf Wiederhören.
service_unavailable = Es tut mir leid. Das geht im Moment nicht. Bitte versuchen Sie es etwas später noch einmal.

## Was am Platz zu lesen ist

desk_state_created = Angelegt
desk_state_capturing = Kunde tippt
desk_state_ready = Bereit zum Belasten
desk_state_authorising = Bank wird gefragt
desk_state_authorised = Genehmigt
desk_state_declined = Abgelehnt
desk_state_unknown = Wird geprüft
desk_state_needs_action = Online-Bestätigung nötig
desk_state_cancelled = Abgebrochen
desk_state_expired = Zeit abgelaufen
desk_state_settled = Bezahlt
desk_state_voided = Storniert
desk_state_refunded = Erstattet
desk_state_checked = Karte geprüft
desk_state_linked = Zahlt per Link

desk_link_making = Seite wird beim Anbieter angefragt
desk_link_made = Gesendet, noch nicht geöffnet
desk_link_opened = Vom Zahler geöffnet
desk_link_declined = Dort abgelehnt; andere Karte möglich
desk_link_closing = Wird geschlossen
desk_link_paid = Bezahlt
desk_link_expired = Abgelaufen
desk_link_closed = Zurückgezogen
desk_link_failed = Nicht gesendet: der Anbieter antwortet nicht

desk_decline_funds = Kartenlimit oder Deckung
desk_decline_pan_wrong = Kartennummer nicht angenommen
desk_decline_expiry_wrong = Ablaufdatum nicht angenommen
desk_decline_cvv_wrong = Prüfnummer nicht angenommen
desk_decline_temporary = Vorübergehend, noch einmal versuchen
desk_decline_online_confirmation = Bank verlangt Online-Bestätigung
desk_decline_generic = Von der Bank abgelehnt

desk_say_funds = „Ihre Bank hat wegen des Kartenlimits oder der Deckung abgelehnt. Möchten Sie eine andere Karte benutzen?“
desk_say_pan_wrong = „Die Bank kennt diese Kartennummer nicht. Bitte tippen Sie sie noch einmal ein.“
desk_say_expiry_wrong = „Die Bank hat das Ablaufdatum nicht angenommen. Bitte tippen Sie es noch einmal ein.“
desk_say_cvv_wrong = „Die Bank hat die Prüfnummer nicht angenommen. Bitte tippen Sie sie noch einmal ein.“
desk_say_temporary = „Die Bank kann gerade nicht antworten. Darf ich es noch einmal versuchen?“
desk_say_online_confirmation = „Ihre Bank verlangt eine Bestätigung im Internet. Möchten Sie eine andere Karte benutzen?“
desk_say_generic = „Ihre Bank hat die Zahlung abgelehnt. Den Grund nennt sie uns nicht. Möchten Sie eine andere Karte benutzen?“

desk_problem_too_short = Ziffern fehlen
desk_problem_luhn = Vertippt: Prüfziffer falsch
desk_problem_unknown_brand = Kartenart nicht angenommen
desk_problem_bad_month = Monat gibt es nicht
desk_problem_expired = Karte abgelaufen
desk_problem_too_far = Datum zu weit in der Zukunft
desk_problem_no_input = Noch keine Taste gedrückt
desk_problem_refused_by_provider = Vom Zahlungsdienst nicht angenommen
desk_problem_confirm_refused = Kunde hat nicht bestätigt

desk_next_rekey_pan = Kartennummer noch einmal erfragen
desk_next_rekey_expiry = Ablaufdatum noch einmal erfragen
desk_next_rekey_cvv = Prüfnummer noch einmal erfragen
desk_next_other_card = Andere Karte erfragen
desk_next_nothing = Nicht noch einmal versuchen

desk_field_pan = Kartennummer
desk_field_expiry = Ablaufdatum
desk_field_cvv = Prüfnummer
desk_field_confirm = Bestätigung

desk_field_state_waiting = Wartet
desk_field_state_open = Eingabe läuft
desk_field_state_complete = Vollständig
