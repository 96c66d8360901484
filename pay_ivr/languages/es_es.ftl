### Español (España). Todo lo que oye quien llama y lo que se lee en el puesto.
### MONEY, CARDINAL, CODE, ENDING, DATE y KEY convierten valores en palabras; ninguna frase muestra cifras.

## Una llamada con agente

welcome = Le damos la bienvenida a { $tenant }.
connecting = Un momento, por favor. Le paso con un agente.
agent_busy_goodbye = Todos nuestros agentes están ocupados en este momento. Por favor, vuelva a llamar dentro de un rato. Adiós.
capture_intro = Va a pagar { MONEY($amount_minor, $currency) }. Por favor, use las teclas de su teléfono. Su agente sigue en la línea, pero ahora no puede oírle ni oír sus teclas.
ask_pan = Por favor, marque el número de su tarjeta.
ask_expiry = Ahora, la fecha de caducidad: dos cifras para el mes y dos cifras para el año.
ask_cvv = { $digits ->
    [4] Ahora, el código de seguridad de cuatro cifras que está en la parte delantera de su tarjeta.
   *[3] Ahora, el código de seguridad de tres cifras que está en la parte de atrás de su tarjeta.
}
grammar = Para volver a empezar un número, pulse asterisco. Para hablar con su agente, pulse asterisco dos veces. Cuando termine, pulse almohadilla.
field_cleared = Borrado. Por favor, márquelo de nuevo.
problem_too_short = Faltan cifras. Por favor, márquelo de nuevo.
problem_luhn = Este número de tarjeta no es correcto. Por favor, compruébelo y márquelo de nuevo.
problem_unknown_brand = No aceptamos este tipo de tarjeta. Por favor, marque el número de otra tarjeta.
problem_bad_month = Ese mes no existe. Por favor, marque dos cifras para el mes y dos cifras para el año.
problem_expired = Según esta fecha, su tarjeta está caducada. Por favor, compruebe la fecha y márquela de nuevo.
problem_too_far = Esta fecha es demasiado lejana. Por favor, marque dos cifras para el mes y dos cifras para el año.
problem_no_input = Todavía no he recibido ninguna pulsación. Tómese su tiempo.
problem_refused_by_provider = No se ha aceptado. Por favor, compruébelo y márquelo de nuevo.
problem_confirm_refused = No ha pulsado la tecla uno, así que no se ha cobrado nada.
all_received = Muchas gracias. Ya tengo todo lo que necesito.
please_wait = Un momento, por favor.
approved = Muchas gracias. Su pago de { MONEY($amount_minor, $currency) } está aprobado.
declined_generic = Lo siento. Su banco ha rechazado este pago. No se ha cobrado nada.
declined_funds = Lo siento. Su banco ha rechazado este pago por el límite o el saldo de la tarjeta. No se ha cobrado nada.
declined_pan_wrong = Lo siento. Su banco no reconoce este número de tarjeta. No se ha cobrado nada.
declined_expiry_wrong = Lo siento. Su banco no ha aceptado la fecha de caducidad. No se ha cobrado nada.
declined_cvv_wrong = Lo siento. Su banco no ha aceptado el código de seguridad. No se ha cobrado nada.
declined_temporary = Lo siento. Su banco no puede responder en este momento. No se ha cobrado nada.
declined_online_confirmation = Lo siento. Su banco pide una confirmación por internet, que no es posible por teléfono. No se ha cobrado nada.
unknown_outcome = Su banco todavía no ha dado una respuesta clara. Lo estamos comprobando. Por favor, no vuelva a pagar hasta que le avisemos.
retry_cvv = Para intentarlo otra vez, marque de nuevo el código de seguridad, por favor.
retry_other_card = Si lo desea, puede pagar con otra tarjeta.
talk_on = Su agente ya puede oírle. Por favor, no diga ni marque ahora ningún dato de su tarjeta.
talk_off = Su agente ya no puede oírle. Puede seguir marcando.
time_warning = Atención: { $seconds ->
    [one] queda { CARDINAL($seconds) } segundo
   *[other] quedan { CARDINAL($seconds) } segundos
}.
capture_restarted = Ha habido una breve interrupción. No se ha cobrado nada.
cancelled = El pago se ha cancelado. No se ha cobrado nada.
expired = El tiempo para este pago se ha terminado. No se ha cobrado nada.
link_sent = Le he enviado un enlace. Por favor, pague allí con su tarjeta. Puede seguir en la línea o colgar.
link_declined = Su banco ha rechazado el pago en la página. No se ha cobrado nada. Puede intentarlo allí con otra tarjeta.
agent_lost_confirm = Su agente ya no está en la línea. Para pagar ahora { MONEY($amount_minor, $currency) }, pulse uno. Si no hace nada, no se cobrará nada.
not_charged_goodbye = No se ha cobrado nada. Adiós.
receipt = El número de su recibo es: { CODE($receipt) }. Se lo repito: { CODE($receipt) }.
goodbye = Gracias por su llamada. Adiós.
technical_problem = Lo siento. Tenemos un problema técnico. Por favor, vuelva a llamar más tarde. Adiós.

