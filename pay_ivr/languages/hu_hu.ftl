### Magyar (Magyarország). Minden, amit a hívó hall, és minden, ami a munkahelyen olvasható.
### A MONEY, CARDINAL, CODE, ENDING, DATE és KEY szavakká alakítja az értékeket; egy mondatban sincs számjegy.

## Hívás munkatárssal

welcome = Üdvözöljük! { $tenant }.
connecting = Egy pillanat türelmét kérem. Kapcsolom munkatársunkat.
agent_busy_goodbye = Jelenleg minden munkatársunk foglalt. Kérem, hívjon később újra. Viszonthallásra.
capture_intro = Fizetés: { MONEY($amount_minor, $currency) }. Kérem, használja a telefon gombjait. Munkatársunk vonalban marad, de most nem hallja Önt és a gombokat sem.
ask_pan = Kérem, üsse be a bankkártya számát.
ask_expiry = Most a lejárati dátum következik: két számjegy a hónap, majd két számjegy az év.
ask_cvv = { $digits ->
    [4] Most a kártya elején található négyjegyű biztonsági kód következik.
   *[3] Most a kártya hátoldalán található háromjegyű biztonsági kód következik.
}
grammar = Ha újra szeretné kezdeni a számot, nyomja meg a csillagot. Ha beszélni szeretne velünk, nyomja meg kétszer a csillagot. Ha elkészült, nyomja meg a kettőskeresztet.
field_cleared = Töröltem. Kérem, üsse be újra.
problem_too_short = Hiányzik néhány számjegy. Kérem, üsse be újra.
problem_luhn = Ez a kártyaszám nem helyes. Kérem, ellenőrizze, és üsse be újra.
problem_unknown_brand = Ezt a kártyatípust nem fogadjuk el. Kérem, üssön be egy másik kártyaszámot.
problem_bad_month = Ilyen hónap nincs. Kérem, üssön be két számjegyet a hónaphoz, majd kettőt az évhez.
problem_expired = E szerint a dátum szerint a kártya lejárt. Kérem, ellenőrizze a dátumot, és üsse be újra.
problem_too_far = Ez a dátum túl távoli. Kérem, üssön be két számjegyet a hónaphoz, majd kettőt az évhez.
problem_no_input = Még nem érkezett gombnyomás. Kérem, ne siessen.
problem_refused_by_provider = Ezt nem fogadták el. Kérem, ellenőrizze, és üsse be újra.
problem_confirm_refused = Ez nem az egyes gomb volt. Nem terheltük meg a kártyáját.
all_received = Köszönöm. Minden szükséges adat megvan.
please_wait = Egy pillanat türelmét kérem.
approved = Köszönöm. A fizetés sikeres: { MONEY($amount_minor, $currency) }.
declined_generic = Sajnálom. A bankja elutasította a fizetést. Nem terheltük meg a kártyáját.
declined_funds = Sajnálom. A bankja a kártya limitje vagy fedezete miatt elutasította a fizetést. Nem terheltük meg a kártyáját.
declined_pan_wrong = Sajnálom. A bankja nem ismeri ezt a kártyaszámot. Nem terheltük meg a kártyáját.
declined_expiry_wrong = Sajnálom. A bankja nem fogadta el a lejárati dátumot. Nem terheltük meg a kártyáját.
declined_cvv_wrong = Sajnálom. A bankja nem fogadta el a biztonsági kódot. Nem terheltük meg a kártyáját.
declined_temporary = Sajnálom. A bankja jelenleg nem tud válaszolni. Nem terheltük meg a kártyáját.
declined_online_confirmation = Sajnálom. A bankja internetes megerősítést kér, ami telefonon nem lehetséges. Nem terheltük meg a kártyáját.
unknown_outcome = A bankja még nem adott egyértelmű választ. Ellenőrizzük. Kérem, ne fizessen újra, amíg nem jelentkezünk.
retry_cvv = Ha újra megpróbálja, kérem, üsse be még egyszer a biztonsági kódot.
retry_other_card = Ha szeretné, fizethet másik kártyával.
talk_on = Munkatársunk most hallja Önt. Kérem, a kártyájáról most semmit ne mondjon és ne üssön be.
talk_off = Munkatársunk már nem hallja Önt. Folytathatja a beütést.
time_warning = Figyelem: még { CARDINAL($seconds) } másodperc maradt.
capture_restarted = Rövid időre megszakadt a kapcsolat. Nem terheltük meg a kártyáját.
cancelled = A fizetést megszakítottuk. Nem terheltük meg a kártyáját.
expired = A fizetésre szánt idő lejárt. Nem terheltük meg a kártyáját.
link_sent = Küldtem Önnek egy linket. Kérem, ott fizessen a kártyájával. Vonalban maradhat, vagy leteheti a telefont.
link_declined = A bankja elutasította a fizetést az oldalon. Nem terheltük meg a kártyáját. Ott másik kártyával újra megpróbálhatja.
agent_lost_confirm = Munkatársunk már nincs a vonalban. Az összeg: { MONEY($amount_minor, $currency) }. Ha most fizetni szeretne, nyomja meg az egyes gombot. Ha nem tesz semmit, nem terheljük meg a kártyáját.
not_charged_goodbye = Nem terheltük meg a kártyáját. Viszonthallásra.
receipt = A bizonylat száma: { CODE($receipt) }. Még egyszer: { CODE($receipt) }.
goodbye = Köszönjük a hívását. Viszonthallásra.
technical_problem = Sajnálom, műszaki hiba történt. Kérem, hívjon később újra. Viszonthallásra.

