### Français (France). Tout ce que l'appelant entend et ce qui se lit au poste.
### MONEY, CARDINAL, CODE et ENDING changent les valeurs en mots ; aucune phrase ne montre de chiffres.

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
grammar = Pour recommencer un numéro, appuyez sur étoile. Pour parler à votre conseiller, appuyez deux fois sur étoile. Quand vous avez terminé, appuyez sur dièse.
field_cleared = C'est effacé. Tapez-le à nouveau, s'il vous plaît.
problem_too_short = Il manque des chiffres. Tapez-le à nouveau, s'il vous plaît.
problem_luhn = Ce numéro de carte n'est pas correct. Vérifiez-le et tapez-le à nouveau, s'il vous plaît.
problem_unknown_brand = Nous n'acceptons pas ce type de carte. Tapez le numéro d'une autre carte, s'il vous plaît.
problem_bad_month = Ce mois n'existe pas. Tapez deux chiffres pour le mois, puis deux chiffres pour l'année.
problem_expired = D'après cette date, votre carte a expiré. Vérifiez la date et tapez-la à nouveau, s'il vous plaît.
problem_too_far = Cette date est trop lointaine. Tapez deux chiffres pour le mois, puis deux chiffres pour l'année.
problem_no_input = Je n'ai pas encore reçu de touche. Prenez votre temps.
problem_refused_by_provider = Cela n'a pas été accepté. Vérifiez et tapez à nouveau, s'il vous plaît.
problem_confirm_refused = Ce n'était pas la touche un. Rien n'a été débité.
all_received = Merci. J'ai tout ce qu'il me faut.
please_wait = Un instant, s'il vous plaît.
approved = Merci. Votre paiement est accepté : { MONEY($amount_minor, $currency) }.
declined_generic = Nous sommes désolés. Votre banque a refusé ce paiement. Rien n'a été débité.
declined_funds = Nous sommes désolés. Votre banque a refusé ce paiement à cause du plafond ou du solde de la carte. Rien n'a été débité.
declined_pan_wrong = Nous sommes désolés. Votre banque ne connaît pas ce numéro de carte. Rien n'a été débité.
declined_expiry_wrong = Nous sommes désolés. Votre banque n'a pas accepté la date d'expiration. Rien n'a été débité.
declined_cvv_wrong = Nous sommes désolés. Votre banque n'a pas accepté le code de sécurité. Rien n'a été débité.
declined_temporary = Nous sommes désolés. Votre banque ne peut pas répondre pour le moment. Rien n'a été débité.
declined_online_confirmation = Nous sommes désolés. Votre banque demande une confirmation en ligne, ce qui n'est pas possible par téléphone. Rien n'a été débité.
unknown_outcome = Votre banque n'a pas encore donné de réponse claire. Nous vérifions pour vous. Merci de ne pas payer à nouveau avant notre retour.
retry_cvv = Pour essayer encore une fois, tapez à nouveau le code de sécurité, s'il vous plaît.
retry_other_card = Si vous le souhaitez, vous pouvez payer avec une autre carte.
talk_on = Votre conseiller vous entend maintenant. Merci de ne rien dire et de ne rien taper de votre carte.
talk_off = Votre conseiller ne vous entend plus. Vous pouvez continuer à taper.
time_warning = Attention : il vous reste { CARDINAL($seconds, gender: "feminine") } { $seconds ->
    [one] seconde
   *[other] secondes
}.
capture_restarted = Nous avons été interrompus un instant. Rien n'a été débité.
cancelled = Le paiement est annulé. Rien n'a été débité.
expired = Le temps prévu pour ce paiement est écoulé. Rien n'a été débité.
link_sent = Je vous ai envoyé un lien. Merci d'y payer avec votre carte. Vous pouvez rester en ligne ou raccrocher.
link_declined = Votre banque a refusé le paiement sur la page. Rien n'a été débité. Vous pouvez y réessayer avec une autre carte.
agent_lost_confirm = Votre conseiller n'est plus en ligne. Pour payer maintenant { MONEY($amount_minor, $currency) }, appuyez sur un. Si vous ne faites rien, rien ne sera débité.
not_charged_goodbye = Rien n'a été débité. Au revoir.
receipt = Votre numéro de reçu est : { CODE($receipt) }. Je répète : { CODE($receipt) }.
goodbye = Merci de votre appel. Au revoir.
technical_problem = Nous sommes désolés. Nous avons un problème technique. Merci de rappeler plus tard. Au revoir.

## Un appel sans conseiller

unattended_welcome = Bienvenue sur la ligne de paiement de { $tenant }.
unattended_grammar = Pour recommencer un numéro, appuyez sur étoile. Quand vous avez terminé, appuyez sur dièse.
ask_code = Tapez votre code de paiement, s'il vous plaît.
code_unknown = Je ne connais pas ce code. Vérifiez-le et tapez-le à nouveau, s'il vous plaît.
code_confirm = Vous allez payer { MONEY($amount_minor, $currency) }. La référence se termine par { ENDING($reference) }. Si c'est correct, appuyez sur un. Sinon, appuyez sur deux.
no_input_goodbye = Je n'ai reçu aucune touche. Rien n'a été débité. Rappelez quand vous le souhaitez. Au revoir.
too_many_attempts_goodbye = Nous sommes désolés, cela n'a pas fonctionné. Rien n'a été débité. Contactez-nous, nous vous aiderons. Au revoir.

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
desk_say_pan_wrong = « La banque ne connaît pas ce numéro de carte. Tapez-le encore une fois, s'il vous plaît. »
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