## Una llamada sin agente

unattended_welcome = Le damos la bienvenida a la línea de pago de { $tenant }.
unattended_grammar = Para volver a empezar un número, pulse asterisco. Cuando termine, pulse almohadilla.
ask_code = Por favor, marque su código de pago.
code_unknown = No reconozco este código. Por favor, compruébelo y márquelo de nuevo.
code_confirm = Va a pagar { MONEY($amount_minor, $currency) }, con una referencia que termina en { ENDING($reference) }. Si es correcto, pulse uno. Si no, pulse dos.
no_input_goodbye = No he recibido ninguna pulsación. No se ha cobrado nada. Vuelva a llamar cuando lo desee. Adiós.
too_many_attempts_goodbye = Lo siento, no ha sido posible. No se ha cobrado nada. Póngase en contacto con nosotros y le ayudaremos. Adiós.

## La cuenta de puntos: identificarse

part_points = { $points ->
    [one] { CARDINAL($points) } punto
    [many] { CARDINAL($points) } de puntos
   *[other] { CARDINAL($points) } puntos
}
portal_welcome = Le damos la bienvenida a { $tenant }.
announcement = { $text }
language_offer = Para español, pulse { KEY($digit) }.
identify_menu = Para identificarse con su número de cliente o de tarjeta, pulse uno. Para identificarse con su código postal y su fecha de nacimiento, pulse dos.
ask_number = Por favor, marque su número de cliente o el número de su tarjeta de puntos. Después, pulse almohadilla.
ask_postcode = Por favor, marque su código postal.
ask_birthdate = Por favor, marque su fecha de nacimiento: dos cifras para el día, dos para el mes y cuatro para el año.
ask_house_number = Por favor, marque también el número de su portal, solo las cifras. Después, pulse almohadilla.
login_failed = Estos datos no coinciden. Por favor, inténtelo de nuevo.

ask_pin = Por favor, marque su número secreto. Nadie puede oír lo que marca. Después, pulse almohadilla.
ask_pin_old = Primero, marque su número secreto actual. Después, pulse almohadilla.
ask_pin_new = Por favor, marque un nuevo número secreto. Después, pulse almohadilla.
ask_pin_again = Por favor, marque otra vez el nuevo número secreto.
ask_pin_code = Por favor, marque el código que le hemos enviado.
pin_mismatch = Los dos números nuevos no coinciden. Vamos a empezar otra vez con el nuevo.
pin_easy = Este número secreto es demasiado fácil de adivinar. Por favor, elija otro.
pin_too_short = Faltan cifras. Por favor, márquelo de nuevo.
pin_no_input = Todavía no he recibido ninguna pulsación. Tómese su tiempo.
pin_changed = Muchas gracias. Su nuevo número secreto ya es válido.
pin_not_changed = Su número secreto no ha cambiado.
pin_locked = Para su protección, este acceso está ahora bloqueado. Nuestro equipo le ayudará con mucho gusto.
pin_time_up = El tiempo para marcar se ha terminado.

## La cuenta de puntos: el menú

