### English (United States). Everything a caller hears and an agent reads.
### MONEY, CARDINAL, CODE, ENDING, DATE and KEY turn values into words; a sentence never shows a figure.

## A call with an agent

welcome = Welcome to { $tenant }.
connecting = One moment, please. I am connecting you.
agent_busy_goodbye = All our agents are on the phone right now. Please call back in a little while. Goodbye.
capture_intro = You are about to pay { MONEY($amount_minor, $currency) }. Please use the keys of your phone. Your agent is still on the line, but cannot hear you or your keys now.
ask_pan = Please enter your card number.
ask_expiry = Now the expiry date: two digits for the month, then two digits for the year.
ask_cvv = { $digits ->
    [4] Now the four-digit security code on the front of your card.
   *[3] Now the three-digit security code on the back of your card.
}
grammar = To start a number over, press star. To speak to your agent, press star twice. When you are done, press pound.
field_cleared = Cleared. Please enter it again.
problem_too_short = Some digits are missing. Please enter it again.
problem_luhn = This card number is not right. Please check it, and enter it again.
problem_unknown_brand = We do not accept this kind of card. Please enter a different card number.
problem_bad_month = There is no such month. Please enter two digits for the month, then two digits for the year.
problem_expired = According to this date, your card has expired. Please check the date, and enter it again.
problem_too_far = This date is too far ahead. Please enter two digits for the month, then two digits for the year.
problem_no_input = I have not received anything yet. Please take your time.
problem_refused_by_provider = This was not accepted. Please check it, and enter it again.
problem_confirm_refused = You did not press one, so nothing has been charged.
all_received = Thank you. I have everything I need.
please_wait = One moment, please.
approved = Thank you. Your payment of { MONEY($amount_minor, $currency) } is approved.
declined_generic = I am sorry. Your bank has declined this payment. Nothing has been charged.
declined_funds = I am sorry. Your bank has declined this payment because of the card's limit or funds. Nothing has been charged.
declined_pan_wrong = I am sorry. Your bank does not recognize this card number. Nothing has been charged.
declined_expiry_wrong = I am sorry. Your bank did not accept the expiry date. Nothing has been charged.
declined_cvv_wrong = I am sorry. Your bank did not accept the security code. Nothing has been charged.
declined_temporary = I am sorry. Your bank cannot answer at the moment. Nothing has been charged.
declined_online_confirmation = I am sorry. Your bank asks for an online confirmation, which is not possible on the phone. Nothing has been charged.
unknown_outcome = Your bank has not given a clear answer yet. We are checking it for you. Please do not pay again until you hear from us.
retry_cvv = To try once more, please enter the security code again.
retry_other_card = If you like, you can pay with a different card.
talk_on = Your agent can hear you now. Please do not say or enter anything from your card.
talk_off = Your agent cannot hear you any more. Please go on entering your card.
time_warning = Please note: { CARDINAL($seconds) } { $seconds ->
    [one] second is
   *[other] seconds are
} left.
capture_restarted = We were interrupted for a moment. Nothing has been charged.
cancelled = The payment has been cancelled. Nothing has been charged.
expired = The time for this payment has run out. Nothing has been charged.
link_sent = I have sent you a link. Please pay there with your card. You can stay on the line, or hang up.
link_declined = Your bank has declined the payment on that page. Nothing has been charged. You can try again there with a different card.
agent_lost_confirm = Your agent is no longer on the line. To pay { MONEY($amount_minor, $currency) } now, press one. If you do nothing, nothing is charged.
not_charged_goodbye = Nothing has been charged. Goodbye.
receipt = Your receipt number is: { CODE($receipt) }. Once more: { CODE($receipt) }.
goodbye = Thank you for calling. Goodbye.
technical_problem = I am sorry. There is a technical problem on our side. Please call back later. Goodbye.

## A call without an agent

unattended_welcome = Welcome to the payment line of { $tenant }.
unattended_grammar = To start a number over, press star. When you are done, press pound.
ask_code = Please enter your payment code.
code_unknown = I do not recognize this code. Please check it, and enter it again.
code_confirm = You are about to pay { MONEY($amount_minor, $currency) }, for a reference that ends in { ENDING($reference) }. If this is right, press one. If not, press two.
no_input_goodbye = I have not received anything. Nothing has been charged. Please call back when you are ready. Goodbye.
too_many_attempts_goodbye = I am sorry, this did not work. Nothing has been charged. Please contact us for help. Goodbye.

