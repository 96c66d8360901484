### Français (France). Tout ce que l'appelant entend et ce qui se lit au poste.
### MONEY, CARDINAL, CODE, ENDING, DATE et KEY changent les valeurs en mots ; aucune phrase ne montre de chiffres.

## Un appel avec un conseiller

welcome = Bienvenue chez { $tenant }.
connecting = Un instant, s'il vous plaît. Je vous mets en relation.
agent_busy_goodbye = Tous nos conseillers sont en ligne. Merci de rappeler un peu plus tard. Au revoir.
capture_intro = Vous allez payer { MONEY($amount_minor, $currency) }. Utilisez les touches de votre téléphone, s'il vous plaît. Votre conseiller reste en ligne, mais il ne peut plus entendre ni votre voix ni vos touches.
ask_pan = Tapez le numéro de votre carte, s'il vous plaît.
ask_expiry = Maintenant la date d'expiration : deux chiffres pour le mois, puis deux chiffres pour l'année.
ask_cvv = { $digits ->
    [4] Maintenant le code de sécurité à quatre chiffres, au recto de votre carte.
   *[3] Maintenant le code de sécurité à trois chiffres, au dos de votre carte.
}
grammar = Pour recommencer un numéro, appuyez sur la touche étoile. Pour parler à votre conseiller, appuyez deux fois sur la touche étoile. Quand vous avez terminé, appuyez sur la touche dièse.
field_cleared = C'est effacé. Tapez-le encore une fois, s'il vous plaît.
problem_too_short = Il manque des chiffres. Tapez-le encore une fois, s'il vous plaît.
problem_luhn = Ce numéro de carte n'est pas correct. Vérifiez-le et tapez-le encore une fois, s'il vous plaît.
problem_unknown_brand = Nous n'acceptons pas ce type de carte. Tapez le numéro d'une autre carte, s'il vous plaît.
problem_bad_month = Ce mois n'existe pas. Tapez deux chiffres pour le mois, puis deux chiffres pour l'année.
problem_expired = D'après cette date, votre carte a expiré. Vérifiez la date et tapez-la encore une fois, s'il vous plaît.
problem_too_far = Cette date est trop lointaine. Tapez deux chiffres pour le mois, puis deux chiffres pour l'année.
problem_no_input = Je n'ai encore rien reçu. Prenez votre temps.
problem_refused_by_provider = Cela n'a pas été accepté. Vérifiez et tapez à nouveau, s'il vous plaît.
problem_confirm_refused = Vous n'avez pas appuyé sur la touche un. Rien n'a été débité.
all_received = Merci. J'ai tout ce qu'il me faut.
please_wait = Un instant, s'il vous plaît.
approved = Merci. Votre paiement est accepté : { MONEY($amount_minor, $currency) }.
declined_generic = Nous sommes désolés. Votre banque a refusé ce paiement. Rien n'a été débité.
declined_funds = Nous sommes désolés. Votre banque a refusé ce paiement à cause du plafond ou du solde de la carte. Rien n'a été débité.
declined_pan_wrong = Nous sommes désolés. Votre banque ne reconnaît pas ce numéro de carte. Rien n'a été débité.
declined_expiry_wrong = Nous sommes désolés. Votre banque n'a pas accepté la date d'expiration. Rien n'a été débité.
declined_cvv_wrong = Nous sommes désolés. Votre banque n'a pas accepté le code de sécurité. Rien n'a été débité.
declined_temporary = Nous sommes désolés. Votre banque ne peut pas répondre pour le moment. Rien n'a été débité.
declined_online_confirmation = Nous sommes désolés. Votre banque demande une confirmation en ligne, ce qui n'est pas possible par téléphone. Rien n'a été débité.
unknown_outcome = Votre banque n'a pas encore donné de réponse claire. Nous vérifions pour vous. Merci de ne pas payer à nouveau avant d'avoir de nos nouvelles.
retry_cvv = Pour essayer encore une fois, tapez à nouveau le code de sécurité, s'il vous plaît.
retry_other_card = Si vous le souhaitez, vous pouvez payer avec une autre carte.
talk_on = Votre conseiller vous entend maintenant. Merci de ne dire et de ne taper aucune information de votre carte.
talk_off = Votre conseiller ne vous entend plus. Vous pouvez continuer à taper.
time_warning = Attention : il vous reste { CARDINAL($seconds, gender: "feminine") } { $seconds ->
    [one] seconde
   *[other] secondes
}.
capture_restarted = Nous avons été interrompus un instant. Rien n'a été débité.
cancelled = Le paiement est annulé. Rien n'a été débité.
expired = Le temps prévu pour ce paiement est écoulé. Rien n'a été débité.
link_sent = Je vous ai envoyé un lien. Merci de l'ouvrir et de payer avec votre carte. Vous pouvez rester en ligne ou raccrocher.
link_declined = Votre banque a refusé le paiement sur la page. Rien n'a été débité. Vous pouvez réessayer sur cette page avec une autre carte.
agent_lost_confirm = Votre conseiller n'est plus en ligne. Pour payer maintenant { MONEY($amount_minor, $currency) }, tapez un. Si vous ne faites rien, rien ne sera débité.
not_charged_goodbye = Rien n'a été débité. Au revoir.
receipt = Votre numéro de reçu est : { CODE($receipt) }. Je répète : { CODE($receipt) }.
goodbye = Merci de votre appel. Au revoir.
technical_problem = Nous sommes désolés. Nous avons un problème technique. Merci de rappeler plus tard. Au revoir.