menu_balance = Para oír su saldo, pulse { KEY($digit) }.
menu_redeem = Para canjear puntos, pulse { KEY($digit) }.
menu_change_pin = Para cambiar su número secreto, pulse { KEY($digit) }.
menu_lock_card = Para bloquear su tarjeta, pulse { KEY($digit) }.
menu_movements = Para oír sus últimos movimientos, pulse { KEY($digit) }.
menu_language = Para cambiar de idioma, pulse { KEY($digit) }.
menu_agent = Para hablar con nosotros, pulse { KEY($digit) }.
menu_repeat = Para oírlo otra vez, pulse { KEY($digit) }.
menu_goodbye = Para terminar la llamada, pulse { KEY($digit) }.
menu_slower = Si necesita más tiempo, pulse { KEY($digit) }.
menu_back = Para volver atrás, pulse { KEY($digit) }.
menu_more = Para oír más, pulse { KEY($digit) }.

## La cuenta de puntos: saldo y movimientos

balance = Su saldo: { part_points }.
balance_expiring = { $points ->
    [one] De ellos, { part_points } caduca el { DATE($year, $month, $day) }.
   *[other] De ellos, { part_points } caducan el { DATE($year, $month, $day) }.
}
no_movements = Todavía no hay movimientos en su cuenta.
movement_earned = El { DATE($year, $month, $day) }: abono de { part_points }.
movement_redeemed = El { DATE($year, $month, $day) }: canje de { part_points }.
movement_expired = El { DATE($year, $month, $day) }: caducidad de { part_points }.
movement_reversed = El { DATE($year, $month, $day) }: anulación de { part_points }.
movement_other = El { DATE($year, $month, $day) }: otro movimiento de { part_points }.

## La cuenta de puntos: bloquear la tarjeta

lock_confirm = Va a bloquear su tarjeta. Con una tarjeta bloqueada nadie puede canjear puntos. Solo nuestro equipo puede desbloquearla.
card_locked = Su tarjeta ha quedado bloqueada. Sus puntos están a salvo.
card_already_locked = Su tarjeta ya estaba bloqueada. Sus puntos están a salvo.
confirm_or_back = Para confirmar, pulse uno. Para volver, pulse dos.

## La cuenta de puntos: canjear puntos

redeem_intro = { $points ->
    [one] Puede canjear { part_points }.
   *[other] Puede canjear hasta { part_points }.
}
reward_voucher = Para el vale: { $reward }, por { part_points }, pulse { KEY($digit) }.
reward_donation = Para la donación: { $reward }, por { part_points }, pulse { KEY($digit) }.
redeem_confirm = Ha elegido: { $reward }. Cuesta { part_points }.
redeemed_donation = Muchas gracias. Su donación: { $reward }, por { part_points }. El número de su recibo es: { CODE($receipt) }. Se lo repito: { CODE($receipt) }.
redeemed_voucher = Muchas gracias. Su vale: { $reward }, por { part_points }.
voucher_code = El código de su vale es: { CODE($code) }. Se lo repito: { CODE($code) }.
voucher_sent = También le enviaremos el código de su vale.
redeem_insufficient = Lo siento, no tiene puntos suficientes. Su saldo: { part_points }.
redeem_limit = Lo siento, hoy no puede canjear más. Por favor, inténtelo de nuevo mañana.
redeem_out_of_stock = Lo siento, este premio está agotado en este momento. No se ha descontado ningún punto.
redeem_later = Esto tarda un poco más de lo normal. Sus puntos están reservados. Recibirá su premio en cuanto todo esté resuelto.
redeem_unknown = En este momento no puedo decirle si ha quedado registrado. Consulte su saldo un poco más tarde. Nada se registra dos veces.
redeem_card_locked = Lo siento, con una tarjeta bloqueada no puede canjear puntos. Nuestro equipo le ayudará con mucho gusto.
nothing_to_redeem = En este momento no hay ningún premio para su saldo.
not_redeemed = No se ha canjeado ningún punto.

## La cuenta de puntos: pasar la llamada y terminar