## Hívás munkatárs nélkül

unattended_welcome = Üdvözöljük! { $tenant }, fizetési vonal.
unattended_grammar = Ha újra szeretné kezdeni a számot, nyomja meg a csillagot. Ha elkészült, nyomja meg a kettőskeresztet.
ask_code = Kérem, üsse be a fizetési kódját.
code_unknown = Ezt a kódot nem ismerem. Kérem, ellenőrizze, és üsse be újra.
code_confirm = Fizetés: { MONEY($amount_minor, $currency) }. A hivatkozás vége: { ENDING($reference) }. Ha ez helyes, nyomja meg az egyes gombot. Ha nem, nyomja meg a kettes gombot.
no_input_goodbye = Nem érkezett gombnyomás. Nem terheltük meg a kártyáját. Kérem, hívjon újra, amikor megfelel Önnek. Viszonthallásra.
too_many_attempts_goodbye = Sajnálom, ez nem sikerült. Nem terheltük meg a kártyáját. Kérem, forduljon hozzánk, szívesen segítünk. Viszonthallásra.

## A pontszámla: azonosítás

part_points = { CARDINAL($points) } pont
portal_welcome = Üdvözöljük! { $tenant }.
announcement = { $text }
language_offer = Ha magyarul szeretné folytatni, nyomja meg { KEY($digit) }.
identify_menu = Ha ügyfélszámmal vagy kártyaszámmal szeretne belépni, nyomja meg az egyes gombot. Ha irányítószámmal és születési dátummal, nyomja meg a kettes gombot.
ask_number = Kérem, üsse be az ügyfélszámát vagy a pontgyűjtő kártyája számát. Utána nyomja meg a kettőskeresztet.
ask_postcode = Kérem, üsse be az irányítószámát.
ask_birthdate = Kérem, üsse be a születési dátumát: négy számjegy az év, kettő a hónap, kettő a nap.
ask_house_number = Kérem, üsse be a házszámát is, csak a számjegyeket. Utána nyomja meg a kettőskeresztet.
login_failed = Ezek az adatok nem egyeznek. Kérem, próbálja újra.

ask_pin = Kérem, üsse be a PIN-kódját. A gombokat senki sem hallja. Utána nyomja meg a kettőskeresztet.
ask_pin_old = Először üsse be a jelenlegi PIN-kódját. Utána nyomja meg a kettőskeresztet.
ask_pin_new = Kérem, üsse be az új PIN-kódot. Utána nyomja meg a kettőskeresztet.
ask_pin_again = Kérem, üsse be még egyszer az új PIN-kódot.
ask_pin_code = Kérem, üsse be a kódot, amelyet küldtünk Önnek.
pin_mismatch = A két új PIN-kód nem egyezik. Kezdjük újra az új kóddal.
pin_easy = Ezt a PIN-kódot túl könnyű kitalálni. Kérem, válasszon másikat.
pin_too_short = Hiányzik néhány számjegy. Kérem, üsse be újra.
pin_no_input = Még nem érkezett gombnyomás. Kérem, ne siessen.
pin_changed = Köszönöm. Az új PIN-kódja mostantól érvényes.
pin_not_changed = A PIN-kódja nem változott.
pin_locked = Az Ön védelmében ezt a hozzáférést most zároltuk. Munkatársaink szívesen segítenek.
pin_time_up = A beütésre szánt idő lejárt.