## Un appel sans conseiller

unattended_welcome = Bienvenue sur la ligne de paiement de { $tenant }.
unattended_grammar = Pour recommencer un numéro, appuyez sur la touche étoile. Quand vous avez terminé, appuyez sur la touche dièse.
ask_code = Tapez votre code de paiement, s'il vous plaît.
code_unknown = Je ne reconnais pas ce code. Vérifiez-le et tapez-le encore une fois, s'il vous plaît.
code_confirm = Vous allez payer { MONEY($amount_minor, $currency) }. La référence se termine par { ENDING($reference) }. Si c'est correct, tapez un. Sinon, tapez deux.
no_input_goodbye = Je n'ai rien reçu. Rien n'a été débité. Rappelez quand vous le souhaitez. Au revoir.
too_many_attempts_goodbye = Nous sommes désolés, cela n'a pas fonctionné. Rien n'a été débité. Contactez-nous, nous vous aiderons. Au revoir.

## Le compte de points : s'identifier

part_points = { $points ->
    [one] { CARDINAL($points) } point
    [many] { CARDINAL($points) } de points
   *[other] { CARDINAL($points) } points
}
portal_welcome = Bienvenue chez { $tenant }.
announcement = { $text }
language_offer = Pour le français, tapez { KEY($digit) }.
identify_menu = Pour vous identifier avec votre numéro de client ou de carte, tapez un. Pour vous identifier avec votre code postal et votre date de naissance, tapez deux.
ask_number = Tapez votre numéro de client ou le numéro de votre carte de fidélité. Ensuite, appuyez sur la touche dièse.
ask_postcode = Tapez votre code postal, s'il vous plaît.
ask_birthdate = Tapez votre date de naissance : deux chiffres pour le jour, deux pour le mois, quatre pour l'année.
ask_house_number = Tapez aussi votre numéro de rue, seulement les chiffres. Ensuite, appuyez sur la touche dièse.
login_failed = Ces informations ne correspondent pas. Essayez à nouveau, s'il vous plaît.

ask_pin = Tapez votre code secret. Personne ne peut entendre ce que vous tapez. Ensuite, appuyez sur la touche dièse.
ask_pin_old = Tapez d'abord votre code secret actuel. Ensuite, appuyez sur la touche dièse.
ask_pin_new = Tapez un nouveau code secret. Ensuite, appuyez sur la touche dièse.
ask_pin_again = Tapez encore une fois le nouveau code secret.
ask_pin_code = Tapez le code que nous vous avons envoyé.
pin_mismatch = Les deux nouveaux codes sont différents. Recommençons avec le nouveau.
pin_easy = Ce code secret est trop facile à deviner. Choisissez-en un autre, s'il vous plaît.
pin_too_short = Il manque des chiffres. Tapez-le encore une fois, s'il vous plaît.
pin_no_input = Je n'ai encore rien reçu. Prenez votre temps.
pin_changed = Merci. Votre nouveau code secret est valable dès maintenant.
pin_not_changed = Votre code secret n'a pas été modifié.
pin_locked = Pour votre protection, cet accès est maintenant bloqué. Notre équipe vous aidera volontiers.
pin_time_up = Le temps prévu pour cette saisie est écoulé.