## The points account: logging in

part_points = { $points ->
    [one] { CARDINAL($points) } point
   *[other] { CARDINAL($points) } points
}
portal_welcome = Welcome to { $tenant }.
announcement = { $text }
language_offer = For English, press { KEY($digit) }.
identify_menu = To log in with your customer number or membership card number, press one. To log in with your zip code and date of birth, press two.
ask_number = Please enter your customer number, or the number of your membership card. Then press pound.
ask_postcode = Please enter your zip code.
ask_birthdate = Please enter your date of birth: two digits for the month, two for the day, four for the year.
ask_house_number = Please also enter your house number, digits only. Then press pound.
login_failed = These details do not match. Please try again.

ask_pin = Please enter your PIN. Nobody can hear your keys. Then press pound.
ask_pin_old = First, please enter the PIN you have now. Then press pound.
ask_pin_new = Please enter a new PIN. Then press pound.
ask_pin_again = Please enter the new PIN once more.
ask_pin_code = Please enter the code that we have sent you.
pin_mismatch = The two new PINs are not the same. Let us start over with the new one.
pin_easy = This PIN is too easy to guess. Please choose a different one.
pin_too_short = That was not enough digits. Please enter it again.
pin_no_input = I have not received anything yet. Please take your time.
pin_changed = Thank you. Your new PIN is valid from now on.
pin_not_changed = Your PIN has not been changed.
pin_locked = For your protection, access is now locked. Our team will be glad to help you.
pin_time_up = The time for this entry has run out.

## The points account: the menu

menu_balance = To hear your balance, press { KEY($digit) }.
menu_redeem = To redeem points, press { KEY($digit) }.
menu_change_pin = To change your PIN, press { KEY($digit) }.
menu_lock_card = To lock your membership card, press { KEY($digit) }.
menu_movements = To hear your latest activity, press { KEY($digit) }.
menu_language = To change the language, press { KEY($digit) }.
menu_agent = To speak to us, press { KEY($digit) }.
menu_repeat = To hear this again, press { KEY($digit) }.
menu_goodbye = To end the call, press { KEY($digit) }.
menu_slower = If you need more time, press { KEY($digit) }.
menu_back = To go back, press { KEY($digit) }.
menu_more = To hear more choices, press { KEY($digit) }.

## The points account: balance and activity

balance = Your balance: { part_points }.
balance_expiring = { $points ->
    [one] Of these, { part_points } expires on { DATE($year, $month, $day) }.
   *[other] Of these, { part_points } expire on { DATE($year, $month, $day) }.
}
no_movements = There is no activity on your account yet.
movement_earned = On { DATE($year, $month, $day) }: { part_points } earned.
movement_redeemed = On { DATE($year, $month, $day) }: { part_points } redeemed.
movement_expired = On { DATE($year, $month, $day) }: { part_points } expired.
movement_reversed = On { DATE($year, $month, $day) }: { part_points } reversed.
movement_other = On { DATE($year, $month, $day) }: other activity, { part_points }.

## The points account: locking the card

lock_confirm = You are about to lock your membership card. Nobody can redeem points with a locked card. Only our team can unlock it.
card_locked = Your membership card is locked now. Your points are safe.
card_already_locked = Your membership card is locked already. Your points are safe.
confirm_or_back = To confirm, press one. To go back, press two.

## The points account: redeeming points