## A pontszámla: a menü

menu_balance = Ha hallani szeretné a pontegyenlegét, nyomja meg { KEY($digit) }.
menu_redeem = Ha pontokat szeretne beváltani, nyomja meg { KEY($digit) }.
menu_change_pin = Ha módosítani szeretné a PIN-kódját, nyomja meg { KEY($digit) }.
menu_lock_card = Ha zárolni szeretné a kártyáját, nyomja meg { KEY($digit) }.
menu_movements = Ha hallani szeretné az utolsó tételeket, nyomja meg { KEY($digit) }.
menu_language = Ha nyelvet szeretne váltani, nyomja meg { KEY($digit) }.
menu_agent = Ha beszélni szeretne velünk, nyomja meg { KEY($digit) }.
menu_repeat = Ha újra szeretné hallani, nyomja meg { KEY($digit) }.
menu_goodbye = Ha be szeretné fejezni a hívást, nyomja meg { KEY($digit) }.
menu_back = Ha vissza szeretne lépni, nyomja meg { KEY($digit) }.
menu_more = Ha többet szeretne hallani, nyomja meg { KEY($digit) }.
menu_slower = Ha több időre van szüksége, nyomja meg { KEY($digit) }.

## A pontszámla: egyenleg és tételek

balance = A pontegyenlege: { part_points }.
balance_expiring = Ebből { part_points } lejár { DATE($year, $month, $day) }.
no_movements = A pontszámláján még nincs tétel.
movement_earned = { DATE($year, $month, $day) } gyűjtött: { part_points }.
movement_redeemed = { DATE($year, $month, $day) } beváltott: { part_points }.
movement_expired = { DATE($year, $month, $day) } lejárt: { part_points }.
movement_reversed = { DATE($year, $month, $day) } visszavontuk: { part_points }.
movement_other = { DATE($year, $month, $day) } egyéb tétel: { part_points }.

## A pontszámla: a kártya zárolása

lock_confirm = Ön zárolni szeretné a kártyáját. Zárolt kártyával senki sem válthat be pontokat. Feloldani csak munkatársaink tudják.
card_locked = A kártyáját zároltuk. A pontjai megmaradnak.
card_already_locked = A kártyája már zárolva van. A pontjai megmaradnak.
confirm_or_back = Ha megerősíti, nyomja meg az egyes gombot. Ha vissza szeretne lépni, nyomja meg a kettes gombot.

## A pontszámla: pontok beváltása

redeem_intro = Beváltható: { part_points }.
reward_voucher = Ha ezt az utalványt választja: { $reward }, ára { part_points }, nyomja meg { KEY($digit) }.
reward_donation = Ha ezt az adományt választja: { $reward }, ára { part_points }, nyomja meg { KEY($digit) }.
redeem_confirm = Az Ön választása: { $reward }. Ára { part_points }.
redeemed_donation = Köszönjük. Az Ön adománya: { $reward }, ára { part_points }. A bizonylat száma: { CODE($receipt) }. Még egyszer: { CODE($receipt) }.
redeemed_voucher = Köszönjük. Az Ön utalványa: { $reward }, ára { part_points }.
voucher_code = Az utalvány kódja: { CODE($code) }. Még egyszer: { CODE($code) }.
voucher_sent = Az utalvány kódját el is küldjük Önnek.
redeem_insufficient = Sajnálom, ehhez nincs elég pontja. A pontegyenlege: { part_points }.
redeem_limit = Sajnálom, ma ebből többet nem válthat be. Kérem, próbálja meg holnap.
redeem_out_of_stock = Sajnálom, ez az ajándék most nem kapható. Pontokat nem vontunk le.
redeem_later = Ez most kicsit tovább tart. A pontjait lefoglaltuk. Az ajándékát megkapja, amint minden rendeződött.
redeem_unknown = Most nem tudom megmondani, hogy ez sikerült-e. Kérem, kicsit később hallgassa meg a pontegyenlegét. Semmit sem vonunk le kétszer.
redeem_card_locked = Sajnálom, zárolt kártyával nem válthat be pontokat. Munkatársaink szívesen segítenek.
nothing_to_redeem = Az Ön pontegyenlegéhez most nincs ajándék.
not_redeemed = Pontokat nem váltottunk be.

## A pontszámla: átadás és befejezés