## Le compte de points : le menu

menu_balance = Pour entendre votre solde, tapez { KEY($digit) }.
menu_redeem = Pour utiliser vos points, tapez { KEY($digit) }.
menu_change_pin = Pour changer votre code secret, tapez { KEY($digit) }.
menu_lock_card = Pour bloquer votre carte de fidélité, tapez { KEY($digit) }.
menu_movements = Pour entendre vos dernières opérations, tapez { KEY($digit) }.
menu_language = Pour changer de langue, tapez { KEY($digit) }.
menu_agent = Pour nous parler, tapez { KEY($digit) }.
menu_repeat = Pour réécouter, tapez { KEY($digit) }.
menu_goodbye = Pour terminer l'appel, tapez { KEY($digit) }.
menu_slower = S'il vous faut plus de temps, tapez { KEY($digit) }.
menu_back = Pour revenir en arrière, tapez { KEY($digit) }.
menu_more = Pour en entendre d'autres, tapez { KEY($digit) }.

## Le compte de points : solde et opérations

# Not `est de`: `de mille` sounds like `deux mille`.
balance = Votre solde : { part_points }.
balance_expiring = { $points ->
    [one] Parmi eux, { part_points } expire le { DATE($year, $month, $day) }.
   *[other] Parmi eux, { part_points } expirent le { DATE($year, $month, $day) }.
}
no_movements = Il n'y a pas encore d'opération sur votre compte.
movement_earned = Le { DATE($year, $month, $day) } : vous avez gagné { part_points }.
movement_redeemed = Le { DATE($year, $month, $day) } : vous avez utilisé { part_points }.
movement_expired = Le { DATE($year, $month, $day) } : expiration de { part_points }.
movement_reversed = Le { DATE($year, $month, $day) } : annulation de { part_points }.
movement_other = Le { DATE($year, $month, $day) } : une autre opération de { part_points }.

## Le compte de points : bloquer la carte

lock_confirm = Vous allez bloquer votre carte de fidélité. Avec une carte bloquée, personne ne peut utiliser vos points. Seule notre équipe peut la débloquer.
card_locked = Votre carte de fidélité est maintenant bloquée. Vos points sont conservés.
card_already_locked = Votre carte de fidélité était déjà bloquée. Vos points sont conservés.
confirm_or_back = Pour confirmer, tapez un. Pour revenir en arrière, tapez deux.

## Le compte de points : utiliser les points

redeem_intro = { $points ->
    [one] Vous pouvez utiliser { part_points }.
   *[other] Vous pouvez utiliser jusqu'à { part_points }.
}
reward_voucher = Pour le bon : { $reward }, pour { part_points }, tapez { KEY($digit) }.
reward_donation = Pour le don : { $reward }, pour { part_points }, tapez { KEY($digit) }.
redeem_confirm = Vous avez choisi : { $reward }. Cela coûte { part_points }.
redeemed_donation = Merci. Votre don : { $reward }, pour { part_points }. Votre numéro de reçu est : { CODE($receipt) }. Je répète : { CODE($receipt) }.
redeemed_voucher = Merci. Votre bon : { $reward }, pour { part_points }.
voucher_code = Le code de votre bon est : { CODE($code) }. Je répète : { CODE($code) }.
voucher_sent = Nous vous enverrons aussi le code de votre bon.
redeem_insufficient = Nous sommes désolés, vous n'avez pas assez de points. Votre solde : { part_points }.
redeem_limit = Nous sommes désolés, vous ne pouvez pas en utiliser davantage aujourd'hui. Essayez à nouveau demain.
redeem_out_of_stock = Nous sommes désolés, ce cadeau n'est pas disponible pour le moment. Aucun point n'a été retiré.
redeem_later = Cela prend un peu plus de temps que prévu. Vos points sont réservés. Vous recevrez votre cadeau dès que tout sera réglé.
redeem_unknown = Je ne peux pas vous dire pour l'instant si c'est enregistré. Veuillez écouter votre solde un peu plus tard. Rien n'est enregistré deux fois.
redeem_card_locked = Nous sommes désolés, une carte bloquée ne permet pas d'utiliser des points. Notre équipe vous aidera volontiers.
nothing_to_redeem = Il n'y a pas de cadeau pour votre solde en ce moment.
not_redeemed = Vous n'avez utilisé aucun point.