to_agent = Le paso con nuestro equipo. Por favor, no cuelgue.
agents_closed = Nuestro equipo no atiende a esta hora. Puede continuar por su cuenta.
agents_closed_goodbye = Nuestro equipo no atiende a esta hora. Vuelva a llamar en nuestro horario de atención. Adiós.
agents_busy = Todos nuestros agentes están ocupados en este momento. Puede continuar por su cuenta.
invalid_choice = Esa opción no es válida.
asked_again = No he recibido ninguna pulsación. Se lo repito:
not_understood = No le he entendido. Se lo repito:
loyalty_goodbye = Gracias por su llamada. Adiós.
service_unavailable = Lo siento. Ahora mismo no es posible. Por favor, inténtelo un poco más tarde.

## Lo que se lee en el puesto

desk_state_created = Creado
desk_state_capturing = El cliente está marcando
desk_state_ready = Listo para cobrar
desk_state_authorising = Consultando al banco
desk_state_authorised = Aprobado
desk_state_declined = Rechazado
desk_state_unknown = En comprobación
desk_state_needs_action = Falta confirmación en línea
desk_state_cancelled = Cancelado
desk_state_expired = Tiempo agotado
desk_state_settled = Pagado
desk_state_voided = Anulado
desk_state_refunded = Reembolsado
desk_state_checked = Tarjeta comprobada
desk_state_linked = Pagando por enlace

desk_link_making = Pidiendo la página al proveedor
desk_link_made = Enviado, aún sin abrir
desk_link_opened = Abierto por el pagador
desk_link_declined = Rechazado allí; se puede usar otra tarjeta
desk_link_closing = Cerrándose
desk_link_paid = Pagado
desk_link_expired = Caducado
desk_link_closed = Retirado
desk_link_failed = Sin enviar: el proveedor no responde

desk_decline_funds = Límite o saldo de la tarjeta
desk_decline_pan_wrong = Número de tarjeta no aceptado
desk_decline_expiry_wrong = Fecha de caducidad no aceptada
desk_decline_cvv_wrong = Código de seguridad no aceptado
desk_decline_temporary = Problema pasajero, intentar otra vez
desk_decline_online_confirmation = El banco pide confirmación en línea
desk_decline_generic = Rechazado por el banco

desk_say_funds = «Su banco ha rechazado el pago por el límite o el saldo de la tarjeta. ¿Quiere usar otra tarjeta?»
desk_say_pan_wrong = «El banco no reconoce este número de tarjeta. Por favor, márquelo otra vez.»
desk_say_expiry_wrong = «El banco no ha aceptado la fecha de caducidad. Por favor, márquela otra vez.»
desk_say_cvv_wrong = «El banco no ha aceptado el código de seguridad. Por favor, márquelo otra vez.»
desk_say_temporary = «El banco no puede responder ahora mismo. ¿Lo intento otra vez?»
desk_say_online_confirmation = «Su banco pide una confirmación en línea. ¿Quiere usar otra tarjeta?»
desk_say_generic = «Su banco ha rechazado el pago y no nos dice el motivo. ¿Quiere usar otra tarjeta?»

desk_problem_too_short = Faltan cifras
desk_problem_luhn = Mal marcado: el dígito de control no cuadra
desk_problem_unknown_brand = Tipo de tarjeta no aceptado
desk_problem_bad_month = El mes no existe
desk_problem_expired = Tarjeta caducada
desk_problem_too_far = Fecha demasiado lejana
desk_problem_no_input = Aún no se ha pulsado ninguna tecla
desk_problem_refused_by_provider = No aceptado por el proveedor de pagos
desk_problem_confirm_refused = El cliente no ha confirmado

desk_next_rekey_pan = Pedir otra vez el número de tarjeta
desk_next_rekey_expiry = Pedir otra vez la fecha de caducidad
desk_next_rekey_cvv = Pedir otra vez el código de seguridad
desk_next_other_card = Pedir otra tarjeta
desk_next_nothing = No volver a intentarlo

desk_field_pan = Número de tarjeta
desk_field_expiry = Fecha de caducidad
desk_field_cvv = Código de seguridad
desk_field_confirm = Confirmación

desk_field_state_waiting = En espera
desk_field_state_open = Marcando
desk_field_state_complete = Completo