to_agent = Kapcsolom munkatársunkat. Kérem, maradjon vonalban.
agents_closed = Munkatársaink ebben az időben nem érhetők el. Önállóan folytathatja.
agents_closed_goodbye = Munkatársaink ebben az időben nem érhetők el. Kérem, hívjon újra ügyfélfogadási időben. Viszonthallásra.
agents_busy = Jelenleg minden munkatársunk foglalt. Önállóan folytathatja.
invalid_choice = Ez a gomb itt nem használható.
asked_again = Nem érkezett gombnyomás. Még egyszer:
not_understood = Ezt nem értettem. Még egyszer:
loyalty_goodbye = Köszönjük a hívását. Viszonthallásra.
service_unavailable = Sajnálom. Ez most nem lehetséges. Kérem, próbálja meg kicsit később.

## Ami a munkahelyen olvasható

desk_state_created = Létrehozva
desk_state_capturing = Az ügyfél beüti az adatokat
desk_state_ready = Terhelhető
desk_state_authorising = Banki válaszra vár
desk_state_authorised = Jóváhagyva
desk_state_declined = Elutasítva
desk_state_unknown = Ellenőrzés alatt
desk_state_needs_action = Online megerősítés szükséges
desk_state_cancelled = Megszakítva
desk_state_expired = Lejárt
desk_state_settled = Kifizetve
desk_state_voided = Sztornózva
desk_state_refunded = Visszatérítve
desk_state_checked = Kártya ellenőrizve
desk_state_linked = Linken fizet

desk_link_making = Oldal kérése a szolgáltatótól
desk_link_made = Elküldve, még nem nyitották meg
desk_link_opened = A fizető megnyitotta
desk_link_declined = Ott elutasítva; másik kártya lehetséges
desk_link_closing = Lezárás alatt
desk_link_paid = Kifizetve
desk_link_expired = Lejárt
desk_link_closed = Visszavonva
desk_link_failed = Nem ment el: a szolgáltató nem válaszol

desk_decline_funds = Kártyalimit vagy fedezet
desk_decline_pan_wrong = Kártyaszám elutasítva
desk_decline_expiry_wrong = Lejárati dátum elutasítva
desk_decline_cvv_wrong = Biztonsági kód elutasítva
desk_decline_temporary = Átmeneti hiba, próbálja újra
desk_decline_online_confirmation = A bank online megerősítést kér
desk_decline_generic = A bank elutasította

desk_say_funds = „A bankja a kártya limitje vagy fedezete miatt elutasította. Szeretne másik kártyát használni?”
desk_say_pan_wrong = „A bank nem ismeri ezt a kártyaszámot. Kérem, üsse be még egyszer.”
desk_say_expiry_wrong = „A bank nem fogadta el a lejárati dátumot. Kérem, üsse be még egyszer.”
desk_say_cvv_wrong = „A bank nem fogadta el a biztonsági kódot. Kérem, üsse be még egyszer.”
desk_say_temporary = „A bank jelenleg nem tud válaszolni. Megpróbálhatom még egyszer?”
desk_say_online_confirmation = „A bankja internetes megerősítést kér. Szeretne másik kártyát használni?”
desk_say_generic = „A bankja elutasította a fizetést, és az okát nem közli velünk. Szeretne másik kártyát használni?”

desk_problem_too_short = Hiányzó számjegyek
desk_problem_luhn = Elütés: hibás ellenőrző számjegy
desk_problem_unknown_brand = Nem elfogadott kártyatípus
desk_problem_bad_month = Nincs ilyen hónap
desk_problem_expired = A kártya lejárt
desk_problem_too_far = Túl távoli dátum
desk_problem_no_input = Még nem nyomott gombot
desk_problem_refused_by_provider = A fizetési szolgáltató nem fogadta el
desk_problem_confirm_refused = Az ügyfél nem erősítette meg

desk_next_rekey_pan = Kérje újra a kártyaszámot
desk_next_rekey_expiry = Kérje újra a lejárati dátumot
desk_next_rekey_cvv = Kérje újra a biztonsági kódot
desk_next_other_card = Kérjen másik kártyát
desk_next_nothing = Ne próbálja újra

desk_field_pan = Kártyaszám
desk_field_expiry = Lejárati dátum
desk_field_cvv = Biztonsági kód
desk_field_confirm = Megerősítés

desk_field_state_waiting = Vár
desk_field_state_open = Beütés folyamatban
desk_field_state_complete = Kész