redeem_intro = { $points ->
    [one] You can redeem { part_points }.
   *[other] You can redeem up to { part_points }.
}
reward_voucher = For the voucher: { $reward }, for { part_points }, press { KEY($digit) }.
reward_donation = For the donation: { $reward }, for { part_points }, press { KEY($digit) }.
redeem_confirm = You have chosen: { $reward }. This costs { part_points }.
redeemed_donation = Thank you. Your donation: { $reward }, for { part_points }. Your receipt number is: { CODE($receipt) }. Once more: { CODE($receipt) }.
redeemed_voucher = Thank you. Your voucher: { $reward }, for { part_points }.
voucher_code = Your voucher code is: { CODE($code) }. Once more: { CODE($code) }.
voucher_sent = We will also send the voucher code to you.
redeem_insufficient = I am sorry, you do not have enough points for this. Your balance: { part_points }.
redeem_limit = I am sorry, you cannot redeem any more of these today. Please try again tomorrow.
redeem_out_of_stock = I am sorry, this reward is not available right now. No points have been taken.
redeem_later = This is taking a little longer than usual. Your points are reserved. You will get your reward as soon as everything is settled.
redeem_unknown = I cannot tell right now whether this went through. Please check your balance a little later. Nothing is ever taken twice.
redeem_card_locked = I am sorry, you cannot redeem points with a locked card. Our team will be glad to help you.
nothing_to_redeem = There is no reward for your balance at the moment.
not_redeemed = No points have been redeemed.

## The points account: hand-over and end

to_agent = I am connecting you to our team. Please stay on the line.
agents_closed = Our team is not available at this time. You can continue on your own.
agents_closed_goodbye = Our team is not available at this time. Please call back during our service hours. Goodbye.
agents_busy = All our agents are on the phone right now. You can continue on your own.
invalid_choice = That is not a valid choice.
asked_again = I have not received anything. Once more:
not_understood = I did not understand that. Once more:
loyalty_goodbye = Thank you for calling. Goodbye.
service_unavailable = I am sorry. This is not possible at the moment. Please try again a little later.

## What the agent reads on the console

desk_state_created = Created
desk_state_capturing = Caller is keying
desk_state_ready = Ready to charge
desk_state_authorising = Asking the bank
desk_state_authorised = Approved
desk_state_declined = Declined
desk_state_unknown = Being checked
desk_state_needs_action = Online confirmation needed
desk_state_cancelled = Cancelled
desk_state_expired = Timed out
desk_state_settled = Paid
desk_state_voided = Voided
desk_state_refunded = Refunded
desk_state_checked = Card checked
desk_state_linked = Paying by link

desk_link_making = Asking the provider for a page
desk_link_made = Sent, not opened yet
desk_link_opened = Opened by the payer
desk_link_declined = Declined there; another card may be tried
desk_link_closing = Being closed
desk_link_paid = Paid
desk_link_expired = Run out
desk_link_closed = Withdrawn
desk_link_failed = Not sent: the provider does not answer

desk_decline_funds = Card limit or funds
desk_decline_pan_wrong = Card number not accepted
desk_decline_expiry_wrong = Expiry date not accepted
desk_decline_cvv_wrong = Security code not accepted
desk_decline_temporary = Temporary problem, try once more
desk_decline_online_confirmation = Bank wants online confirmation
desk_decline_generic = Declined by bank

desk_say_funds = “Your bank has declined because of the card's limit or funds. Would you like to use a different card?”
desk_say_pan_wrong = “The bank does not recognize this card number. Please enter it once more.”
desk_say_expiry_wrong = “The bank did not accept the expiry date. Please enter it once more.”
desk_say_cvv_wrong = “The bank did not accept the security code. Please enter it once more.”
desk_say_temporary = “The bank cannot answer at the moment. May I try once more?”
desk_say_online_confirmation = “Your bank wants a confirmation online. Would you like to use a different card?”
desk_say_generic = “Your bank has declined this payment. It does not tell us why. Would you like to use a different card?”

desk_problem_too_short = Digits missing
desk_problem_luhn = Mistyped: the check digit is wrong
desk_problem_unknown_brand = Card type not accepted
desk_problem_bad_month = No such month
desk_problem_expired = Card has expired
desk_problem_too_far = Date too far ahead
desk_problem_no_input = No key pressed yet
desk_problem_refused_by_provider = Not accepted by the payment provider
desk_problem_confirm_refused = Caller did not confirm

desk_next_rekey_pan = Ask for the card number again
desk_next_rekey_expiry = Ask for the expiry date again
desk_next_rekey_cvv = Ask for the security code again
desk_next_other_card = Ask for a different card
desk_next_nothing = Do not try again

desk_field_pan = Card number
desk_field_expiry = Expiry date
desk_field_cvv = Security code
desk_field_confirm = Confirmation

desk_field_state_waiting = Waiting
desk_field_state_open = Keying
desk_field_state_complete = Complete