## Le compte de points : transfert et fin

to_agent = Je vous mets en relation avec notre équipe. Restez en ligne, s'il vous plaît.
agents_closed = Notre équipe n'est pas joignable à cette heure. Vous pouvez poursuivre par vous-même.
agents_closed_goodbye = Notre équipe n'est pas joignable à cette heure. Merci de rappeler pendant nos heures d'ouverture. Au revoir.
agents_busy = Tous nos conseillers sont en ligne. Vous pouvez poursuivre par vous-même.
invalid_choice = Ce choix n'est pas valable.
asked_again = Je n'ai rien reçu. Je répète :
not_understood = Je n'ai pas compris. Je répète :
loyalty_goodbye = Merci de votre appel. Au revoir.
service_unavailable = Nous sommes désolés. Ce n'est pas possible pour le moment. Essayez un peu plus tard, s'il vous plaît.

## Ce qui se lit au poste

desk_state_created = Créé
desk_state_capturing = Le client tape
desk_state_ready = Prêt à débiter
desk_state_authorising = Demande à la banque
desk_state_authorised = Accepté
desk_state_declined = Refusé
desk_state_unknown = En vérification
desk_state_needs_action = Confirmation en ligne requise
desk_state_cancelled = Annulé
desk_state_expired = Temps écoulé
desk_state_settled = Payé
desk_state_voided = Annulé après accord
desk_state_refunded = Remboursé
desk_state_checked = Carte vérifiée
desk_state_linked = Paiement par lien

desk_link_making = Page demandée au prestataire
desk_link_made = Envoyé, pas encore ouvert
desk_link_opened = Ouvert par le payeur
desk_link_declined = Refusé là-bas ; une autre carte est possible
desk_link_closing = En cours de fermeture
desk_link_paid = Payé
desk_link_expired = Expiré
desk_link_closed = Retiré
desk_link_failed = Non envoyé : le prestataire ne répond pas

desk_decline_funds = Plafond ou solde de la carte
desk_decline_pan_wrong = Numéro de carte refusé
desk_decline_expiry_wrong = Date d'expiration refusée
desk_decline_cvv_wrong = Code de sécurité refusé
desk_decline_temporary = Problème passager, réessayer une fois
desk_decline_online_confirmation = La banque demande une confirmation en ligne
desk_decline_generic = Refusé par la banque

desk_say_funds = « Votre banque a refusé à cause du plafond ou du solde de la carte. Voulez-vous utiliser une autre carte ? »
desk_say_pan_wrong = « La banque ne reconnaît pas ce numéro de carte. Tapez-le encore une fois, s'il vous plaît. »
desk_say_expiry_wrong = « La banque n'a pas accepté la date d'expiration. Tapez-la encore une fois, s'il vous plaît. »
desk_say_cvv_wrong = « La banque n'a pas accepté le code de sécurité. Tapez-le encore une fois, s'il vous plaît. »
desk_say_temporary = « La banque ne peut pas répondre pour le moment. Puis-je réessayer ? »
desk_say_online_confirmation = « Votre banque demande une confirmation en ligne. Voulez-vous utiliser une autre carte ? »
desk_say_generic = « Votre banque a refusé ce paiement et ne nous dit pas pourquoi. Voulez-vous utiliser une autre carte ? »

desk_problem_too_short = Il manque des chiffres
desk_problem_luhn = Faute de frappe : clé de contrôle fausse
desk_problem_unknown_brand = Type de carte non accepté
desk_problem_bad_month = Ce mois n'existe pas
desk_problem_expired = Carte expirée
desk_problem_too_far = Date trop lointaine
desk_problem_no_input = Aucune touche reçue
desk_problem_refused_by_provider = Refusé par le prestataire de paiement
desk_problem_confirm_refused = Le client n'a pas confirmé

desk_next_rekey_pan = Redemander le numéro de carte
desk_next_rekey_expiry = Redemander la date d'expiration
desk_next_rekey_cvv = Redemander le code de sécurité
desk_next_other_card = Demander une autre carte
desk_next_nothing = Ne pas réessayer

desk_field_pan = Numéro de carte
desk_field_expiry = Date d'expiration
desk_field_cvv = Code de sécurité
desk_field_confirm = Confirmation

desk_field_state_waiting = En attente
desk_field_state_open = Saisie en cours
desk_field_state_complete = Complet
